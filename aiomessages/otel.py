"""OpenTelemetry: a span for each list and each export, and metrics of the requests.

    client = instrument(AsyncMessagesClient())

Needs the extra `otel`, which is opentelemetry-api alone: the application decides where spans and
metrics go, and without an SDK they go nowhere. opentelemetry-instrumentation-aiohttp-client makes
the spans of the HTTP requests; they are children of the list that sends them.

A span is INTERNAL, lasts from the first request until the last page has come, and names the
completion: `gen_ai.response.id`, as the span of the call that made it does. Metrics name none.
Neither has any content, key, header, or text of an error.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Final, TypeVar

from opentelemetry import context as current_context
from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import SpanKind, StatusCode, TracerProvider

from ._version import __version__
from .client import AsyncMessagesClient, caller_of
from .errors import APIError
from .observe.operation import Kind, Outcome
from .values.redaction import shown

if TYPE_CHECKING:
    from .blocking import MessagesClient

ClientT = TypeVar("ClientT", bound="AsyncMessagesClient | MessagesClient")

_SCOPE: Final = "aiomessages"

# The name of the attribute that counts items.
_ITEMS: Final[dict[Kind, str]] = {
    "list messages": "aiomessages.messages",
    "list completions": "aiomessages.completions",
    "export": "aiomessages.messages",
}


def instrument(
    client: ClientT,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> ClientT:
    """Make spans and metrics of a client's work from now on, and return the client.

    Clients that `with_options` derives from it afterwards are instrumented as well. Without
    providers the global ones are used, even if they are set later. Instrumenting a client again
    replaces its providers.

    Raises TypeError for an object other than an AsyncMessagesClient or a blocking MessagesClient.
    """
    caller_of(client).instrument(_OpenTelemetry(tracer_provider, meter_provider))
    return client


class _OpenTelemetry:
    """A listener that makes spans and metrics of a client's work."""

    def __init__(
        self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._requests = meter.create_counter(
            "aiomessages.client.requests", "{request}", "Requests, retries included."
        )
        self._retries = meter.create_counter(
            "aiomessages.client.retries", "{retry}", "Requests that repeat a failed one."
        )
        self._waits = meter.create_histogram(
            "aiomessages.client.slot.wait_time",
            "s",
            "Time that a request of an export waited for the rate limit.",
        )
        self._bytes = meter.create_histogram(
            "aiomessages.client.response.body.size",
            "By",
            "Bodies of responses, decompressed.",
        )

    def begin(self, kind: Kind, completion_id: str | None) -> "_Span":
        name = shown(completion_id)
        attributes = {} if name is None else {"gen_ai.response.id": name}
        span = self._tracer.start_span(kind, kind=SpanKind.INTERNAL, attributes=attributes)
        return _Span(span, _ITEMS[kind])

    def attempted(self, outcome: object) -> None:
        status = getattr(outcome, "status", None)
        attributes = {} if status is None else {"http.response.status_code": status}
        if isinstance(outcome, BaseException):
            attributes["error.type"] = type(outcome).__name__
        self._requests.add(1, attributes)

    def received(self, size: int) -> None:
        self._bytes.record(size)

    def retried(self, error: APIError) -> None:
        self._retries.add(1, {"error.type": type(error).__name__})

    def waited(self, seconds: float) -> None:
        self._waits.record(seconds)


class _Span:
    """An operation as a span of OpenTelemetry."""

    def __init__(self, span: trace.Span, items: str) -> None:
        self._span = span
        self._items = items

    def context(self) -> Context:
        # The task has a context of its own, so that the caller's context stays unchanged between
        # two items.
        context = copy_context()
        context.run(current_context.attach, trace.set_span_in_context(self._span))
        return context

    def current(self) -> AbstractContextManager[object]:
        # The text of an exception may quote the server, so it goes to its handler alone.
        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def end(self, outcome: Outcome, counts: Mapping[str, int], error_type: str | None) -> None:
        self._span.set_attributes(
            {
                "aiomessages.outcome": outcome,
                "aiomessages.pages": counts["pages"],
                self._items: counts["items"],
                "aiomessages.retries": counts["retries"],
            }
        )
        if error_type is not None:
            self._span.set_attribute("error.type", error_type)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
