"""What went on over time, compared with a count by hand."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from conftest_archive import NOW, store, stored, write
from conftest_browsing import Library, expected, filters_, reading
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomessages.archive.activity import Activity, Day, activity
from aiomessages.archive.errors import SearchError
from aiomessages.archive.facets import Count
from aiomessages.archive.filters import Filters

if TYPE_CHECKING:
    from pathlib import Path

ALL = Filters()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Make an archive of conversations by chance."""
    return Library(tmp_path_factory.mktemp("activity"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where an archive may stand."""
    return tmp_path / "archive.db"


@pytest.mark.unmeasured
@settings(max_examples=60)
@given(filters_)
def test_activity_of_a_list(library: Library, filters: Filters) -> None:
    """Each conversation of the list is counted on its day, for its model, state and tools."""
    by_id = {talk.id: talk for talk in library.talks}
    talks = [by_id[id] for id in expected(library.talks, filters)]
    with reading(library.path) as db:
        found = activity(db, filters, utc=True)
        assert not db.in_transaction
    assert (found.total, found.bounded) == (len(talks), False)
    dated = [
        (time.strftime("%Y-%m-%d", time.gmtime(talk.created)), talk.model)
        for talk in talks
        if talk.created is not None
    ]
    days = [Day(*key, dated.count(key), 0) for key in set(dated)]
    assert sorted(found.days, key=repr) == sorted(days, key=repr)
    assert [day.day for day in found.days] == sorted(day.day for day in days)
    states = [talk.state for talk in talks]
    assert {(c.value, c.count) for c in found.states} == {(s, states.count(s)) for s in states}
    tools = [tool for talk in talks for tool in {m[2] for m in talk.messages} if tool]
    assert {(c.value, c.count) for c in found.tools} == {(t, tools.count(t)) for t in tools}
    assert found.unknown_time == len(talks) - len(dated)
    assert found.waiting == 0


@pytest.mark.unmeasured
@settings(max_examples=30)
@given(filters_.filter(lambda filters: filters.words), st.integers(1, 60))
def test_the_bound_of_words(library: Library, filters: Filters, bound: int) -> None:
    """Of the conversations that words find, the newest are counted, and whether there are more."""
    by_id = {talk.id: talk for talk in library.talks}
    wanted = list(expected(library.talks, filters))
    talks = [by_id[id] for id in wanted[:bound]]
    with reading(library.path) as db:
        found = activity(db, filters, utc=True, bound=bound)
    assert (found.total, found.bounded) == (len(talks), len(wanted) > bound)
    counted = Counter(talk.state for talk in talks)
    assert {count.value: count.count for count in found.states} == counted
    dated = [talk for talk in talks if talk.created is not None]
    assert sum(day.conversations for day in found.days) == len(dated)


def test_the_usual_bound_of_words(path: Path) -> None:
    """Five thousand conversations that words find are counted; without words all are."""
    with stored(path) as insert:
        for n in range(5001):
            insert(f"{n}", "a word")
    with reading(path) as db:
        for words, total in (("word", 5000), ("", 5001)):
            found = activity(db, Filters(words=words), utc=True)
            assert (found.total, found.bounded) == (total, bool(words))


def test_tokens_and_what_waits(path: Path) -> None:
    """Tokens are added up, also beyond 64 bits; one without any counts as none."""
    with stored(path) as insert:
        for n, tokens in enumerate([5, 7, None]):
            insert(f"{n}", "a word", usage={"total_tokens": tokens})
        for n in range(3):
            insert(f"huge-{n}", "a word", usage={"total_tokens": 2**62}, model="o3")
    write(path, "INSERT INTO waiting VALUES ('chatcmpl-x', 'pending', NULL, 1, 1, 1)")
    with reading(path) as db:
        for filters in (ALL, Filters(words="word")):
            found = activity(db, filters, utc=True)
            assert found.days == [
                Day("2023-11-14", "gpt-4o", 3, 12),
                Day("2023-11-14", "o3", 3, 3 * 2**62),
            ]
            assert found.waiting == 1


def test_the_most_frequent_tools(path: Path) -> None:
    """Twenty are named."""
    with stored(path) as insert:
        for n in range(30):
            calls = [{"function": {"name": f"tool-{k:02}"}} for k in range(n + 1)]
            insert(f"{n}", {"content": "word", "tool_calls": calls})
    with reading(path) as db:
        for filters in (ALL, Filters(words="word")):
            wanted = [Count(f"tool-{n:02}", 30 - n) for n in range(20)]
            assert activity(db, filters, utc=True).tools == wanted


def test_days_of_the_local_time_zone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation late in the day of UTC is on the next day further east."""
    store(path, "a", "a word", created=NOW)  # 22:13 in UTC
    monkeypatch.setenv("TZ", "XXX-3")
    time.tzset()
    try:
        with reading(path) as db:
            days = [activity(db, ALL, utc=utc).days[0].day for utc in (False, True)]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert days == ["2023-11-15", "2023-11-14"]


def test_an_empty_archive(path: Path) -> None:
    """Nothing went on in it."""
    write(path)
    with reading(path) as db:
        for filters in (ALL, Filters(words="word")):
            assert activity(db, filters, utc=False) == Activity(0, False, [], [], [], 0, 0)


def test_words_that_are_no_query(path: Path) -> None:
    """They are refused, and no transaction stays open."""
    write(path)
    with reading(path) as db:
        with pytest.raises(SearchError):
            activity(db, Filters(words='"'), utc=True)
        assert not db.in_transaction
