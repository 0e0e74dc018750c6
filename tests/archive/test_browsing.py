"""Lists of conversations: each result once on the pages of any list, and cursors of any kind."""

from __future__ import annotations

import base64
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest_archive import NOW, store, stored, write
from conftest_browsing import (
    WORDS,
    Library,
    expected,
    filters_,
    reading,
    store_all,
    talks,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiomessages.archive.browsing import ResultPage, find
from aiomessages.archive.conversation_order import ids, neighbours
from aiomessages.archive.cursors import CursorError
from aiomessages.archive.errors import ArchiveError, SearchError
from aiomessages.archive.filters import Filters
from aiomessages.errors import ConfigurationError

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

ALL = Filters()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Make an archive, in which conversations are stored in another order than their times."""
    return Library(tmp_path_factory.mktemp("browsing"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where an archive may stand."""
    return tmp_path / "archive.db"


def names(page: ResultPage) -> list[str]:
    """Return the ids of a page."""
    return [result.summary.id for result in page.results]


def pages(
    db: sqlite3.Connection, filters: Filters, *, best: bool = False, count: int = 20
) -> list[ResultPage]:
    """Return all pages of a list."""
    found = [find(db, filters, best=best, count=count)]
    while found[-1].next:
        found.append(find(db, filters, best=best, count=count, cursor=found[-1].next))
    return found


@settings(max_examples=150)
@given(filters_, st.booleans(), st.integers(1, 60))
def test_each_result_is_on_one_page(
    library: Library, filters: Filters, best: bool, count: int
) -> None:
    """All pages together have each conversation of the list once, in its order."""
    wanted = expected(library.talks, filters)
    with reading(library.path) as db:
        found = pages(db, filters, best=best, count=count)
    listed = [id for page in found for id in names(page)]
    assert (sorted(listed) == sorted(wanted)) if best else (listed == list(wanted))
    assert all(len(page.results) == count for page in found[:-1])
    for page in found:
        for result in page.results:
            messages = [message.n for message in result.messages]
            all_of_it = wanted[result.summary.id]
            if best and filters.words:
                assert messages
                assert set(messages) <= set(all_of_it)
            else:
                assert messages == all_of_it[:3]


@settings(max_examples=60)
@given(filters_, st.integers(1, 60))
def test_previous_pages(library: Library, filters: Filters, count: int) -> None:
    """From any page of a list without words, the way back shows the same pages."""
    filters = Filters(
        **{**{n: getattr(filters, n) for n in filters.__struct_fields__}, "words": ""}
    )
    with reading(library.path) as db:
        forward = pages(db, filters, count=count)
        page, backward = forward[-1], [forward[-1]]
        while page.previous:
            page = find(db, filters, cursor=page.previous, count=count)
            backward.insert(0, page)
            assert page.next
            following = find(db, filters, cursor=page.next, count=count)
            assert names(following) == names(backward[1])
    assert list(map(names, backward)) == list(map(names, forward))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(filters_, st.integers(1, 40), st.integers(0, 1000))
def test_completions_that_are_added_between_two_pages(
    library: Library, filters: Filters, count: int, seed: int
) -> None:
    """Whatever a sync adds, each conversation that was there comes once, and no other twice."""
    path, listed, cursor = library.copy(), list[str](), None
    wanted = list(expected(library.talks, filters))
    with reading(path) as db:
        for n in range(5):
            page = find(db, filters, cursor=cursor, count=count)
            listed += names(page)
            cursor = page.next
            if cursor is None:
                break
            store_all(path, talks(seed + n, 5, prefix=f"{(seed + n) % 7}-new-{n}-"))
        while cursor:
            page = find(db, filters, cursor=cursor, count=count)
            listed += names(page)
            cursor = page.next
    assert len(listed) == len(set(listed))
    assert [name for name in listed if "new" not in name] == wanted


@settings(max_examples=60)
@given(filters_)
def test_ids(library: Library, filters: Filters) -> None:
    """The ids of a list are those on all of its pages, in the same order."""
    with reading(library.path) as db:
        found = [id for batch in ids(db, filters) for id in batch]
        assert not db.in_transaction
    assert found == list(expected(library.talks, filters))


@settings(max_examples=60)
@given(filters_, st.booleans(), st.data())
def test_neighbours(library: Library, filters: Filters, best: bool, data: st.DataObject) -> None:
    """The conversations before and behind one are those on the pages of the list."""
    with reading(library.path) as db:
        listed = [id for page in pages(db, filters, best=best) for id in names(page)]
        if listed:
            at = data.draw(st.integers(0, len(listed) - 1))
            before, behind = neighbours(db, filters, listed[at], best=best)
            assert before == (listed[at - 1] if at else None)
            assert behind == (listed[at + 1] if at + 1 < len(listed) else None)


def test_more_ids_than_a_batch(path: Path) -> None:
    """Batches follow each other without a gap, with words and without, while a writer writes."""
    with stored(path) as insert:
        wanted = [insert(f"{n:04}", "a word", "a word") for n in range(2500)][::-1]
    for filters in (ALL, Filters(words="word")):
        with reading(path) as db:
            found = []
            for batch in ids(db, filters):
                assert not db.in_transaction
                found += batch
                write(path, "UPDATE completions SET gone_since = 1 WHERE number = 1")
    assert found == wanted


def test_neighbours_far_from_the_beginning(path: Path) -> None:
    """With words, a place behind the first thousand is not looked for; without, it is known."""
    with stored(path) as insert:
        listed = [insert(f"{n:04}", "a word") for n in range(2300)][::-1]
    words = Filters(words="word")
    with reading(path) as db:
        assert neighbours(db, words, listed[700]) == (listed[699], listed[701])
        assert neighbours(db, words, listed[2200]) == (None, None)
        assert neighbours(db, ALL, listed[2200]) == (listed[2199], listed[2201])


@pytest.mark.parametrize("filters", [ALL, Filters(words="word")])
def test_neighbours_of_a_conversation_that_is_not_there(path: Path, filters: Filters) -> None:
    """There are none, whatever the id is."""
    store(path, "a", "a word")
    with reading(path) as db:
        for id in ("chatcmpl-b", "", "\ud800", "\0"):
            assert neighbours(db, filters, id) == (None, None)


def test_many_hits_in_one_conversation(path: Path) -> None:
    """It is one result, shows its first three messages, and the next one follows it."""
    with stored(path) as insert:
        insert("old", "a word", created=NOW - 1)
        insert("long", *["a word"] * 300, created=NOW)
    with reading(path) as db:
        for best in (False, True):
            first, second = pages(db, Filters(words="word"), best=best, count=1)
            assert sorted(names(first) + names(second)) == ["chatcmpl-long", "chatcmpl-old"]
        first, _ = pages(db, Filters(words="word"), count=1)
        assert [message.n for message in first.results[0].messages] == [0, 1, 2]
        assert neighbours(db, Filters(words="word"), "chatcmpl-old") == ("chatcmpl-long", None)


def test_a_summary(path: Path) -> None:
    """It has the first text of the user and that of the first reply, cut to 300 characters."""
    store(
        path,
        "a",
        {"role": "system", "content": "Be brief."},
        "日" * 400,
        replies=("x" * 400, "y"),
        usage={"total_tokens": 7},
        model="m" * 400,
    )
    store(path, "b", {"role": "system", "content": "a\0b"}, created=None, model=None)
    store(path, "c")
    with reading(path) as db:
        by_id = {result.summary.id: result.summary for result in find(db, ALL).results}
    a, b, c = (by_id[f"chatcmpl-{name}"] for name in "abc")
    assert (a.first_text, a.reply_text, a.model) == ("日" * 300, "x" * 300, "m" * 300)
    assert (a.created, a.state, a.message_count, a.total_tokens) == (NOW, "complete", 2, 7)
    assert (b.first_text, b.reply_text, b.model, b.created) == ("a\0b", None, None, None)
    assert (c.first_text, c.reply_text, c.message_count) == (None, None, 0)


# --- cursors --------------------------------------------------------------------------------------


def test_the_conversation_of_a_cursor_is_gone(path: Path) -> None:
    """The next page begins at its place; the order by rank says that it is no longer there."""
    with stored(path) as insert:
        listed = [insert(f"{n:02}", "a word") for n in range(10)][::-1]
    with reading(path) as db:
        cursors = [
            find(db, filters, best=best, count=4).next
            for filters, best in [(ALL, False), (Filters(words="word"), False)]
        ]
        ranked = find(db, Filters(words="word"), best=True, count=4)
        removed = {listed[3], names(ranked)[-1]}
        for id in removed:
            write(path, f"DELETE FROM completions WHERE id = '{id}'")  # noqa: S608 of this test
        wanted = [id for id in listed[4:] if id not in removed]
        for filters, cursor in zip((ALL, Filters(words="word")), cursors, strict=True):
            assert names(find(db, filters, cursor=cursor)) == wanted
        with pytest.raises(CursorError, match="no longer there: begin at its first page"):
            find(db, Filters(words="word"), best=True, cursor=ranked.next)


def test_a_ranked_conversation_no_longer_matches(path: Path) -> None:
    """A cursor of the order by rank names a conversation that is there, and is not found."""
    with stored(path) as insert:
        for n in range(10):
            insert(f"{n:02}", "a word" if n else "no such")
    ranked = cursor("ranked", 0, "chatcmpl-00")
    with reading(path) as db, pytest.raises(CursorError, match="begin at its first page"):
        find(db, Filters(words="word"), best=True, cursor=ranked)


def cursor(*parts: Any) -> str:
    """Return a cursor as one is made, of any value."""
    kind, *place = parts
    return text_of([kind, place])


def text_of(value: Any) -> str:
    """Return JSON in the form of a cursor."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


TAMPERED = [
    "",
    "=",
    "a",
    "!!!!",
    "日本語",
    "\ud800",
    "\0",
    "%00",
    "A" * 100_000,
    base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    text_of(None),
    text_of({}),
    text_of("after"),
    text_of(["after"]),
    text_of(["after", None]),
    text_of([["after"], [1, "a"]]),
    text_of("[" * 10_000),
    cursor("behind", 1, "a"),
    cursor("after"),
    cursor("after", "1", "a"),
    cursor("after", 1, 2),
    cursor("after", 1.5, "a"),
    cursor("after", 1, "a", "b"),
    cursor("after", 2**63, "a"),
    cursor("after", -(2**63) - 1, "a"),
    cursor("after", 10**400, "a"),
    cursor("after", 1, "\ud800"),
]


@pytest.mark.parametrize("sent", TAMPERED, ids=range(len(TAMPERED)))
@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("words", ["", "word"])
def test_a_tampered_cursor(library: Library, sent: str, best: bool, words: str) -> None:
    """It is refused by a sentence that says where to begin."""
    with reading(library.path) as db:
        with pytest.raises(CursorError, match=r"no longer there: begin at its first page$") as info:
            find(db, Filters(words=words), best=best, cursor=sent)
        assert isinstance(info.value, ArchiveError)
        assert not db.in_transaction


@given(
    st.text() | st.binary().map(lambda sent: base64.urlsafe_b64encode(sent).decode()),
    st.booleans(),
    st.sampled_from(["", "often"]),
)
def test_any_text_as_a_cursor(library: Library, sent: str, best: bool, words: str) -> None:
    """No text does anything else."""
    with reading(library.path) as db, pytest.raises(CursorError):
        find(db, Filters(words=words), best=best, cursor=sent)


@pytest.mark.parametrize(
    ("kind", "words", "best"),
    [
        ("ranked", "", False),
        ("ranked", "often", False),
        ("before", "often", False),
        ("after", "often", True),
        ("before", "often", True),
    ],
)
def test_a_cursor_of_another_order(library: Library, kind: str, words: str, best: bool) -> None:
    """A cursor is of one order of one kind of list."""
    with reading(library.path) as db, pytest.raises(CursorError):
        find(db, Filters(words=words), best=best, cursor=cursor(kind, 0, library.talks[0].id))


@pytest.mark.parametrize(
    ("kind", "time", "id", "count"),
    [
        ("after", 2**63 - 1, "", 400),
        ("after", -(2**63) + 1, "", 0),
        ("after", 0, "", 0),
        ("before", 2**63 - 1, "", 0),
        ("before", -(2**63) + 1, "\0", 400),
        ("after", NOW, "'; DROP TABLE messages; --", None),
    ],
)
def test_a_cursor_of_any_place(
    library: Library, kind: str, time: int, id: str, count: int | None
) -> None:
    """A place that no conversation has is one nevertheless."""
    with reading(library.path) as db:
        found = find(db, ALL, cursor=cursor(kind, time, id), count=1000)
        assert count in (None, len(found.results))
        if kind == "after":
            find(db, Filters(words="often"), cursor=cursor(kind, time, id))


def test_cursors_can_stand_in_an_address(library: Library) -> None:
    """They are short, and have letters, digits, hyphens and underscores alone."""
    with reading(library.path) as db:
        page = find(db, ALL)
        second = find(db, ALL, cursor=page.next)
    for sent in (page.next, second.previous):
        assert sent
        assert len(sent) < 80
        assert sent.replace("-", "").replace("_", "").isalnum()


# --- what is asked for ----------------------------------------------------------------------------

HOSTILE = ["\0", "\ud800", "'", "a" * 10_000_000, "%", "\u202e"]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_filters_of_any_text(library: Library, text: str) -> None:
    """What no conversation has finds nothing."""
    for filters in (
        Filters(role=text),
        Filters(role=text, words="often"),
        Filters(model=text),
        Filters(metadata=((text, text),)),
        Filters(tool=text),
        Filters(finish_reason=text),
    ):
        with reading(library.path) as db:
            assert find(db, filters) == ResultPage([], None, None)
            assert list(ids(db, filters)) == []


def test_half_an_emoji(path: Path) -> None:
    """A text that no archive can hold is looked for as it was stored."""
    half = {"model": "m\ud83d", "metadata": {"k\ud83d": "v\ud83d"}}
    id = store(path, "a", {"role": "r\ud83d", "content": "word"}, **half)
    filters = Filters(
        words="word", role="r\ud83d", model="m\ud83d", metadata=(("k\ud83d", "v\ud83d"),)
    )
    with reading(path) as db:
        assert names(find(db, filters)) == [id]


def test_two_values_of_one_key(library: Library) -> None:
    """No conversation has both; the same pair twice is one."""
    red, blue = ("team", "red"), ("team", "blue")
    with reading(library.path) as db:
        assert find(db, Filters(metadata=(red, blue))).results == []
        assert find(db, Filters(metadata=(red, red))).results != []


@pytest.mark.parametrize("words", ["(", '"', "AND", "!!!", " ", "a" * 2000])
def test_words_that_are_no_query(library: Library, words: str) -> None:
    """They are refused at once, with or without a cursor."""
    filters = Filters(words=words)
    with reading(library.path) as db:
        for ask in (find, ids):
            with pytest.raises(SearchError):
                ask(db, filters)
        with pytest.raises(SearchError):
            neighbours(db, filters, "chatcmpl-none")


def test_a_state_that_there_is_not(library: Library) -> None:
    """It is refused, and the states are named."""
    with reading(library.path) as db, pytest.raises(ConfigurationError, match="complete, gone"):
        find(db, Filters(state="new"))


def test_an_empty_archive(path: Path) -> None:
    """Its list has one page without results."""
    write(path)
    with reading(path) as db:
        for filters in (ALL, *(Filters(words=word) for word in WORDS)):
            assert find(db, filters) == ResultPage([], None, None)
            assert list(ids(db, filters)) == []


def test_a_list_while_a_sync_writes(path: Path) -> None:
    """Conversations are replaced and added meanwhile: each page is whole, and no id comes twice."""
    with stored(path) as insert:
        kept = [insert(f"{n:03}", "a word", created=NOW + n) for n in range(0, 300, 2)]
    enough = threading.Event()

    def sync() -> None:
        n = 0
        while not enough.is_set():
            n = (n + 7) % 300
            store(path, f"{n:03}", "a word", "and another word", created=NOW + n)

    writer = threading.Thread(target=sync)
    writer.start()
    try:
        with reading(path) as db:
            for filters in [ALL, Filters(words="word"), Filters(words="wor*")] * 3:
                for listed in (
                    [id for page in pages(db, filters, count=7) for id in names(page)],
                    [id for batch in ids(db, filters) for id in batch],
                ):
                    assert listed == sorted(set(listed), reverse=True)
                    assert set(kept) <= set(listed)
    finally:
        enough.set()
        writer.join()
