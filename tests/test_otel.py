"""OpenTelemetry: the spans and metrics, their parents, and the data that never enter them."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from loopback import Answer, Asked, Loopback, conversation, error, message, page, replies
from opentelemetry import context, trace
from opentelemetry.instrumentation.aiohttp_client import (
    AioHttpClientInstrumentor,
    create_trace_config,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from aiomessages import AsyncMessagesClient, NotFoundError, RetryPolicy
from aiomessages.blocking import MessagesClient
from aiomessages.export import export
from aiomessages.otel import instrument

KEY = "sk-canary-0123456789"
AT_ONCE = RetryPolicy(initial_backoff=0)
THREE_PAGES = [message(n) for n in range(250)]


class Observed:
    """Providers that keep all telemetry, and instrumented clients."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._providers: dict[str, Any] = {
            "tracer_provider": self.tracer_provider,
            "meter_provider": MeterProvider([self._reader], shutdown_on_exit=False),
        }
        self.tracer = self.tracer_provider.get_tracer("the application")

    def client(self, server: Loopback, **options: Any) -> AsyncMessagesClient:
        """Return an instrumented client of the server."""
        options = {"base_url": server.base_url, "retry": AT_ONCE, **options}
        return self.instrument(AsyncMessagesClient(KEY, **options))

    def instrument(self, client: Any) -> Any:
        """Return the client, instrumented."""
        return instrument(client, **self._providers)

    def http(self) -> Any:
        """Return aiohttp's spans."""
        return create_trace_config(tracer_provider=self.tracer_provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Every finished span, in order of its end."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        """Return the one span of that name."""
        (span,) = self.named(name)
        return span

    def points(self, metric: str) -> list[Any]:
        """Return the data points of a metric."""
        data = self._reader.get_metrics_data()
        scopes = [s for r in (data.resource_metrics if data else ()) for s in r.scope_metrics]
        found = [m for s in scopes for m in s.metrics if m.name == f"aiomessages.client.{metric}"]
        return [point for m in found for point in m.data.data_points]

    def everything(self) -> str:
        """Return all telemetry as text."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return "".join([*(span.to_json() for span in self.spans), data.to_json()])


@pytest.fixture
def observed() -> Observed:
    """Return providers of the test's own: the global ones stay unchanged."""
    return Observed()


def facts(span: ReadableSpan) -> dict[str, Any]:
    """Return a span's attributes, without our prefix."""
    return {k.removeprefix("aiomessages."): v for k, v in (span.attributes or {}).items()}


def parent(span: ReadableSpan) -> int | None:
    """Return the id of the span above."""
    return None if span.parent is None else span.parent.span_id


def identity(span: ReadableSpan | trace.Span) -> int:
    """Return a span's id."""
    return span.get_span_context().span_id  # type: ignore[union-attr]


# --- spans ----------------------------------------------------------------------------------------


async def test_a_walk_is_one_span(observed: Observed) -> None:
    """A list that is read to its end is one INTERNAL span with pages, messages and retries."""
    stored = conversation(THREE_PAGES)
    answers = iter([error(500), error(503)])
    async with (
        Loopback(lambda asked: next(answers, None) or stored(asked)) as server,
        observed.client(server) as client,
    ):
        assert len([m async for m in client.list("chatcmpl-1")]) == 250
    span = observed.only("list messages")
    assert span.kind is SpanKind.INTERNAL
    assert span.status.status_code is StatusCode.UNSET
    assert facts(span) == {
        "gen_ai.response.id": "chatcmpl-1",
        "outcome": "complete",
        "pages": 3,
        "messages": 250,
        "retries": 2,
    }


async def test_each_awaited_page_is_a_span(observed: Observed) -> None:
    """An awaited page is a list of one page, and the next page another."""
    async with (
        Loopback(conversation(THREE_PAGES)) as server,
        observed.client(server) as client,
    ):
        first = await client.list("chatcmpl-1", limit=20)
        await first.get_next_page()
    assert [facts(s)["messages"] for s in observed.named("list messages")] == [20, 20]
    assert {facts(s)["outcome"] for s in observed.spans} == {"complete"}


async def test_each_of_many_conversations_is_a_span(observed: Observed) -> None:
    """Conversations that are read at once have a span each, all children of the caller's."""
    async with (
        Loopback(conversation(THREE_PAGES)) as server,
        observed.client(server) as client,
    ):
        with observed.tracer.start_as_current_span("caller") as caller:
            ids = ["chatcmpl-1", "chatcmpl-1", "chatcmpl-1"]
            assert len([c async for c in client.conversations(ids, concurrency=2)]) == 3
    spans = observed.named("list messages")
    assert [facts(s)["messages"] for s in spans] == [250, 250, 250]
    assert {parent(s) for s in spans} == {identity(caller)}
    assert {facts(s)["outcome"] for s in spans} == {"complete"}


async def test_completions_are_counted_by_their_name(observed: Observed) -> None:
    """A list of completions counts its completions, and names none."""
    async with Loopback(replies(Answer(page([])))) as server, observed.client(server) as client:
        await client.completions()
    span = observed.only("list completions")
    assert facts(span) == {"outcome": "complete", "pages": 1, "completions": 0, "retries": 0}


async def test_a_failed_list_names_its_error_and_no_more(observed: Observed) -> None:
    """A failed span has the error's type and status, and nothing of its text."""
    async with (
        Loopback(replies(error(404, "gone"))) as server,
        observed.client(server) as client,
    ):
        stream = client.list("chatcmpl-1")
        for _ in range(2):
            with pytest.raises(NotFoundError):
                await anext(stream)
        with pytest.raises(NotFoundError):
            await client.list("chatcmpl-1")
    spans = observed.named("list messages")
    assert [facts(s)["error.type"] for s in spans] == ["NotFoundError"] * 2
    assert [facts(s)["outcome"] for s in spans] == ["error"] * 2
    assert [(s.status.status_code, s.status.description) for s in spans] == [
        (StatusCode.ERROR, None)
    ] * 2
    assert [s.events for s in spans] == [()] * 2


async def test_a_page_that_is_cancelled(observed: Observed) -> None:
    """A cancelled wait for a page ends its span with that outcome."""
    arrived = asyncio.Event()

    async def never(_: Asked) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with Loopback(never) as server, observed.client(server) as client:
        call = asyncio.ensure_future(client.list("chatcmpl-1"))
        await arrived.wait()
        call.cancel()
        await asyncio.wait({call})
    assert facts(observed.only("list messages"))["error.type"] == "CancelledError"


@pytest.mark.parametrize("ended_by", ["the client's end", "the deadline"])
async def test_a_list_that_is_ended_from_outside_is_ended_once(
    observed: Observed, ended_by: str
) -> None:
    """A closed client and a deadline are errors; closing the stream afterwards adds nothing."""
    arrived = asyncio.Event()

    async def never(_: Asked) -> None:
        arrived.set()
        await asyncio.Event().wait()

    deadline = 0.02 if ended_by == "the deadline" else None
    async with Loopback(never) as server, observed.client(server, deadline=deadline) as client:
        stream = client.list("chatcmpl-1")
        reading = asyncio.ensure_future(anext(stream))
        await arrived.wait()
        if deadline is None:
            await client.aclose()
        await asyncio.wait({reading})
        await stream.aclose()
    found = facts(observed.only("list messages"))
    assert (found["outcome"], found["error.type"]) == ("error", type(reading.exception()).__name__)


async def test_a_list_that_is_left_is_closed(observed: Observed) -> None:
    """Leaving a list in the middle ends its span at once, with the counts so far."""
    async with (
        Loopback(conversation(THREE_PAGES)) as server,
        observed.client(server) as client,
    ):
        async with client.list("chatcmpl-1", prefetch=False) as stream:
            await anext(stream)
        span = observed.only("list messages")
        await stream.aclose()
    assert facts(span)["outcome"] == "closed"
    assert facts(span)["messages"] == 100
    assert observed.spans == [span]


async def test_a_list_that_is_dropped_is_closed(observed: Observed) -> None:
    """Dropping a list ends its span as well, in a later iteration of the loop."""
    async with (
        Loopback(conversation(THREE_PAGES)) as server,
        observed.client(server) as client,
    ):
        stream = client.list("chatcmpl-1", prefetch=False)
        await anext(stream)
        del stream
        gc.collect()
        assert observed.spans == []  # a collector must not wait for the locks of an exporter
        await asyncio.sleep(0)
        assert facts(observed.only("list messages"))["outcome"] == "closed"


def test_a_list_that_outlives_its_loop_is_not_reported(observed: Observed) -> None:
    """A list that is dropped after its loop was closed ends no span, and breaks nothing."""
    kept: list[Any] = []

    async def read() -> None:
        async with Loopback(conversation(THREE_PAGES)) as server, observed.client(server) as client:
            kept.append(client.list("chatcmpl-1", prefetch=False))
            await anext(kept[0])

    asyncio.run(read())
    kept.clear()
    gc.collect()
    assert observed.spans == []


async def test_a_list_that_never_began_has_no_span(observed: Observed) -> None:
    """A stream that is closed before its first item has no span."""
    async with (
        Loopback(conversation(THREE_PAGES)) as server,
        observed.client(server) as client,
    ):
        await client.list("chatcmpl-1").aclose()
        async with client.list("chatcmpl-1").raw() as raw:
            await anext(raw)
    assert len(observed.spans) == 1


# --- whose child it is ----------------------------------------------------------------------------


async def test_requests_are_children_of_their_list(observed: Observed) -> None:
    """The spans of aiohttp are children of the list, even for pages that are fetched ahead."""
    async with (
        Loopback(conversation(THREE_PAGES)) as server,
        observed.client(server, trace_configs=[observed.http()]) as client,
    ):
        streams = [client.list("chatcmpl-1"), client.list("chatcmpl-1", order="desc")]
        with observed.tracer.start_as_current_span("request of the application") as above:
            for _ in range(250):
                for stream in streams:
                    with observed.tracer.start_as_current_span("work on a message"):
                        await anext(stream)
    lists, requests = observed.named("list messages"), observed.named("GET")
    works = {identity(span) for span in observed.named("work on a message")}
    assert {parent(span) for span in lists} <= works  # the first request
    assert sorted(parent(s) or 0 for s in requests) == sorted(identity(s) for s in lists * 3)
    trace_id = above.get_span_context().trace_id
    assert {s.context.trace_id for s in observed.spans if s.context} == {trace_id}


async def test_requests_ahead_are_children_of_their_list(observed: Observed) -> None:
    """Each page of a list with lookahead is a child of its one span."""
    async with (
        Loopback(conversation(THREE_PAGES)) as server,
        observed.client(server, trace_configs=[observed.http()]) as client,
    ):
        with observed.tracer.start_as_current_span("request of the application") as above:
            walk = client.list("chatcmpl-1", limit=25, lookahead=True)
            assert len([m async for m in walk]) == 250
    span = observed.only("list messages")
    assert (parent(span), facts(span)["messages"]) == (identity(above), 250)
    requests = observed.named("GET")
    assert len(requests) >= 10
    assert {parent(request) for request in requests} == {identity(span)}


async def test_the_readers_context_stays_its_own(observed: Observed) -> None:
    """Between two items the current span, and the whole context, is what it was before."""
    async with (
        Loopback(conversation(THREE_PAGES)) as server,
        observed.client(server, trace_configs=[observed.http()]) as client,
    ):
        with observed.tracer.start_as_current_span("request of the application") as above:
            before = context.get_current()
            async for _ in client.list("chatcmpl-1"):
                assert trace.get_current_span() is above
            await client.list("chatcmpl-1")
            assert context.get_current() == before


async def test_aiohttps_instrumentor_needs_nothing_else(observed: Observed) -> None:
    """AioHttpClientInstrumentor, switched on before the first request, is enough."""
    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=observed.tracer_provider)
    try:
        async with (
            Loopback(conversation(THREE_PAGES)) as server,
            observed.client(server) as client,
        ):
            async for _ in client.list("chatcmpl-1"):
                pass
    finally:
        instrumentor.uninstrument()
    above = identity(observed.only("list messages"))
    assert [parent(span) for span in observed.named("GET")] == [above] * 3  # on one connection


def test_the_blocking_client_is_part_of_the_callers_trace(observed: Observed) -> None:
    """A list of the blocking client is a child of the span of its reading thread."""
    server = Loopback(conversation(THREE_PAGES))
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(server),
        observed.instrument(
            MessagesClient(KEY, base_url=server.base_url, trace_configs=[observed.http()])
        ) as client,
        observed.tracer.start_as_current_span("script") as script,
    ):
        assert len(list(client.list("chatcmpl-1"))) == 250
        assert trace.get_current_span() is script
    assert parent(observed.only("list messages")) == identity(script)
    assert len(observed.named("GET")) == 3
    assert {parent(s) for s in observed.named("GET")} == {identity(observed.only("list messages"))}


async def test_an_export_is_one_span_above_its_lists(observed: Observed, tmp_path: Path) -> None:
    """An export is one INTERNAL span with its sums, and its lists are children."""
    ids = ["chatcmpl-1", "chatcmpl-2"]
    stored = {
        f"/v1/chat/completions/{name}/messages": conversation(
            message(n, completion_id=name) for n in range(250)
        )
        for name in ids
    }
    answers = iter([error(500)])
    async with (
        Loopback(lambda asked: next(answers, None) or stored[asked.path](asked)) as server,
        observed.client(server) as client,
    ):
        await export(client, ids, tmp_path / "out.jsonl", include_reply=False)
    span = observed.only("export")
    assert span.kind is SpanKind.INTERNAL
    assert facts(span) == {"outcome": "complete", "pages": 6, "messages": 500, "retries": 1}
    assert [parent(s) for s in observed.named("list messages")] == [identity(span)] * 2
    (waits,) = observed.points("slot.wait_time")
    assert waits.count == 7
    assert waits.sum >= 0


async def test_an_export_that_fails(observed: Observed, tmp_path: Path) -> None:
    """An export that raises ends its span by that error."""
    async with (
        Loopback(replies(error(404))) as server,
        observed.client(server) as client,
    ):
        with pytest.raises(NotFoundError):
            await export(client, ["chatcmpl-1"], tmp_path / "out.jsonl", include_reply=False)
    assert facts(observed.only("export"))["error.type"] == "NotFoundError"


# --- metrics --------------------------------------------------------------------------------------


async def test_metrics_of_requests(observed: Observed) -> None:
    """Each attempt is counted by status and error, each retry is counted, each body measured."""
    body = Answer(page([message(0)]))
    async with (
        Loopback(replies(error(503), None, body)) as server,
        observed.client(server) as client,
    ):
        got = await client.list("chatcmpl-1")
    requests = {
        (p.attributes.get("http.response.status_code"), p.attributes.get("error.type")): p.value
        for p in observed.points("requests")
    }
    assert requests == {
        (503, "InternalServerError"): 1,
        (None, "APIConnectionError"): 1,
        (200, None): 1,
    }
    retries = {p.attributes["error.type"]: p.value for p in observed.points("retries")}
    assert retries == {"InternalServerError": 1, "APIConnectionError": 1}
    (sizes,) = observed.points("response.body.size")
    assert sizes.count == 2
    assert sizes.max == len(got.body)
    assert observed.points("slot.wait_time") == []  # only an export waits for turns


async def test_to_instrument_twice_is_to_do_it_once(observed: Observed) -> None:
    """Instrumenting twice reports nothing twice."""
    async with Loopback(conversation(THREE_PAGES)) as server, observed.client(server) as client:
        await observed.instrument(client).list("chatcmpl-1")
    assert len(observed.spans) == 1
    assert [point.value for point in observed.points("requests")] == [1]


async def test_clients_made_of_it_are_instrumented(observed: Observed) -> None:
    """A client from `with_options` is instrumented as well, unless it was made before."""
    async with Loopback(conversation(THREE_PAGES)) as server:
        client = AsyncMessagesClient(KEY, base_url=server.base_url)
        before = client.with_options()
        assert instrument(client, tracer_provider=observed.tracer_provider) is client
        await before.list("chatcmpl-1")
        assert observed.spans == []
        await client.with_options(timeout=10).list("chatcmpl-1")
        await client.aclose()
    assert len(observed.spans) == 1


async def test_nothing_private_is_reported(observed: Observed) -> None:
    """No content, key, header, or text of the server is in any span or metric."""
    secret = "the patient said it hurts"
    script = replies(
        Answer({"error": {"message": secret, "code": secret}}, 500, {"x-request-id": secret}),
        Answer(page([message(0, content=secret)], has_more=True)),
        Answer({"error": {"message": f"{secret} {KEY}"}}, 400),
    )
    async with (
        Loopback(script) as server,
        observed.client(
            server, default_headers={"x-team": secret}, trace_configs=[observed.http()]
        ) as client,
    ):
        with pytest.raises(Exception, match="hurts"):
            [m async for m in client.list("chatcmpl-1", extra_headers={"x-more": secret})]
    recorded = observed.everything()
    assert "list messages" in recorded
    assert "chatcmpl-1" in recorded
    assert "hurts" not in recorded
    assert KEY not in recorded


async def test_without_an_sdk_nothing_is_made() -> None:
    """With opentelemetry-api alone, an instrumented client works as any other."""
    async with (
        Loopback(conversation(THREE_PAGES)) as server,
        instrument(AsyncMessagesClient(KEY, base_url=server.base_url)) as client,
    ):
        assert len([m async for m in client.list("chatcmpl-1")]) == 250


def test_an_argument_that_is_no_client() -> None:
    """Only a client can be instrumented."""
    with pytest.raises(TypeError, match="int is not a client"):
        instrument(42)  # type: ignore[type-var]
