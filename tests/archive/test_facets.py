"""Facets: counts as a person would make them, up to a bound, of values of any kind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from conftest_archive import NOW, store, stored, write
from conftest_browsing import Library, Talk, expected, filters_, reading
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomessages.archive.browsing import find
from aiomessages.archive.errors import SearchError
from aiomessages.archive.facets import Count, Facets, facets
from aiomessages.archive.filters import Filters

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ALL = Filters()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Make an archive of conversations by chance."""
    return Library(tmp_path_factory.mktemp("facets"))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Make a larger one, in which more messages have a word than are sorted at once."""
    return Library(tmp_path_factory.mktemp("crowd"), 4000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where an archive may stand."""
    return tmp_path / "archive.db"


def counts(values: Iterable[str | None]) -> list[Count]:
    """Return how often each value is there, the most frequent first, and then by the alphabet."""
    every = list(values)
    found = [Count(value, every.count(value)) for value in set(every)]
    return sorted(found, key=lambda count: (-count.count, count.value or ""))


def day_of(created: int | None) -> str | None:
    """Return the day of UTC."""
    return None if created is None else time.strftime("%Y-%m-%d", time.gmtime(created))


def same(found: list[Count], wanted: list[Count]) -> None:
    """Check counts, of which those that are equal may stand in any order."""
    assert sorted(found, key=repr) == sorted(wanted, key=repr)
    assert [count.count for count in found] == [count.count for count in wanted]


def check(found: Facets, talks: list[Talk], messages: list[list[int]]) -> None:
    """Compare the facets with a count of these conversations."""
    same(found.model, counts(talk.model for talk in talks))
    same(found.finish_reason, counts(talk.finish_reason for talk in talks))
    same(found.state, counts(talk.state for talk in talks))
    same(
        found.tool, counts(tool for talk in talks for tool in {m[2] for m in talk.messages} if tool)
    )
    roles = [
        {
            role
            for n, (role, _, _) in enumerate(talk.messages)
            if n in numbers or (not numbers and role is not None)
        }
        for talk, numbers in zip(talks, messages, strict=True)
    ]
    same(found.role, counts(role for some in roles for role in some))
    days = [day for talk in talks if (day := day_of(talk.created))]
    newest = sorted(set(days), reverse=True)[:20]
    assert found.day == [Count(day, days.count(day)) for day in newest]
    assert found.more["day"] == len(set(days)) - len(newest)
    assert {key for key, _ in found.metadata} == {key for talk in talks for key in talk.metadata}
    for key, values in found.metadata:
        same(values, counts(talk.metadata[key] for talk in talks if key in talk.metadata))
        assert found.more[f"metadata:{key}"] == 0


@settings(max_examples=60)
@given(filters_)
def test_facets_of_a_list(library: Library, filters: Filters) -> None:
    """Below the bound, each value is counted once for each conversation of the list."""
    wanted = expected(library.talks, filters)
    by_id = {talk.id: talk for talk in library.talks}
    with reading(library.path) as db:
        found = facets(db, filters, utc=True)
        assert not db.in_transaction
    assert (found.total, found.bounded) == (len(wanted), False)
    check(found, [by_id[id] for id in wanted], list(wanted.values()))


@settings(max_examples=60)
@given(filters_, st.integers(1, 100))
def test_the_bound(library: Library, filters: Filters, bound: int) -> None:
    """Above it the newest conversations are counted, and no others."""
    wanted = expected(library.talks, filters)
    newest = list(wanted)[:bound]
    by_id = {talk.id: talk for talk in library.talks}
    with reading(library.path) as db:
        found = facets(db, filters, utc=True, bound=bound)
    assert (found.total, found.bounded) == (len(newest), len(wanted) > bound)
    check(found, [by_id[id] for id in newest], [wanted[id] for id in newest])


@settings(max_examples=40)
@given(filters_.filter(lambda filters: filters.words))
def test_many_messages_that_match(crowd: Library, filters: Filters) -> None:
    """Of many as well, each conversation is found once, with the roles of what matches in it."""
    wanted = expected(crowd.talks, filters)
    by_id = {talk.id: talk for talk in crowd.talks}
    with reading(crowd.path) as db:
        found = facets(db, filters, utc=True, bound=4000)
        page = find(db, filters, count=30)
    assert (found.total, found.bounded) == (len(wanted), False)
    check(found, [by_id[id] for id in wanted], list(wanted.values()))
    assert [
        (result.summary.id, [message.n for message in result.messages]) for result in page.results
    ] == [(id, numbers[:3]) for id, numbers in list(wanted.items())[:30]]


@pytest.mark.parametrize(("count", "is_bounded"), [(600, False), (1500, True)])
def test_the_beginning_of_very_many_words(path: Path, count: int, is_bounded: bool) -> None:
    """Of words that most messages begin so, those in the newest texts are counted, and it says so.

    To collect all of them from the index would take longer than a reader waits.
    """
    with stored(path) as insert:
        insert("old", "", created=NOW - 1)
    write(path, "UPDATE messages SET number = 1000000")  # as if so many were older
    with stored(path) as insert:
        for n in range(count):
            insert(f"{n:04}", f"word{n} " + "text " * 200, model=f"{n % 3}", created=NOW + n)
    with reading(path) as db:
        found = facets(db, Filters(words="word*"), utc=True)
        rare = facets(db, Filters(words="word5*"), utc=True)
    assert found.bounded is is_bounded
    assert found.total == count or 1000 < found.total < count
    newest = range(count - found.total, count)
    same(found.model, counts(f"{n % 3}" for n in newest))
    # What begins so in fewer messages is counted up to the usual bound.
    assert (rare.total, rare.bounded) == (sum(f"{n}"[0] == "5" for n in range(count)), False)


@pytest.mark.parametrize(("words", "bound"), [("", 10_000), ("word", 2000)])
def test_the_usual_bound(path: Path, words: str, bound: int) -> None:
    """Ten thousand conversations are counted, and two thousand that words find."""
    with stored(path) as insert:
        for n in range(bound + 1):
            insert(f"{n}", "a word")
    with reading(path) as db:
        found = facets(db, Filters(words=words), utc=True)
        assert (found.total, found.bounded) == (bound, True)
        assert found.model == [Count("gpt-4o", bound)]
        assert found.role == [Count("user", bound)]
    with stored(path) as insert:
        insert("0", "no such")
    write(path, "DELETE FROM completions WHERE id = 'chatcmpl-0'")
    with reading(path) as db:
        found = facets(db, Filters(words=words), utc=True)
    assert (found.total, found.bounded) == (bound, False)


@pytest.mark.unmeasured
def test_a_hundred_thousand_values(path: Path) -> None:
    """The most frequent twenty values and keys are named, and the others counted."""
    with stored(path) as insert:
        for n in range(100):
            many = {f"key-{n}-{k}": "x" for k in range(10)} | {f"{k}": f"{n}" for k in range(990)}
            insert(f"{n}", "a word", metadata=many | {"often": f"{n // 50}"})
    with reading(path) as db:
        found = facets(db, ALL, utc=True)
    assert len(found.metadata) == 20
    assert found.more["metadata"] == 1 + 990 + 100 * 10 - 20
    assert all(
        len(values) == 20 and found.more[f"metadata:{key}"] == 80
        for key, values in found.metadata
        if key != "often"
    )
    with stored(path) as insert:
        for n in range(100):
            insert(f"{n}", "a word", metadata={"user": f"{n}", "team": f"{n % 30}"})
    with reading(path) as db:
        found = facets(db, ALL, utc=True)
    metadata = dict(found.metadata)
    assert list(metadata) == ["team", "user"]
    assert metadata["team"][:11] == [Count(f"{n}", 4) for n in sorted(map(str, range(10)))] + [
        Count("10", 3)
    ]
    assert (found.more["metadata:team"], found.more["metadata:user"]) == (10, 80)
    assert found.more["metadata"] == 0


def test_hostile_values(path: Path) -> None:
    """A value of any characters is counted as it was stored; one that is too long is left out."""
    names = ["", "\0", "a\0b", "\ud800", "<script>", "\u202e", "'", "metadata:x"]
    with stored(path) as insert:
        for n, name in enumerate(names):
            call = {"id": "c", "type": "function", "function": {"name": name, "arguments": ""}}
            said = {"role": name, "content": "word", "tool_calls": [call]}
            insert(f"{n}", said, model=name, metadata={name: name})
        huge = "x" * 10_000_000
        insert(
            "huge", {"role": huge, "content": "word"}, model=huge, metadata={huge: huge, "k": huge}
        )
    stored_as = [name.replace("\ud800", "\ufffd") for name in names]
    with reading(path) as db:
        for words in ("", "word"):
            found = facets(db, Filters(words=words), utc=True)
            for field, counted in {
                "model": found.model,
                "role": found.role,
                "tool": found.tool,
            }.items():
                assert counted == [Count(name, 1) for name in sorted(stored_as)]
                assert found.more[field] == (field != "tool")
            assert {key: values for key, values in found.metadata if key != "k"} == {
                name: [Count(name, 1)] for name in stored_as
            }
            assert dict(found.metadata)["k"] == []
            assert (found.more["metadata"], found.more["metadata:k"]) == (1, 1)
        for name in names:
            assert len(find(db, Filters(model=name)).results) == 1
            assert len(find(db, Filters(role=name, metadata=((name, name),))).results) == 1
            assert len(find(db, Filters(tool=name, words="word", role=name)).results) == 1
        # The summary of the conversation with the huge model is small.
        assert all(len(result.summary.model or "") <= 300 for result in find(db, ALL).results)


@pytest.mark.parametrize("created", [None, 0, -1, 2**62, -(2**62), 10**11, 10**12, -(10**11)])
def test_times_of_any_kind(path: Path, created: int | None) -> None:
    """A time in no year that people write has no day, and is counted everywhere else."""
    store(path, "a", "a word", created=created)
    with reading(path) as db:
        for utc in (False, True):
            found = facets(db, ALL, utc=utc)
            assert (found.total, found.state) == (1, [Count("complete", 1)])
            assert len(found.day) <= 1


def test_days_of_the_local_time_zone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation late in the day of UTC is on the next day further east."""
    store(path, "a", "a word", created=NOW)  # 22:13 in UTC
    monkeypatch.setenv("TZ", "XXX-3")
    time.tzset()
    try:
        with reading(path) as db:
            assert facets(db, ALL, utc=False).day == [Count("2023-11-15", 1)]
            assert facets(db, ALL, utc=True).day == [Count("2023-11-14", 1)]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_words_that_are_no_query(library: Library) -> None:
    """They are refused, and no transaction stays open."""
    with reading(library.path) as db:
        with pytest.raises(SearchError):
            facets(db, Filters(words="("), utc=True)
        assert not db.in_transaction
