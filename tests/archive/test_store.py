"""Claims about the store: cursors, order, filters, and all or nothing."""

from __future__ import annotations

import sqlite3
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from aiomessages.archive.errors import NotAnArchiveError
from aiomessages.archive.store import Store, UnknownCompletionError, UnknownCursorError
from aiomessages.server import RecordError, import_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Build = Callable[..., dict[str, Any]]


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now


@pytest.fixture
def store() -> Iterator[Store]:
    """Open an empty store in memory."""
    opened = Store()
    yield opened
    opened.close()


def ids(store: Store, completion: str = "chatcmpl-c1", **how: Any) -> tuple[list[str], bool]:
    """Return one page of messages: the numbers in their ids, and whether more follow."""
    rows = store.messages(completion, **({"after": None, "limit": 20, "order": "asc"} | how))
    return [id.rpartition("-")[2] for id, _ in rows.items], rows.has_more


def names(store: Store, **how: Any) -> str:
    """Return one page of completions: their names, one letter (and digit) each."""
    rows = store.completions(**({"after": None, "limit": 20, "order": "asc"} | how))
    return "".join(id.removeprefix("chatcmpl-") for id, _ in rows.items)


def test_messages_keep_their_order_beyond_ten(store: Store, record: Build) -> None:
    """The order is that of the record, not that of the ids as texts."""
    store.load([record(count=12)])
    assert ids(store) == ([str(n) for n in range(12)], False)
    assert ids(store, order="desc") == ([str(n) for n in reversed(range(12))], False)


@pytest.mark.parametrize("limit", [1, 3, 5, 6, 7, 2**70])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_cover_everything_once(store: Store, record: Build, limit: int, order: str) -> None:
    """Following last ids gives each message once, and only the last page says it is the last."""
    store.load([record(count=6)])
    seen: list[str] = []
    more = True
    while more:
        after = f"chatcmpl-c1-{seen[-1]}" if seen else None
        page, more = ids(store, after=after, limit=limit, order=order)
        assert page
        seen += page
    expected = [str(n) for n in range(6)]
    assert seen == (expected if order == "asc" else expected[::-1])


def test_after_the_last_message_comes_an_empty_page(store: Store, record: Build) -> None:
    """The cursor of the last message is valid, and nothing follows it."""
    store.load([record(count=2)])
    assert ids(store, after="chatcmpl-c1-1") == ([], False)


def test_a_cursor_of_another_completion_is_unknown(store: Store, record: Build) -> None:
    """A cursor is valid only in its own list."""
    store.load([record("c1"), record("c2")])
    with pytest.raises(UnknownCursorError, match="chatcmpl-c2-0"):
        ids(store, after="chatcmpl-c2-0")
    with pytest.raises(UnknownCursorError):
        names(store, after="chatcmpl-c1-0")


def test_an_unknown_completion_is_not_found(store: Store) -> None:
    """Both its messages and the completion itself raise the error."""
    with pytest.raises(UnknownCompletionError):
        ids(store)
    with pytest.raises(UnknownCompletionError):
        store.completion("chatcmpl-c1")


def test_completions_are_sorted_by_time_and_then_by_id(store: Store, record: Build) -> None:
    """Completions of the same second have an order too, in both directions and across pages."""
    times = {"d": 2, "a": 3, "c": 2, "b": 1}
    store.load(record(name, created=time) for name, time in times.items())
    assert names(store) == "bcda"
    assert names(store, order="desc") == "adcb"
    assert names(store, after="chatcmpl-c", limit=1) == "d"
    assert names(store, after="chatcmpl-d", order="desc") == "cb"


def test_filters_are_joined_by_and(store: Store, record: Build) -> None:
    """Model and every metadata pair must match, exactly; a cursor still works."""
    store.load(
        [
            record("a", model="m1", metadata={"x": "1", "y": "1"}),
            record("b", model="m1", metadata={"x": "1", "y": "2"}),
            record("c", model="m2", metadata={"x": "1", "y": "1"}),
            record("d", model="m1"),
        ]
    )
    assert names(store, model="m1") == "abd"
    assert names(store, model="m") == ""
    assert names(store, metadata={"x": "1"}) == "abc"
    assert names(store, metadata={"x": "1", "y": "1"}, model="m1") == "a"
    assert names(store, metadata={"x": "1"}, after="chatcmpl-a", limit=1) == "b"
    assert names(store, metadata={"y": "1' OR '1'='1"}) == ""


def test_a_completion_that_comes_again_is_replaced(store: Store, record: Build) -> None:
    """The new messages, metadata and body replace all of the old ones."""
    store.load([record("c1", 5, metadata={"v": "old"}), record("c2")])
    assert store.load([record("c1", 2, metadata={"v": "new"})]) == 1
    assert ids(store) == (["0", "1"], False)
    assert names(store) == "c1c2"
    assert names(store, metadata={"v": "old"}) == ""
    assert b'"v":"new"' in store.completion("chatcmpl-c1")


@pytest.mark.parametrize("listed", [0, 1, 2])
def test_a_record_that_lists_its_replies(tmp_path: Path, record: Build, listed: int) -> None:
    """A reply that stands among the messages is not stored a second time beside them."""
    replies = [{"role": "assistant", "content": text} for text in ("Yes.", "No.")]
    sent = record(count=1)
    sent["completion"]["choices"] = [{"message": reply} for reply in replies]
    sent["messages"] += replies[:listed]
    import_records(str(tmp_path / "archive.db"), [sent])
    with closing(sqlite3.connect(tmp_path / "archive.db")) as db:
        rows = db.execute("SELECT text FROM messages WHERE role = 'assistant' ORDER BY text")
        assert rows.fetchall() == [("No.",), ("Yes.",)]


def test_a_bad_record_keeps_nothing_of_its_source(store: Store, record: Build) -> None:
    """Earlier data stays, including completions that the source would have replaced."""
    store.load([record("c1", 1)])
    with pytest.raises(RecordError, match="line 3"):
        store.load([record("c1", 9), record("c2"), {"messages": []}])
    assert names(store) == "c1"
    assert ids(store) == (["0"], False)


def test_a_source_that_raises_keeps_nothing(store: Store, record: Build) -> None:
    """The exception of the iterable passes unchanged, and the store stays usable."""

    def source() -> Iterator[dict[str, Any]]:
        yield record("c1")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        store.load(source())
    assert store.load([record("c2")]) == 1
    assert names(store) == "c2"


def test_the_visibility_delay_hides_a_fresh_completion(record: Build) -> None:
    """Before the delay is over no list has it, its messages are not found, and it is no cursor."""
    clock = Clock()
    store = Store(visibility_delay=5.0, clock=clock)
    store.load([record("c1")])
    clock.now += 4.9
    assert names(store) == ""
    with pytest.raises(UnknownCompletionError):
        ids(store)
    with pytest.raises(UnknownCursorError):
        names(store, after="chatcmpl-c1")
    clock.now += 0.1
    assert names(store) == "c1"
    assert len(ids(store)[0]) == 3
    store.close()


def test_an_import_holds_one_record_at_a_time(tmp_path: Path, record: Build) -> None:
    """An import of 20 MB needs less than 1 MB of memory."""
    big = record("c1", 1)
    big["messages"][0]["content"] = "x" * 20_000

    def source() -> Iterator[dict[str, Any]]:
        for n in range(1000):
            big["completion"]["id"] = f"chatcmpl-{n}"
            yield big

    tracemalloc.start()
    assert import_records(str(tmp_path / "big.db"), source()) == 1000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_file_is_complete_after_an_import(tmp_path: Path, record: Build) -> None:
    """The import leaves one file, and the next store that opens it has the records."""
    file = tmp_path / "stored.db"
    assert import_records(str(file), [record("c1"), record("c2")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["stored.db"]
    store = Store(str(file))
    assert names(store) == "c1c2"
    store.close()


def test_a_reader_goes_on_while_another_connection_imports(tmp_path: Path, record: Build) -> None:
    """The reader sees the earlier state until the import is complete."""
    file = str(tmp_path / "shared.db")
    import_records(file, [record("c1")])
    reader, writer = Store(file), Store(file)
    seen: list[str] = []

    def source() -> Iterator[dict[str, Any]]:
        yield record("c2")
        seen.append(names(reader))

    writer.load(source())
    assert [*seen, names(reader)] == ["c1", "c1c2"]
    reader.close()
    writer.close()


def test_an_import_does_not_wait_for_a_reader(tmp_path: Path, record: Build) -> None:
    """An import commits while another connection has a read transaction open."""
    file = str(tmp_path / "shared.db")
    import_records(file, [record("c1")])
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM completions").fetchone() == (1,)
    assert import_records(file, [record("c2")]) == 1
    assert reader.execute("SELECT count(*) FROM completions").fetchone() == (1,)
    reader.close()


def test_the_file_names_its_program(tmp_path: Path) -> None:
    """The SQLite header has "aiom" as its application id, and the version of the schema."""
    file = tmp_path / "stored.db"
    import_records(str(file), [])
    header = file.read_bytes()[:100]
    assert header[68:72] == b"aiom"
    assert int.from_bytes(header[60:64], "big") == 3


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """The store rejects the file and does not write to it."""
    file = tmp_path / "theirs.db"
    theirs = sqlite3.connect(file)
    theirs.execute("CREATE TABLE messages (a)")
    theirs.commit()
    theirs.close()
    before = file.read_bytes()
    with pytest.raises(ValueError, match="another program"):
        Store(str(file))
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """The error says that it is none, and names it."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(NotAnArchiveError, match=r"notes.txt: no SQLite database$"):
        Store(str(file))
