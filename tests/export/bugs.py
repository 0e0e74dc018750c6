"""Bugs that an export must not have: each is put in, and must be found by `crashing`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from aiomessages.export.files import Files
from aiomessages.export.ledger import Ledger
from aiomessages.export.output import Output
from aiomessages.export.part_files import PartFiles
from aiomessages.export.stored import Lines
from aiomessages.export.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from aiomessages.export.ledger_schema import Entry, Part

Patch = Callable[[Any, str, Any], object]  # such as setattr


def no_truncate_on_start(patch: Patch) -> None:
    """Bytes that were written and never recorded are left in the file."""
    patch(Files, "truncate", lambda _self, _path, _size: None)


def unrecorded_file_left(patch: Patch) -> None:
    """A file that was begun and never recorded is left, and written to."""
    patch(Files, "remove", lambda _self, _path: None)


def ledger_before_data(patch: Patch) -> None:
    """The ledger records a batch before its bytes are written."""
    append, commit = Files.append, Ledger.commit
    late: list[tuple[Any, Path, bytes]] = []

    def append_later(self: Files, path: Path, data: bytes, *, at: int | None = None) -> None:
        if path.name.endswith(".partial"):
            late.append((self, path, data))
        else:
            append(self, path, data, at=at)

    def commit_first(self: Ledger, parts: Sequence[Part], entries: Sequence[Entry]) -> None:
        commit(self, parts, entries)
        while late:
            append(*late.pop())

    patch(Files, "append", append_later)
    patch(Ledger, "commit", commit_first)


def no_fsync(patch: Patch) -> None:
    """Nothing is made durable: the ledger records bytes that only the page cache has."""

    def append(self: Files, path: Path, data: bytes, **_: Any) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.write(descriptor, memoryview(data))
        finally:
            os.close(descriptor)
        self.fsync_directory(path.parent)

    patch(Files, "append", append)


def no_fsync_of_directories(patch: Patch) -> None:
    """Files are made durable, but their names are not."""
    patch(Files, "fsync_directory", lambda _self, _path: None)


def rename_before_fsync(patch: Patch) -> None:
    """A file has its final name before its bytes are durable."""
    append = Files.append

    def append_at_ease(self: Files, path: Path, data: bytes, **options: Any) -> None:
        if path.name.endswith(".tmp"):
            path.write_bytes(data)
        else:
            append(self, path, data, **options)

    patch(Files, "append", append_at_ease)


def joined_unannounced(patch: Patch) -> None:
    """A file is appended to before the ledger records that."""
    record = PartFiles.record

    def record_later(self: PartFiles, part: Part) -> None:
        if part.number == 1 or not part.closed:
            record(self, part)

    patch(PartFiles, "record", record_later)


def manifest_left(patch: Patch) -> None:
    """The manifest stays while the file that it describes is appended to."""
    remove = Files.remove

    def remove_others(self: Files, path: Path) -> None:
        if not path.name.endswith(".manifest.json"):
            remove(self, path)

    patch(Files, "remove", remove_others)


def added_part_forgotten(patch: Patch) -> None:
    """The bytes to append are removed before the ledger records that they were appended."""
    join = Ledger.join

    def forget_first(self: Ledger, part: Part) -> None:
        for path in self._path.parent.rglob("*.partial"):
            path.unlink()
        join(self, part)

    patch(Ledger, "join", forget_first)


def no_lock(patch: Patch) -> None:
    """Any number of processes write to one destination."""

    @contextlib.contextmanager
    def lock(_self: Files, _path: Path) -> Iterator[None]:
        yield

    patch(Files, "lock", lock)


def cursor_too_far(patch: Patch) -> None:
    """A batch is recorded with the cursor behind its last line, which is not written yet."""
    write, finish = Output.write, Output.finish
    kept: dict[Output, list[bytes]] = {}  # lost when the process is killed

    def write_all_but_one(
        self: Output, pieces: Iterable[Lines], entries: Sequence[Entry], *_: object
    ) -> int:
        text = b"".join(piece.text for piece in pieces)
        *ready, last = [*kept.get(self, []), *text.splitlines(keepends=True)] or [b""]
        kept[self] = [last]
        return write(self, [Lines(b"".join(ready), len(ready))], entries)

    def finish_with_the_last(self: Output, layout: str, *named: Any) -> None:
        last = kept.pop(self, [])
        write(self, [Lines(b"".join(last), len(last))], [])
        finish(self, layout, *named)

    patch(Output, "write", write_all_but_one)
    patch(Output, "finish", finish_with_the_last)


def goes_on_after_an_error(patch: Patch) -> None:
    """After a batch that could not be written, the next one is written behind it."""
    flush, append = Writer.flush, Files.append

    async def flush_all_the_same(self: Writer) -> None:
        patch(self, "_error", None)
        await flush(self)

    def append_anyhow(self: Files, path: Path, data: bytes, **_: Any) -> None:
        append(self, path, data)

    patch(Writer, "flush", flush_all_the_same)
    patch(Files, "append", append_anyhow)


def no_transactions(patch: Patch) -> None:
    """The changes of a batch are recorded one by one: a file's extent, then its completions."""
    patch(Ledger, "_transaction", lambda _self: contextlib.nullcontext())


class Bug(NamedTuple):
    """A bug: how to put it in, how an export is stopped to find it, and the expected message."""

    put_in: Callable[[Patch], None]
    way: str
    symptom: str


_LOST = r"power went at .* bytes, and the ledger has recorded"
_BROKEN = "was changed since it was written"

BUGS: dict[str, Bug] = {
    "no-truncate-on-start": Bug(no_truncate_on_start, "faults", _BROKEN),
    "unrecorded-file-left": Bug(unrecorded_file_left, "faults", "belongs to another program"),
    "goes-on-after-an-error": Bug(goes_on_after_an_error, "faults", _BROKEN),
    "ledger-before-data": Bug(ledger_before_data, "power", _LOST),
    "joined-unannounced": Bug(joined_unannounced, "faults while added", _BROKEN),
    "manifest-left": Bug(manifest_left, "faults while added", "the manifest is not true"),
    "added-part-forgotten": Bug(added_part_forgotten, "kills while added", "exit code 65"),
    "no-fsync": Bug(no_fsync, "power", _LOST),
    "no-fsync-of-directories": Bug(no_fsync_of_directories, "power", _LOST),
    "rename-before-fsync": Bug(rename_before_fsync, "power", "power went at .*manifest"),
    "cursor-too-far": Bug(cursor_too_far, "faults", "lines instead of"),
    "no-transactions": Bug(no_transactions, "kills", "are there twice"),
    "no-lock": Bug(no_lock, "second writer", "exit code 0 of a second writer"),
}
