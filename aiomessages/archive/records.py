"""The record form: one stored completion with its messages, as one line of JSON.

A line is ``{"completion": {…}, "messages": [{…}, …]}`` in the API's wire shape. This module reads
and validates such lines, and keeps the JSON text of each object as it was written, compacted to
one line. It is strict about the few fields that the server itself needs. It accepts anything in all
others, because unknown fields, parts and roles must survive. It touches no database.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Source = str | os.PathLike[str] | Iterable[Mapping[str, Any]]

# The characters of a URL path segment that all clients send alike; they escape others differently.
_Id = Annotated[str, Meta(pattern=r"^(?!\.{1,2}$)[^\s/?#%\x00-\x1f\x7f]{1,256}$")]
# The largest integer of SQLite; no Unix time in seconds comes near it.
_Seconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class RecordError(ValueError):
    """A record that cannot be stored."""

    line: int
    """Number of its line, counted from 1."""
    reason: str
    """Why it cannot be stored."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class Record(Struct, frozen=True):
    """A completion: the fields that the server filters by, its JSON text, and its messages.

    A message is its id, and the JSON text that the server sends for it.
    """

    id: str
    created: int
    model: str
    metadata: Mapping[str, str]
    body: bytes
    messages: tuple[tuple[str, bytes], ...]


class _Typed(Struct, frozen=True):
    """A content part or a tool call; any `type` is valid."""

    type: str


class _MessageFields(Struct, frozen=True):
    role: Annotated[str, Meta(min_length=1)]
    id: _Id | UnsetType = UNSET
    content: str | None = None
    name: str | None = None
    content_parts: list[_Typed] | None = None
    tool_calls: list[_Typed] | None = None


class _CompletionFields(Struct, frozen=True):
    id: _Id
    created: _Seconds
    model: str
    choices: list[Raw]
    metadata: dict[str, str] | None = None


class _Fields(Struct, frozen=True):
    completion: _CompletionFields
    messages: list[_MessageFields]

    def __post_init__(self) -> None:
        ids = self.message_ids()
        if len(set(ids)) < len(ids):
            raise ValueError("Two messages have the same `id`")

    def message_ids(self) -> list[str]:
        """Return the id of each message; one without an id gets the id that the API would give."""
        return [
            f"{self.completion.id}-{n}" if message.id is UNSET else message.id
            for n, message in enumerate(self.messages)
        ]


class _Texts(Struct, frozen=True):
    completion: Raw
    messages: list[Raw]


_fields = msgspec.json.Decoder(_Fields)
_texts = msgspec.json.Decoder(_Texts)
# msgspec raises RecursionError for deep nesting and UnicodeDecodeError for a lone surrogate.
_BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BAD_FILE = (gzip.BadGzipFile, EOFError, zlib.error)


def parse_record(line: bytes) -> Record:
    """Validate one line of JSON and return its record.

    Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError.
    """
    line.decode("utf-8")  # msgspec does not validate the strings that it skips
    fields, texts = _fields.decode(line), _texts.decode(line)
    completion = fields.completion
    return Record(
        id=completion.id,
        created=completion.created,
        model=completion.model,
        metadata=completion.metadata or {},
        body=_compact(texts.completion),
        messages=tuple(
            (id, _with_id(id, message, _compact(text)))
            for id, message, text in zip(
                fields.message_ids(), fields.messages, texts.messages, strict=True
            )
        ),
    )


def read_records(source: Source) -> Iterator[Record]:
    """Yield the records of a file (`.jsonl`, `.jsonl.gz`) or of an iterable of dicts.

    Memory holds one record at a time. Blank lines of a file are skipped.
    Raises RecordError with the number of the invalid line or dict, counted from 1.
    """
    lines = _file_lines(source) if isinstance(source, str | os.PathLike) else _encoded(source)
    for number, line in lines:
        try:
            yield parse_record(line)
        except _BAD_JSON as error:
            raise RecordError(number, str(error)) from None


def _with_id(id: str, fields: _MessageFields, body: bytes) -> bytes:
    """Return the message with its id as the first member, unless it came with an id."""
    return b'{"id":%b,%b' % (msgspec.json.encode(id), body[1:]) if fields.id is UNSET else body


def _compact(text: Raw) -> bytes:
    return msgspec.json.format(bytes(text), indent=-1)


def _file_lines(file: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    path, number = Path(file), 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
        except _BAD_FILE as error:
            raise RecordError(number + 1, f"damaged gzip data: {error}") from error


def _encoded(records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, bytes]]:
    for number, record in enumerate(records, start=1):
        try:
            yield number, msgspec.json.encode(record)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise RecordError(number, str(error)) from error
