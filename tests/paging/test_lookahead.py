"""Lookahead: the same messages as a plain walk, earlier.

The rules for any list and server are checked by plays on virtual time (numbered_list.py); the
client's use of it runs over a real loopback socket.
"""

import asyncio
import gc
import itertools
import types
import warnings
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Answer, Asked, Loopback, conversation, error, message
from numbered_list import SCHEMES, Change, Play, looking_ahead, plain
from virtual_time import now, run

from aiomessages import (
    APIError,
    APITimeoutError,
    AsyncMessagesClient,
    ClientClosedError,
    ConfigurationError,
    InternalServerError,
    RetryPolicy,
)
from aiomessages.paging import lookahead, prediction

# --- the same as a plain walk ---------------------------------------------------------------------

seconds = st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)
lists = {
    "count": st.integers(0, 40),
    "scheme": st.sampled_from(["numbered", "numbered from 95"] * 4 + list(SCHEMES)),
    "limit": st.integers(1, 7),
    "most": st.sampled_from([100, 100, 2, 3]),
    "says_more": st.booleans(),
    "obeys_order": st.sampled_from([True, True, True, False]),
    "takes": seconds,
    "order": st.sampled_from([1, -1]),
    "behind": st.none() | st.integers(0, 40),
    "max_items": st.none() | st.none() | st.integers(1, 45),
    "window": st.integers(1, 12),
    "patience": seconds,
    "work": seconds,
}
changes = st.builds(
    Change,
    at=st.integers(0, 12),
    appears=st.booleans(),
    place=st.none() | st.integers(0, 40),
)
# In a list that changes, new items in front of the cursor look like those behind it.
overlaps = {"overlap": st.sampled_from([0, 0, 0, 1, 2, 3]), "counted": st.booleans()}
still = st.builds(Play, **lists, **overlaps)  # type: ignore[arg-type]
faulty = st.builds(
    Play,
    **lists,  # type: ignore[arg-type]
    **overlaps,  # type: ignore[arg-type]
    faults=st.frozensets(st.integers(-1, 39), max_size=6),
    end_fails=st.booleans(),
    once=st.booleans(),
)
changing = st.builds(
    Play,
    **{**lists, "obeys_order": st.just(True)},  # type: ignore[arg-type]
    changes=st.lists(changes, min_size=1, max_size=6).map(tuple),
    forgets=st.booleans(),
)


def judge_still(play: Play, ahead: Any) -> None:
    """Check that an unchanged list gives the items of a plain walk, within the bounds."""
    expected, got = plain(play), looking_ahead(play, ahead)
    assert (got.got, got.error) == (expected.got, None) == (got.ever[: play.max_items], None)
    assert got.held <= play.window + 2, "more pages are held than the window says"
    assert got.requests <= expected.requests + play.window + 1


def judge_prompt(play: Play, ahead: Any) -> None:
    """Check that a numbered list takes as many round trips as the window allows."""
    judge_still(play, ahead)
    expected, got = plain(play), looking_ahead(play, ahead)
    assert got.requests == expected.requests + 1, "not one request more"
    assert got.seconds <= sum(play.takes[:2]) + max(play.takes) * ceil(
        (expected.requests - 1) / play.window
    ), "not as soon as it could be"


def judge_faulty(play: Play, ahead: Any) -> None:
    """Check that faults lose no more than in a plain walk, and that no failure looks complete."""
    expected, got = plain(play), looking_ahead(play, ahead)
    assert got.got == got.ever[: len(got.got)], "not the items in their order"
    if got.error is None:
        assert got.got == got.ever[: play.max_items], "unfinished, and looks finished"
    elif not play.once:  # otherwise the failing request is random
        assert str(got.error) == str(expected.error), "an error that a plain walk would not meet"
    assert play.once or len(got.got) >= len(expected.got)


def judge_changing(play: Play, ahead: Any) -> None:
    """Check that a changing list gives each lasting item once, and in order.

    As in a plain walk, an item that appears or vanishes meanwhile may be delivered or not. No
    lasting item is skipped: one that was not delivered is behind the cursor, or appeared meanwhile.
    """
    got = plain(play) if ahead is None else looking_ahead(play, ahead)
    seen = set(got.got)
    assert len(seen) == len(got.got), "twice"
    assert got.got == [each for each in got.ever if each in seen], "not in order"
    if got.error is None and play.max_items is None:
        assert seen.issuperset(got.always), "lost"
    missing = [each for each in got.at_the_end if each not in seen]
    where = got.ever.index(got.got[-1]) if got.got else -1
    assert not [i for i in missing if got.ever.index(i) < where and i in got.always], "passed over"


@pytest.mark.unmeasured
@settings(max_examples=200)
@given(still)
def test_a_list_that_stays_as_it_is(play: Play) -> None:
    """For any ids, page sizes, servers and consumers, an unchanged list gives the same items."""
    judge_still(play, prediction.Prediction)


@pytest.mark.unmeasured
@settings(max_examples=150)
@given(faulty)
def test_requests_that_fail(play: Play) -> None:
    """Errors come where a plain walk meets them, or not at all, and after all earlier items."""
    judge_faulty(play, prediction.Prediction)


@pytest.mark.unmeasured
@settings(max_examples=200)
@given(changing)
def test_a_list_that_changes(play: Play) -> None:
    """Lasting items come once and in order, whatever appears or vanishes."""
    judge_changing(play, prediction.Prediction)


@pytest.mark.unmeasured
@settings(max_examples=100)
@given(changing)
def test_a_plain_walk_of_a_list_that_changes(play: Play) -> None:
    """A plain walk promises just the same, so lookahead gives up no promise."""
    judge_changing(play, None)


# --- and sooner -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("count", "window", "round_trips", "requests"),
    [
        pytest.param(200, 32, 2, 21, id="in whole pages"),
        pytest.param(195, 32, 2, 21, id="not in whole pages"),
        pytest.param(200, 4, 6, 21, id="as far as the window goes"),
        pytest.param(10, 32, 1, 2, id="one page"),
        pytest.param(20, 32, 2, 3, id="two pages"),
    ],
)
def test_round_trips(
    *, count: int, window: int, round_trips: int, requests: int, order: int
) -> None:
    """20 pages take two round trips, and one request more than a plain walk."""
    play = Play(count=count, limit=10, order=order, window=window)
    got = looking_ahead(play)
    assert (got.seconds, got.requests, len(got.got)) == (round_trips, requests, count)


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if not name.startswith("numbered")])
def test_ids_that_cannot_be_predicted(scheme: str) -> None:
    """If the ids do not follow the pattern, or only seem to, the walk takes no longer."""
    play = Play(count=200, limit=10, scheme=scheme, window=32)
    got = looking_ahead(play)
    assert got.got == got.ever
    assert got.seconds <= plain(play).seconds


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("limit", [2, 3, 5, 17])
def test_a_message_that_is_not_numbered(limit: int, order: int) -> None:
    """An unnumbered message between numbered ones is delivered, even right before the end."""
    for count in range(18, 40):
        judge_still(
            Play(count=count, scheme="with a stranger", limit=limit, order=order),
            prediction.Prediction,
        )


# --- mistakes that the plays find -----------------------------------------------------------------

# Plays that reveal each of the mistakes. The first number of `takes` is for the request of the end,
# the second for that of the first page.
TELLING = [
    (judge_prompt, Play(count=20, window=20)),
    (judge_prompt, Play(count=20, limit=4, order=-1, behind=17, window=20)),
    (judge_prompt, Play(count=20, limit=3, window=20, max_items=14)),
    (judge_prompt, Play(count=30, window=3)),
    (judge_still, Play(count=30, window=3, work=(9,))),
    (judge_still, Play(count=30, scheme="with a hole", window=20)),
    (judge_still, Play(count=40, scheme="turned back in the middle", limit=4, window=2)),
    (judge_still, Play(count=6, limit=3, takes=(1, 2), obeys_order=False)),
    (judge_still, Play(count=30, window=20, takes=(5, 0, 1))),
    (judge_prompt, Play(count=30, window=20, takes=(2, 1, 4))),
    (judge_faulty, Play(count=20, window=20, faults=frozenset({8}), once=True)),
    (judge_faulty, Play(count=20, window=20, faults=frozenset({8}))),
    (judge_faulty, Play(count=20, end_fails=True)),
    # and those in which each rare event happens at least once
    (judge_still, Play(count=30, window=1)),
    (judge_still, Play(count=0, takes=(0, 1))),
    (judge_still, Play(count=1, limit=1)),
]


@pytest.mark.parametrize(("judge", "play"), TELLING)
def test_a_revealing_play(judge: Callable[[Play, Any], None], play: Play) -> None:
    """The plays that find the mistakes pass without them."""
    judge(play, prediction.Prediction)


# Likely mistakes in such code.

MISTAKES = {
    "cursors one too early": (
        "for taken in range(0, missing, size)",
        "for taken in range(-1, missing, size)",
    ),
    "cursors one too late": (
        "for taken in range(0, missing, size)",
        "for taken in range(1, missing, size)",
    ),
    "a last page that is forgotten": (
        "for taken in range(0, missing, size)",
        "for taken in range(0, missing - size, size)",
    ),
    "requests beyond the end": (
        "missing = (last - last_of_page) * numbering.step",
        "missing = (last - last_of_page) * numbering.step + size",
    ),
    "requests beyond max_items": (
        "missing = min(missing, wanted)",
        "pass",
    ),
    "a page used wherever the walk is": (
        "task = self._early[after]",
        "task = self._early[after] = self._early[max(self._early)]",
    ),
    "requests beyond the window": (
        "len(self._early) < self._window",
        "True",
    ),
    "a request under way that is sent again": (
        "self._expected[0].after == self._requested",
        "False",
    ),
    "a failed page taken for the end": (
        "return None if task.cancelled() else task.result()",
        "return task.result() or await self._fetch(after, 0, False)",
    ),
    "tasks that outlive the walk": (
        "        for task in self.tasks:\n            task.cancel()\n",
        "",
    ),
}


def mistaken(right: str, wrong: str) -> Any:
    """Return a lookahead with one mistake in one of its two modules."""
    spaces: list[dict[str, Any]] = []
    found = 0
    for module in (lookahead, prediction):
        source = Path(module.__file__).read_text(encoding="utf-8")
        found += source.count(right)
        space = vars(types.ModuleType(f"aiomessages.paging.mistaken_{module.__name__[19:]}"))
        code = compile(source.replace(right, wrong), f"<mistaken {module.__name__}>", "exec")
        exec(code, space)  # noqa: S102 our own source
        spaces.append(space)
    assert found == 1, "the modules changed: write the mistake again"
    decisions, requests = spaces
    requests["predict"] = decisions["predict"]
    return requests["Prediction"]


def judge_revealing_plays(ahead: Any) -> None:
    """Check the plays one after another."""
    for judge, play in TELLING:
        judge(play, ahead)


@pytest.mark.filterwarnings("ignore")  # broken code may leave tasks behind
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake(mistake: tuple[str, str]) -> None:
    """The plays find each of these mistakes."""
    broken = mistaken(*mistake)
    with pytest.raises((AssertionError, LookupError, APIError)):
        judge_revealing_plays(broken)


# --- the decisions, one by one --------------------------------------------------------------------

NUMBERS = lookahead.Numbering("chatcmpl-1", 1)


@pytest.mark.parametrize(
    ("page", "end", "step", "wanted", "expected"),
    [
        pytest.param([0, 1, 2], [8, 9], 1, None, ["2", "5", "8"], id="up"),
        pytest.param([0, 1, 2], [7, 8], 1, None, ["2", "5"], id="in whole pages"),
        pytest.param([9, 8, 7], [1, 0], -1, None, ["7", "4", "1"], id="down"),
        pytest.param([0, 1, 2], [8, 9], 1, 4, ["2:4", "5:1"], id="fewer wanted than there are"),
        pytest.param([0, 1, 2], [8, 9], 1, 8, ["2:8", "5:5", "8:2"], id="more wanted"),
        pytest.param([0, 1], [1, 2], 1, None, ["1"], id="one is missing"),
        pytest.param([0, 1, 2], [1, 2], 1, None, [], id="nothing is missing"),
        pytest.param([5, 6, 7], [1, 2], 1, None, [], id="they overlap"),
        pytest.param([0], [5, 6], 1, None, [], id="one message shows no order"),
        pytest.param([0, 1], [6], 1, None, [], id="nor one at the end"),
        pytest.param([0, 1], [6, 5], 1, None, [], id="the order was ignored"),
        pytest.param([0, 2], [5, 6], 1, None, [], id="a hole"),
    ],
)
def test_predicted_requests(
    page: list[int], end: list[int], step: int, wanted: int | None, expected: list[str]
) -> None:
    """One page and the end of a numbered list determine each request in between."""
    got = lookahead.predict(
        [f"chatcmpl-1-{n}" for n in page],
        [f"chatcmpl-1-{n}" for n in end],
        lookahead.Numbering("chatcmpl-1", step),
        wanted=wanted,
    )
    found = [each.after.rpartition("-")[2] for each in got]
    if wanted is not None:
        found = [f"{name}:{each.remaining}" for name, each in zip(found, got, strict=True)]
    assert found == expected


def test_ids_of_another_completion() -> None:
    """Ids of another completion's messages predict nothing."""
    assert NUMBERS.first_of(["chatcmpl-2-3", "chatcmpl-2-4"]) is None


@pytest.mark.parametrize("number", ["x", "", "٣", "01", "1" * 19, "-1"])
def test_an_invalid_number(number: str) -> None:
    """Only a decimal number in the live API's form is a number."""
    assert NUMBERS.first_of([f"chatcmpl-1-{number}"] * 2) is None


# --- the client -----------------------------------------------------------------------------------

GRACE = 0.02  # real seconds that bytes may take on loopback
LATENCY = 0.05  # virtual
AT_ONCE = RetryPolicy(max_retries=1, initial_backoff=0.001, jitter=0)


def client_of(server: Loopback, **options: Any) -> AsyncMessagesClient:
    """Return a client of a server."""
    return AsyncMessagesClient(
        "sk-test", **{"base_url": server.base_url, "retry": AT_ONCE, **options}
    )


def messages(count: int) -> Callable[[Asked], Answer]:
    """Return a script that lists so many messages."""
    return conversation(message(n) for n in range(count))


def slowly(script: Callable[[Asked], Answer]) -> Any:
    """Return a script with a delay."""

    async def answer(asked: Asked) -> Answer:
        await asyncio.sleep(LATENCY)
        return script(asked)

    return answer


def numbers(*span: int) -> list[str]:
    """Return the ids of a range of messages."""
    return [f"chatcmpl-1-{n}" for n in range(*span)]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_long_conversation(order: Any) -> None:
    """Every message comes in the requested order; a plain walk sends 20 requests."""

    async def main() -> int:
        async with Loopback(slowly(messages(195))) as server, client_of(server) as client:
            items = client.list("chatcmpl-1", limit=10, order=order, lookahead=True)
            got = [item.id async for item in items]
            assert got == numbers(195)[:: 1 if order == "asc" else -1]
            return len(server.asked)

    assert run(main(), grace=GRACE) == 21


def test_a_limit_that_needs_no_look_ahead() -> None:
    """Nothing is fetched ahead for a single page, and nothing beyond max_items."""

    async def main() -> tuple[int, int]:
        async with Loopback(slowly(messages(200))) as server, client_of(server) as client:
            counts = []
            for max_items in (10, 45):
                items = client.list(
                    "chatcmpl-1", limit=10, lookahead="predict", max_items=max_items
                )
                assert [item.id async for item in items] == numbers(max_items)
                counts.append(len(server.asked))
            return counts[0], counts[1] - counts[0]

    assert run(main(), grace=GRACE) == (1, 6)  # five pages, and the far end's


async def test_pages_and_raw() -> None:
    """Pages and raw messages come in plain order too, and a page leads to the one behind it."""
    async with Loopback(messages(45)) as server, client_of(server) as client:
        options: Any = {"limit": 10, "lookahead": True}
        pages = [page async for page in client.list("chatcmpl-1", **options).pages()]
        assert [item.id for page in pages for item in page.data] == numbers(45)
        for before, behind in itertools.pairwise(pages):
            assert (before.ids, before.has_more) == ([item.id for item in before.data], True)
            assert before.next_cursor == before.last_id == before.ids[-1]
            assert (await before.get_next_page()).ids[0] == behind.first_id == behind.ids[0]
        assert not pages[-1].has_next_page()
        lines = [line async for line in client.list("chatcmpl-1", **options).raw()]
        assert [f'"{each}"'.encode() in line for each, line in zip(numbers(45), lines, strict=True)]


async def test_one_page() -> None:
    """Awaiting a list with lookahead gives one page, with one request, in its order."""
    async with Loopback(messages(45)) as server, client_of(server) as client:
        got = await client.list("chatcmpl-1", limit=10, lookahead=True)
        assert got.ids == numbers(10)
        assert [asked.query for asked in server.asked] == [{"limit": "10"}]


async def test_orders_of_the_query() -> None:
    """The far end is requested against the actual order, wherever that is set."""
    async with (
        Loopback(messages(45)) as server,
        client_of(server, default_query={"order": "desc"}) as client,
    ):
        options: Any = {"limit": 10, "lookahead": True}
        assert [m.id async for m in client.list("chatcmpl-1", **options)] == numbers(44, -1, -1)
        up = client.list("chatcmpl-1", extra_query={"order": "asc"}, **options)
        assert [m.id async for m in up] == numbers(45)
        with pytest.raises(ConfigurationError, match="needs the order asc or desc, not 'best'"):
            client.list("chatcmpl-1", extra_query={"order": "best"}, **options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"lookahead": "both"}, "lookahead must be True, 'predict', False or None, not 'both'"),
        ({"lookahead": "both-ends"}, "use lookahead=True"),
        ({"lookahead": 1}, "lookahead must be"),
        ({"lookahead": "predict", "prefetch": False}, "prefetch=False forbids"),
        ({"lookahead": "predict", "lookahead_window": 0}, "must be an int of 1 or more, not 0"),
        ({"lookahead": "predict", "lookahead_window": True}, "lookahead_window must be an int"),
        ({"lookahead": "predict", "lookahead_window": 2.5}, "lookahead_window must be an int"),
    ],
)
async def test_options_that_cannot_be(options: Any, problem: str) -> None:
    """Options that contradict each other are refused before anything is sent."""
    async with Loopback(messages(5)) as server, client_of(server) as client:
        with pytest.raises(ConfigurationError, match=problem):
            client.list("chatcmpl-1", **options)
        assert server.asked == []


async def test_an_error_in_the_middle() -> None:
    """Items before an error come first; the error has the walk's cursor, and is repeated."""
    whole = messages(200)

    def script(asked: Asked) -> Answer:
        if asked.query.get("order") == "desc" and "after" in asked.query:
            return error(500)
        return error(503) if asked.query.get("after") == "chatcmpl-1-49" else whole(asked)

    async with Loopback(script) as server, client_of(server) as client:
        items = client.list("chatcmpl-1", limit=10, lookahead=True)
        got = list[str]()
        for _ in range(2):
            with pytest.raises(InternalServerError) as caught:
                await take_all(items, got)
            assert (caught.value.status, caught.value.cursor) == (503, "chatcmpl-1-49")
            assert (got, items.cursor) == (numbers(50), "chatcmpl-1-49")


async def test_a_far_end_that_fails() -> None:
    """If the far end cannot be fetched, the walk continues as a plain one."""
    whole = messages(95)

    def script(asked: Asked) -> Answer:
        return error(500) if asked.query.get("order") == "desc" else whole(asked)

    async with Loopback(script) as server, client_of(server) as client:
        items = client.list("chatcmpl-1", limit=10, lookahead=True)
        assert [item.id async for item in items] == numbers(95)
        assert sum("order" not in asked.query for asked in server.asked) == 10


async def test_a_guess_that_is_refused() -> None:
    """If a request ahead is refused for good, the walk requests the page once more."""
    whole, refusals = messages(200), 2

    def script(asked: Asked) -> Answer:
        nonlocal refusals
        if asked.query.get("after") == "chatcmpl-1-49" and refusals:
            refusals -= 1
            return error(429, "rate_limit_exceeded")
        return whole(asked)

    async with Loopback(script) as server, client_of(server) as client:
        items = client.list("chatcmpl-1", limit=10, lookahead="predict")
        assert [item.id async for item in items] == numbers(200)
        asked = [each.query["after"] for each in server.asked if "after" in each.query]
        assert asked.count("chatcmpl-1-49") == 3


@pytest.mark.parametrize("mode", [None, True])
def test_a_server_that_is_asked_too_much(mode: Any) -> None:
    """If a plain walk stays within the rate limit, lookahead does not fail because of it.

    The first refusal ends it: requests ahead give way to the walk.
    """
    whole, rate, tokens, filled = messages(120), 2, 2.0, 0.0

    async def script(asked: Asked) -> Answer:
        nonlocal tokens, filled
        await asyncio.sleep(LATENCY)
        tokens, filled = min(rate, tokens + (now() - filled) * rate), now()
        if tokens < 1:
            return error(429, "rate_limit_exceeded")
        tokens -= 1
        return whole(asked)

    async def main() -> tuple[list[str], int]:
        policy = RetryPolicy(max_retries=2, jitter=0)
        async with Loopback(script) as server, client_of(server, retry=policy) as client:
            items = client.list("chatcmpl-1", limit=10, lookahead=mode)
            return [item.id async for item in items], len(server.asked)

    got, requests = run(main(), grace=GRACE)
    assert got == numbers(120)
    assert requests <= 40


async def test_a_wrong_prediction() -> None:
    """After a missing number, the requests ahead are cancelled, and the walk is plain."""
    whole, gate = conversation(message(n) for n in range(200) if n != 60), asyncio.Event()

    async def script(asked: Asked) -> Answer:
        if asked.query.get("after") in ("chatcmpl-1-99", "chatcmpl-1-109"):
            await gate.wait()
        return whole(asked)

    async with Loopback(script) as server, client_of(server) as client:
        items = client.list("chatcmpl-1", limit=10, lookahead=True)
        async for item in items:
            if item.id == "chatcmpl-1-80":
                break
        await until(lambda: sum(is_ours(task) for task in asyncio.all_tasks()) == 0)
        rest = [item.id async for item in items]
        assert rest == numbers(81, 200)
        assert len(server.asked) == 1 + 20 + 13  # the end's, as predicted, and 71 to 199


def test_a_fresh_completion() -> None:
    """With wait_until_visible, both ends are requested until they exist."""
    whole, asked_for = messages(45), list[str]()

    async def script(asked: Asked) -> Answer:
        if now() > 3:
            return whole(asked)
        asked_for.append(asked.query.get("order", "asc"))
        return error(404, "not_found")

    async def main() -> list[str]:
        async with Loopback(script) as server, client_of(server) as client:
            items = client.list("chatcmpl-1", limit=10, lookahead=True, wait_until_visible=10)
            return [item.id async for item in items]

    assert run(main(), grace=GRACE) == numbers(45)
    assert asked_for.count("asc") == asked_for.count("desc") > 1


def test_a_deadline() -> None:
    """The deadline of a list covers the requests ahead as well."""

    async def main() -> float:
        async with Loopback(slowly(messages(2000))) as server, client_of(server) as client:
            items = client.list("chatcmpl-1", limit=10, lookahead=True, deadline=0.12)
            with pytest.raises(APITimeoutError):
                [item async for item in items]
            with pytest.raises(APITimeoutError):
                await anext(items)
            assert items.cursor
            return round(now(), 3)

    assert run(main(), grace=GRACE) == 0.12


# --- leaving --------------------------------------------------------------------------------------


def held_back(script: Callable[[Asked], Answer], gate: asyncio.Event) -> Any:
    """Return a script that answers the first request in plain order, and the others at a gate."""

    async def answer(asked: Asked) -> Answer:
        if asked.query.get("order") == "desc" or "after" in asked.query:
            await gate.wait()
        return script(asked)

    return answer


async def tasks_besides(before: set[Any]) -> set[Any]:
    """Return the new tasks, after all that can run has run."""
    for _ in range(10):
        await asyncio.sleep(0)
    return asyncio.all_tasks() - before


async def test_leaving_early() -> None:
    """Leaving a list that looks ahead ends its requests at both ends, and leaves no connection."""
    async with Loopback(held_back(messages(45), asyncio.Event())) as server:
        before = await tasks_besides(set())
        async with client_of(server) as client:
            async with client.list("chatcmpl-1", limit=10, lookahead=True) as items:
                await anext(items)
            for _ in range(2):
                with pytest.raises(ClientClosedError, match="closed before its end"):
                    await anext(items)
            assert items.cursor == "chatcmpl-1-0"
            assert not [task for task in asyncio.all_tasks() - before if is_ours(task)]
        await server.all_gone()


def is_ours(task: Any) -> bool:
    """Return whether a task fetches for a walk."""
    return "aiomessages" in task.get_coro().cr_code.co_filename and not task.done()


async def test_a_list_that_was_read_to_its_end() -> None:
    """A list that is dropped after its end warns of nothing, even with requests under way."""
    async with Loopback(messages(25)) as server, client_of(server) as client:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for limit in range(4, 34):
                for max_items in (None, 15):
                    items = client.list(
                        "chatcmpl-1", limit=limit, max_items=max_items, lookahead=True
                    )
                    assert [item.id async for item in items] == numbers(max_items or 25)
                    del items
                    gc.collect(1)  # what is new; all objects of a long run would take a minute
        assert [str(warning.message) for warning in caught] == []
        await until(lambda: not any(is_ours(task) for task in asyncio.all_tasks()))


async def test_a_list_that_is_read_over_idle_connections() -> None:
    """Where enough connections are idle, looking ahead opens no other."""
    async with Loopback(messages(95)) as server, client_of(server) as client:
        await asyncio.gather(*(client.list("chatcmpl-1", limit=1) for _ in range(6)))
        idle = {asked.connection for asked in server.asked}
        items = client.list("chatcmpl-1", limit=10, lookahead=True, lookahead_window=2)
        assert [item.id async for item in items] == numbers(95)
    assert {asked.connection for asked in server.asked} == idle


@pytest.mark.parametrize("mode", [True, "predict"])
async def test_how_to_ask_for_it(mode: Any) -> None:
    """`lookahead=True` is "predict"; False is the plain walk, as None is."""
    async with Loopback(messages(250)) as server, client_of(server) as client:
        assert [item async for item in client.list("chatcmpl-1", limit=10, lookahead=mode)]
        assert len(server.asked) == 26
        for off in (None, False):
            server.asked.clear()
            items = client.list("chatcmpl-1", limit=10, lookahead=off, prefetch=False)
            assert len([item async for item in items]) == 250
            assert {asked.query.get("order") for asked in server.asked} == {None}


async def test_a_dropped_list() -> None:
    """A list that is dropped while only its far end is fetched is cleaned up, and warns."""
    whole, gate = messages(45), asyncio.Event()

    async def script(asked: Asked) -> Answer:
        if asked.query.get("order") == "desc":
            await gate.wait()
        return whole(asked)

    async with Loopback(script) as server, client_of(server) as client:
        kept = [client.list("chatcmpl-1", limit=10, lookahead=True)]
        await anext(kept[0])
        await until(lambda: len(server.asked) == 3)
        await until(lambda: sum(is_ours(task) for task in asyncio.all_tasks()) == 1)
        with pytest.warns(ResourceWarning, match="aclose"):
            kept.clear()
        await until(lambda: not any(is_ours(task) for task in asyncio.all_tasks()))


async def until(done: Callable[[], bool]) -> None:
    """Run the loop until a condition holds."""
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110 no event for it
            await asyncio.sleep(0)


async def take_all(items: Any, got: list[str]) -> None:
    """Collect the items in a list that stays after an error."""
    async for item in items:
        got.append(item.id)  # noqa: PERF401 those before an error are kept


async def test_a_client_that_is_closed() -> None:
    """Pages fetched ahead are delivered after the client was closed; then the error comes."""
    gate = asyncio.Event()
    async with Loopback(held_back(messages(45), gate)) as server:
        client = client_of(server)
        items = client.list("chatcmpl-1", limit=10, lookahead=True)
        got = [(await anext(items)).id]
        await until(lambda: len(server.asked) == 3)
        await client.aclose()
        for _ in range(2):
            with pytest.raises(ClientClosedError, match="client was closed"):
                await take_all(items, got)
        assert got == numbers(10)
        await server.all_gone()
        assert not any(is_ours(task) for task in asyncio.all_tasks())


async def test_a_guess_that_is_cancelled() -> None:
    """If the task of a request ahead is cancelled from outside, the walk requests the page."""
    gate = asyncio.Event()
    whole = messages(95)

    async def script(asked: Asked) -> Answer:
        if "after" in asked.query:
            await gate.wait()
        return whole(asked)

    async with Loopback(script) as server, client_of(server) as client:
        items = client.list("chatcmpl-1", limit=10, lookahead="predict")
        got = [(await anext(items)).id]
        await until(lambda: len(server.asked) == 11)
        for task in asyncio.all_tasks():
            if is_ours(task) and "_fetch_early" in task.get_coro().cr_code.co_name:  # type: ignore[union-attr]
                task.cancel()
        gate.set()
        got += [item.id async for item in items]
        assert got == numbers(95)
