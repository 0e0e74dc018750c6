"""What a page shows is in its address, and comes back from it."""

from __future__ import annotations

import time
from datetime import UTC
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from aiomessages.view.url_state import (
    BadAddressError,
    State,
    id_of,
    message_of,
    segment,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.none() | texts
days = st.none() | st.dates().map(str).filter(lambda day: day[:4] not in ("0001", "9999"))
states = st.builds(
    State,
    words=texts.map(str.strip),
    role=values,
    model=values,
    tool=values,
    finish_reason=values,
    state=st.none() | st.sampled_from(["complete", "gone", "expired", "lost"]),
    metadata=st.dictionaries(texts, texts, max_size=5).map(lambda pairs: tuple(pairs.items())),
    day=days,
    since=days,
    until=days,
    best=st.booleans(),
    at=st.none() | st.text("abc", min_size=1),
)


def read(query: str) -> State:
    """Return the state of a query, as a server reads it."""
    return state_of(MultiDict(parse_qsl(query.removeprefix("?"), keep_blank_values=True)))


@given(states)
def test_every_state_passes_a_form(state: State) -> None:
    """The hidden fields of a form have all filters, though no form sends NUL or an end of line."""
    fields = state.fields()
    assert not {"\0", "\r", "\n"} & set("".join(value for _, value in fields))
    assert state_of(MultiDict(fields)) == state.with_(words="")


@given(states)
def test_every_state_comes_back(state: State) -> None:
    """A state is read from its own address, whatever its values hold."""
    assert read(state.query) == state


@given(texts | st.sampled_from(["", ".", "..", "~", "~."]))
def test_every_id_is_one_part_of_a_path(completion_id: str) -> None:
    """An id becomes a part of a path that a browser does not change, and comes back from it."""
    part = segment(completion_id)
    assert part not in ("", ".", "..")
    assert part.isascii()
    assert "/" not in part
    assert id_of(unquote(part)) == completion_id


def test_a_new_filter_begins_at_the_first_page() -> None:
    """A link that changes the selection drops the place in its results."""
    state = State(words="rain", at="xyz")
    assert state.with_(model="gpt").query == "?q=rain&model=gpt"


def test_a_conversation_keeps_the_selection_but_not_the_place() -> None:
    """The address of a conversation has the selection, for the next and the previous one."""
    state = State(words="rain", role="user", at="xyz")
    assert state.query_of_message(3) == "?q=rain&role=user&m=3"
    assert state.query_of_message() == "?q=rain&role=user"
    assert State().query_of_message() == ""


def test_chips_remove_one_filter_each() -> None:
    """Each filter that is set has a state without it, and all others stay."""
    state = State(
        words="rain",
        model="",
        metadata=(("a", "1"), ("b", "2")),
        day="2026-11-29",
    )
    chips = {(chip.name, chip.value): chip.without for chip in state.chips()}
    assert chips == {
        ("model", ""): state.with_(model=None),
        ("a", "1"): state.with_(metadata=(("b", "2"),)),
        ("b", "2"): state.with_(metadata=(("a", "1"),)),
        ("day", "2026-11-29"): state.with_(day=None),
    }


def test_a_metadata_key_has_one_value() -> None:
    """Another value of a key replaces the one before; none removes the key."""
    state = State(metadata=(("a", "1"), ("b", "2")))
    assert state.with_metadata("a", "3").metadata == (("b", "2"), ("a", "3"))
    assert state.with_metadata("a", None).metadata == (("b", "2"),)


@pytest.fixture
def zone() -> Iterator[None]:
    """Put this machine two hours east of Greenwich."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TZ", "XXX-2")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("zone")
def test_days_are_local_or_in_utc() -> None:
    """A day is 24 hours from midnight, of the machine's time zone or in UTC."""
    state = State(day="1970-01-02")
    local, utc = state.filters(None), state.filters(UTC)
    assert (utc.since, utc.until) == (86_400.0, 172_800.0)
    assert (local.since, local.until) == (79_200.0, 165_600.0)


def test_a_day_and_a_span_narrow_each_other() -> None:
    """With `day`, `since` and `until` the part counts that all of them have."""
    narrow = State(day="1970-01-03", since="1970-01-01", until="1970-01-10").filters(UTC)
    assert (narrow.since, narrow.until) == (172_800.0, 259_200.0)
    open_ended = State(since="1970-01-02").filters(UTC)
    assert (open_ended.since, open_ended.until) == (86_400.0, None)


@pytest.mark.parametrize(
    "query",
    [
        "day=yesterday",
        "day=2026-13-01",
        "day=2026-02-30",
        "day=20261129",
        "day=2026-11-29T08:00",
        "since=0000-01-01",
        "until=9999-12-31",
        "until=%D9%A2%D9%A0%D9%A2%D9%A6-11-29",
        "order=worst",
        "state=liquid",
        "state=",
        "meta=nothing",
        "&".join(f"meta={n}:x" for n in range(21)),
    ],
)
def test_garbage_is_refused_in_words(query: str) -> None:
    """A value that means nothing is refused by a sentence that shows the right form."""
    with pytest.raises(BadAddressError, match=r"write|at most"):
        read(query)


def test_empty_fields_of_a_form_are_no_filters() -> None:
    """A form sends fields that were left empty: they select nothing, where empty is no value."""
    assert read("q=&day=&since=&until=&order=&at=&unknown=1") == State()


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "", "99999999999", "%D9%A3", "1%00"])
def test_messages_are_numbers(text: str) -> None:
    """The number of a message is made of digits."""
    assert message_of(MultiDict(m="12")) == 12
    assert message_of(MultiDict()) is None
    with pytest.raises(BadAddressError, match="numbered from 0"):
        message_of(MultiDict(parse_qsl(f"m={text}", keep_blank_values=True)))
