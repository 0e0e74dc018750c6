"""Claims about whole conversations in the tables: exact bytes, and a search index that fits."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.archive.database import open_to_write
from aiomessages.archive.insert import insert_conversation
from aiomessages.archive.schema import TOKENIZER
from aiomessages.archive.text import searchable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """Open an archive in memory."""
    opened = open_to_write(":memory:")
    yield opened
    opened.close()


def completion(id: str = "c", *replies: str) -> bytes:
    """Return a completion with these replies."""
    choices = [{"message": {"role": "assistant", "content": reply}} for reply in replies]
    return json.dumps({"id": id, "created": 1, "choices": choices}).encode()


def message(text: str, **fields: Any) -> bytes:
    """Return a message with this text."""
    return json.dumps({"role": "user", "content": text, **fields}).encode()


def column(db: sqlite3.Connection, query: str, *values: Any) -> list[Any]:
    """Return the first column of a query's rows."""
    return [row[0] for row in db.execute(query, values)]


def matches(db: sqlite3.Connection, words: str) -> list[str]:
    """Return the texts that the index finds."""
    return column(
        db,
        "SELECT text FROM messages WHERE number IN"
        " (SELECT rowid FROM words WHERE words MATCH ?) ORDER BY number",
        words,
    )


def index_of(db: sqlite3.Connection, *, rebuilt: bool) -> list[tuple[Any, ...]]:
    """Return each word of the index with its row and place: as it is, or built from the texts."""
    name = "words"
    if rebuilt:
        name = "fresh"
        db.execute(
            f"CREATE VIRTUAL TABLE temp.fresh USING fts5"
            f' (text, content = "", tokenize = "{TOKENIZER}")'
        )
        for number, text in db.execute("SELECT number, text FROM messages").fetchall():
            if text:
                db.execute(
                    "INSERT INTO fresh (rowid, text) VALUES (?, ?)", (number, searchable(text))
                )
    schema = "temp" if rebuilt else "main"
    db.execute(f"CREATE VIRTUAL TABLE temp.v USING fts5vocab ({schema}, {name}, instance)")
    found = db.execute("SELECT term, doc, offset FROM v ORDER BY 1, 2, 3").fetchall()
    db.execute("DROP TABLE v")
    if rebuilt:
        db.execute("DROP TABLE fresh")
    return found


ODD = {
    "half an emoji": rb'{"role":"user","content":"half \ud83d"}',
    "a broken byte": b'{"role":"user","content":"\xff"}',
    "deep": b'{"role":"user","content":"deep","x":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "NUL": rb'{"role":"user","content":"before\u0000after"}',
    "NUL alone": rb'{"role":"user","content":"\u0000"}',
    "empty": b'{"role":"user","content":""}',
    "numbers": b'{"role":5,"id":1.50e3,"content":-0,"n":NaN}',
    "no object": b"null",
    "the same id": b'{"id":"m","role":"user","content":"once"}',
    "the same id again": b'{"id":"m","role":"user","content":"twice"}',
    "scripts": '{"content":"日本語 ﬁne 😀 עִב Straße ёлка résumé"}'.encode(),
    "spaces": b'{ "role" : "user",\t"content" : "spaced" }',
}


def test_any_message_comes_back_byte_for_byte(db: sqlite3.Connection) -> None:
    """What was sent is what is stored, in its order: the columns beside it are another matter."""
    assert insert_conversation(db, completion(), ODD.values(), seen=1.0) == len(ODD)
    stored = column(db, "SELECT CAST(body AS BLOB) FROM messages ORDER BY n")
    assert stored == list(ODD.values())
    assert column(db, "SELECT message_count FROM completions") == [len(ODD)]
    assert matches(db, "after") == ["before\0after"]
    assert matches(db, "spaced OR twice") == ["twice", "spaced"]
    for words in ("本 語", "fine", "u1f600", "עב", "strasse", "елка", "resume"):
        assert len(matches(db, f'"{words}"')) == 1
    assert index_of(db, rebuilt=False) == index_of(db, rebuilt=True)
    assert insert_conversation(db, completion(), [], seen=2.0) == 0
    assert index_of(db, rebuilt=False) == []


COMPLETIONS = {
    "a fraction": b'{"id":"c","created":1.75,"choices":[]}',
    "huge": b'{"id":"c","created":%b}' % (b"9" * 5000),
    "NaN": b'{"id":"c","created":NaN}',
    "half an emoji": rb'{"id":"c","model":"\ud83d","metadata":{"\ud83d":"\ude00"}}',
    "metadata": b'{"id":"c","metadata":{"a":1,"b":{"c":[null]},"d":null,"e":""}}',
    "deep": b'{"id":"c","metadata":{"a":' + b"[" * 2000 + b"]" * 2000 + b"}}",
    "no choices": b'{"id":"c","choices":null}',
    "choices of other shapes": b'{"id":"c","choices":[null,5,{"message":{"content":[5]}}]}',
    "a broken byte": b'{"id":"c","model":"\xff"}',
    "indented": b'{ "id" : "c" }',
}


@pytest.mark.parametrize("body", COMPLETIONS.values(), ids=COMPLETIONS)
def test_any_completion_comes_back_byte_for_byte(db: sqlite3.Connection, body: bytes) -> None:
    """A value that no column can hold refuses no row, and is whole in the body."""
    insert_conversation(db, body, [message("words")], seen=1.0)
    assert column(db, "SELECT CAST(body AS BLOB) FROM completions") == [body]
    assert column(db, "SELECT id FROM completions") == ["c"]
    assert matches(db, "words") == ["words"]


def test_a_reply_stands_behind_the_messages(db: sqlite3.Connection) -> None:
    """Replies are numbered on, carry their choice, and are no part of the message count."""
    insert_conversation(db, completion("c", "yes", "no"), [message("well?")], seen=1.0)
    rows = db.execute("SELECT n, choice, text FROM messages ORDER BY n").fetchall()
    assert rows == [(0, None, "well?"), (1, 0, "yes"), (2, 1, "no")]
    assert db.execute("SELECT message_count, id FROM completions").fetchall() == [(1, "c")]
    view = db.execute("SELECT first_message, reply, message_count FROM conversations").fetchall()
    assert view == [("well?", "yes", 1)]


def test_an_absent_value_is_null(db: sqlite3.Connection) -> None:
    """An empty name and the number 0 in its place are something else."""
    names = [message("", name=name) for name in (None, "", "0", 0, "Ada")]
    insert_conversation(db, completion(), [*names, message("")], seen=1.0)
    assert column(db, "SELECT name FROM messages ORDER BY n") == [None, "", "0", None, "Ada", None]
    assert column(db, "SELECT choice FROM messages") == [None] * 6


def test_a_reply_that_is_listed(db: sqlite3.Connection) -> None:
    """Some servers list it among the messages: it is stored, and found, once."""
    listed = b'{"role":"assistant","content":"yes"}'
    insert_conversation(db, completion("c", "yes"), [message("well?"), listed], seen=1.0)
    assert matches(db, "yes") == ["yes"]
    assert column(db, "SELECT choice FROM messages ORDER BY n") == [None, None]


def test_no_completion_is_refused_before_anything_is_removed(db: sqlite3.Connection) -> None:
    """JSON without an id raises ValueError and changes nothing."""
    with pytest.raises(ValueError, match="without an id"):
        insert_conversation(db, b'{"created":1}', [], seen=1.0)
    assert column(db, "SELECT count(*) FROM completions") == [0]


def test_a_conversation_that_comes_again(db: sqlite3.Connection) -> None:
    """It replaces all of the old rows, and stays known since it was first seen."""
    old = b'{"id":"c","metadata":{"v":"old","w":"1"},"choices":[]}'
    insert_conversation(db, old, [message("old words")] * 3, seen=1.0)
    insert_conversation(db, completion("other"), [message("other words")], seen=1.0)
    new = b'{"id":"c","metadata":{"v":"new"},"choices":[]}'
    insert_conversation(db, new, [message("new words")], seen=5.0, state="lost")
    seen = "SELECT first_seen, last_seen, imported, state FROM completions WHERE id = 'c'"
    assert db.execute(seen).fetchall() == [(1.0, 5.0, 5.0, "lost")]
    assert db.execute("SELECT name, value FROM metadata").fetchall() == [("v", "new")]
    assert matches(db, "words") == ["other words", "new words"]
    assert matches(db, "old") == []
    assert index_of(db, rebuilt=False) == index_of(db, rebuilt=True)


def test_the_index_forgets_exactly_what_is_replaced(db: sqlite3.Connection) -> None:
    """Words that other messages have too are still found in those."""
    for id in "abc":
        insert_conversation(db, completion(id, f"reply {id}"), [message(f"words {id}")], seen=1.0)
    insert_conversation(db, completion("b"), [], seen=2.0)
    assert matches(db, "words") == ["words a", "words c"]
    assert matches(db, "reply") == ["reply a", "reply c"]
    assert column(db, "SELECT count(*) FROM messages") == [4]


WORDS = st.sampled_from(
    [
        "a",
        "Über",
        "straße",
        "日本語",
        "ﬁne",
        "\U0001f600",
        "\ufffd",
        "\0",
        "\ud83d",
        "ë",
        "ё",
        "",
        "עִב",
    ]
)
TEXTS = st.lists(WORDS, max_size=4).map(" ".join)
STEP = st.tuples(
    st.sampled_from("abc"),
    st.lists(TEXTS, max_size=3),
    st.lists(TEXTS, max_size=2),
)


@given(st.lists(STEP, max_size=12))
def test_the_index_always_holds_the_texts_of_the_messages(steps: list[Any]) -> None:
    """After any inserts and replacements it equals one that is built anew."""
    db = open_to_write(":memory:")
    held: dict[str, list[str]] = {}
    for id, texts, replies in steps:
        body = completion(id, *replies)
        insert_conversation(db, body, [message(text) for text in texts], seen=1.0)
        held[id] = [*texts, *replies]
    assert column(db, "SELECT count(*) FROM messages") == [sum(map(len, held.values()))]
    assert index_of(db, rebuilt=False) == index_of(db, rebuilt=True)
    db.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    db.close()


def test_a_message_of_ten_megabytes(db: sqlite3.Connection) -> None:
    """It is stored, found and removed like any other."""
    words = "needle " + "hay " * 2_500_000
    insert_conversation(db, completion(), [message(words)], seen=1.0)
    assert column(db, "SELECT length(text) FROM messages") == [len(words)]
    assert len(matches(db, "needle")) == 1
    insert_conversation(db, completion(), [], seen=1.0)
    assert index_of(db, rebuilt=False) == []


def test_a_conversation_larger_than_memory() -> None:
    """At most some megabytes of it are held at a time, whatever the length of its messages."""
    db = open_to_write(":memory:")
    db.execute("PRAGMA journal_mode = OFF")
    body = message("", x="x" * 1_000_000)
    tracemalloc.start()
    assert insert_conversation(db, completion(), (bytes(body) for _ in range(40)), seen=1.0) == 40
    assert insert_conversation(db, completion("d"), (b"{}" for _ in range(1001)), seen=1.0) == 1001
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    db.close()
    assert peak < 12_000_000
