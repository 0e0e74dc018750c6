"""Read conversations from a file of JSON Lines: records of the local server, or an export.

A record is ``{"completion": {…}, "messages": [{…}, …]}``. The layout `conversations` of an export
has the same two members, with others beside them; in an export without replies its completion is
null. Each line is told apart by itself. The file may be compressed by gzip or zstd, which its first
bytes tell.

The JSON of a completion and of a message stays as it is, with one exception: a message without an
id gets the one that the API would give, since a page needs it as its cursor.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from aiomessages.export.formats import zstd_module

from .errors import ArchiveError, ImportFileError
from .rows import completion_row
from .scan import items, members, value_of


class Conversation(NamedTuple):
    """A stored completion and its messages, and the number of the line that had them."""

    line: int
    completion_id: str
    completion: bytes
    messages: list[bytes]


class _LineError(ValueError):
    """The reason why a line is no conversation, and what to do."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


def read_conversations(path: Path) -> Iterator[Conversation]:
    """Yield the conversations of a file. Memory holds one at a time; blank lines are skipped.

    Raises ImportFileError with the number of a line that is none, and ArchiveError for a file that
    cannot be read.
    """
    number = 0
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _conversation(number, line)
    except _LineError as error:
        raise ImportFileError(str(path), max(number, 1), str(error), hint=error.hint) from None
    except _DAMAGED as error:
        raise ImportFileError(str(path), number + 1, f"damaged compression: {error}") from error
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror or error}") from error


# --- the file -------------------------------------------------------------------------------------

_DAMAGED: Final = (EOFError, zlib.error, gzip.BadGzipFile)
_OTHERS: Final = {
    b"SQLite format 3\0": ("a database, and no JSON Lines", "name the archive last"),
    b"PAR1": (
        "a Parquet file, and no JSON Lines",
        "export to .jsonl.gz with --layout conversations",
    ),
}


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file, decompressed. A pipe is refused: a file is read twice."""
    if not path.is_file():
        raise ArchiveError(f"{path}: {'no file' if path.exists() else 'there is no such file'}")
    with path.open("rb") as file:
        begin = file.read(16)
        file.seek(0)
        for mark, what in _OTHERS.items():
            if begin.startswith(mark):
                raise _LineError(*what)
        if begin.startswith(b"\x1f\x8b"):
            with gzip.open(file, "rb") as unpacked:
                yield unpacked
        elif begin.startswith(b"\x28\xb5\x2f\xfd"):
            with _unpacked_zstd(file) as unpacked:
                yield unpacked
        else:
            yield file


@contextmanager
def _unpacked_zstd(file: IO[bytes]) -> Iterator[IO[bytes]]:
    zstd = zstd_module()
    try:
        with zstd.open(file, "rb") as unpacked:
            yield unpacked
    except zstd.ZstdError as error:
        raise EOFError(str(error)) from error  # as for a file that is cut off


# --- a line ---------------------------------------------------------------------------------------


class _Line(msgspec.Struct):
    completion: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    completion_id: msgspec.Raw = msgspec.Raw()
    model: msgspec.Raw = msgspec.Raw()
    created: msgspec.Raw = msgspec.Raw()
    metadata: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()


_LINE: Final = msgspec.json.Decoder(_Line)
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _conversation(number: int, line: bytes) -> Conversation:
    found = _members(line)
    if "messages" not in found or not found.keys() & {"completion", "completion_id"}:
        raise _LineError(*_other_form(found))
    completion = found.get("completion", b"null")
    if completion == b"null" and "completion_id" in found:
        completion = _without_replies(found)
    try:
        completion_id = completion_row(completion)[0].id
    except ValueError:
        completion_id = ""
    if not completion_id:
        raise _LineError("its `completion` has no id")
    messages = _with_ids(completion_id, _listed(found["messages"]))
    return Conversation(number, completion_id, completion, messages)


def _members(line: bytes) -> dict[str, bytes]:
    """Return the members of a line that are known, as they were written."""
    try:
        found = _LINE.decode(line)
    except msgspec.ValidationError:
        raise _LineError("no JSON object") from None
    except _UNREADABLE as error:  # half an emoji, or nesting that is too deep for msgspec
        _check_json(line, error)
        return members(line)
    values = {name: bytes(getattr(found, name)) for name in _Line.__struct_fields__}
    return {name: value for name, value in values.items() if value}


def _check_json(text: bytes, error: Exception) -> None:
    """Raise the error of the first decoder if Python reads no JSON in the text either."""
    try:
        json.loads(text.decode("utf-8", "replace"), parse_int=float)
    except RecursionError:
        return
    except ValueError:
        raise _LineError(f"no JSON: {error}") from None


def _other_form(found: dict[str, bytes]) -> tuple[str, str]:
    if "message" in found:
        return "the export's layout is `messages`", "export with --layout conversations"
    return "neither a record of the local server nor a line of the layout `conversations`", ""


def _without_replies(found: dict[str, bytes]) -> bytes:
    """Return what an export without replies knows of a completion."""
    known = {"id": found["completion_id"], "object": b'"chat.completion"'}
    for name in ("created", "model", "metadata"):
        if found.get(name, b"null") != b"null":
            known[name] = found[name]
    known["choices"] = b"[]"
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), v) for name, v in known.items())


def _listed(messages: bytes) -> list[bytes]:
    if not messages.startswith(b"["):
        raise _LineError("its `messages` are no list")
    try:
        return [bytes(item) for item in _ITEMS.decode(messages)]
    except _UNREADABLE:
        return items(messages)


class _Message(msgspec.Struct):
    id: Any = UNSET


_MESSAGE: Final = msgspec.json.Decoder(_Message)


def _with_ids(completion_id: str, messages: list[bytes]) -> list[bytes]:
    """Return messages that can be listed in pages: each has an id, which no other has."""
    seen: set[str] = set()
    for n, body in enumerate(messages):
        if not body.startswith(b"{"):
            raise _LineError(f"its message {n} is no object")
        id = _id_of(body)
        if id is UNSET:
            id = f"{completion_id}-{n}"
            messages[n] = _with_id(id, body)
        if not isinstance(id, str) or not id:
            raise _LineError(f"the id of its message {n} is no text")
        if id in seen:
            raise _LineError(f"two of its messages have the id {id!r}")
        seen.add(id)
    return messages


def _id_of(message: bytes) -> Any:
    try:
        return _MESSAGE.decode(message).id
    except _UNREADABLE:
        found = members(message)
        return value_of(found["id"]) if "id" in found else UNSET


def _with_id(id: str, message: bytes) -> bytes:
    rest = message[1:].lstrip()
    comma = b"" if rest.startswith(b"}") else b","
    return b'{"id":%b%b%b' % (msgspec.json.encode(id), comma, rest)
