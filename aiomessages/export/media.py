"""Media out of messages: pictures, sounds and files become files, named by what is in them.

The API delivers them as base64 inside the JSON of messages and, where the model spoke, of replies.
`extract` writes each one once, under the sha256 of its bytes, and puts that name in its place.
Nothing is ever written outside the directory, a name is made of nothing that the server sent, and
what cannot be read as base64 stays as it is.
"""

from __future__ import annotations

import binascii
import hashlib
import itertools
import re
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from aiomessages.decoding import despite_lone_surrogates

from .files import Files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Json = Any
JsonObject = dict[str, Json]

# What is without any of these holds no blob: what follows is then spared.
_MAY_HOLD: Final = re.compile(rb';(?i:base64),|"(?:data|file_data)"\s*:\s*"')

# The key of a part, or of a message that was spoken → the key in it that may hold a blob.
_PLACES: Final = {"image_url": "url", "input_audio": "data", "file": "file_data", "audio": "data"}

# RFC 2397, of which only base64 is of interest: what stands in the clear is short.
_DATA_URI: Final = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64", re.IGNORECASE)

_ENDINGS: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/jpg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
    "image/bmp": ".bmp",
    "image/tiff": ".tiff",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/wave": ".wav",
    "audio/mpeg": ".mp3",
    "audio/mp3": ".mp3",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/aac": ".aac",
    "audio/mp4": ".m4a",
    "audio/webm": ".webm",
    "application/pdf": ".pdf",
    "application/json": ".json",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/html": ".html",
}
_OTHER: Final = ".bin"

# A reply does not say in which of the API's formats it was spoken; its first bytes do. Only pcm16
# has nothing to be known by.
_SPOKEN: Final = re.compile(
    rb"(?P<wav>RIFF.{4}WAVE)|(?P<flac>fLaC)|(?P<ogg>OggS)"
    rb"|(?P<mp3>ID3|\xff[\xfb\xf3\xf2])|(?P<aac>\xff[\xf1\xf9])",
    re.DOTALL,
)


class _Blob(NamedTuple):
    """What stands in the JSON, under which key, and the bytes and the ending of its file."""

    key: str
    text: str
    data: bytes
    ending: str


class MediaStore:
    """A directory of media, each file named by the sha256 of its bytes, and private.

    Threads may share a store. Two processes may not write to one directory at the same time.
    """

    def __init__(self, directory: Path, *, files: Files | None = None) -> None:
        self._directory = directory
        self._files = files or Files()
        self._lock = threading.Lock()  # two threads may come with the same picture
        self._settled = False  # whether all that is there is known to be durable

    def extract(self, item: bytes) -> bytes:
        """Write the blobs of an item to files, and return it with their names in place of them.

        An item is the JSON of a message, or of a stored completion with its replies. Names are
        relative to the directory. Everything else in an item keeps its bytes; one without blobs is
        returned as it is. Each file is durable before this returns.
        """
        if not _MAY_HOLD.search(item):
            return item
        for blob in _blobs(item):
            name = hashlib.sha256(blob.data).hexdigest() + blob.ending
            replaced = _replaced(item, blob, name)
            if replaced is not None:
                self._put(name, blob.data)
                item = replaced
        return item

    def _put(self, name: str, data: bytes) -> None:
        path = self._directory / name
        with self._lock:
            if not self._settled:
                self._settle()
            if self._files.size(path) != len(data):
                self._settled = False  # until it has its name for good
                self._files.put(path, data)
            self._settled = True

    def _settle(self) -> None:
        """Make the names durable that are there: who gave them may have been killed before that."""
        self._files.make_directory(self._directory, mode=0o700)
        self._files.fsync_directory(self._directory)
        self._files.fsync_directory(self._directory.parent)


def _blobs(item: bytes) -> Iterator[_Blob]:
    for holder in _holders(item):
        for place, key in _PLACES.items():
            held = holder.get(place)
            if isinstance(held, dict) and isinstance(text := held.get(key), str):
                yield from _blob(key, text, held.get("format"))


def _holders(item: bytes) -> Iterator[JsonObject]:
    """Yield what may hold blobs: each message, and its parts wherever a server puts them."""
    try:
        wire, _ = despite_lone_surrogates(_ITEM.decode, item)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # not for this layer to complain about
    for message in (wire, *(choice.get("message") for choice in _objects(wire.get("choices")))):
        if isinstance(message, dict):
            yield message
            yield from _objects(message.get("content_parts"))
            yield from _objects(message.get("content"))


def _objects(listed: Json) -> Iterator[JsonObject]:
    if isinstance(listed, list):
        yield from (item for item in listed if isinstance(item, dict))


def _blob(key: str, text: str, audio_format: Json) -> Iterator[_Blob]:
    """Yield the blob that a text is, if it is one: a data: URI, or base64 where that may stand."""
    head, comma, encoded = text.partition(",")
    uri = _DATA_URI.fullmatch(head) if comma else None
    if uri is None:
        encoded = "" if comma or key == "url" else text
    if data := _decoded(encoded):
        ending = _ENDINGS.get(uri[1].strip().lower(), _OTHER) if uri else _bare(data, audio_format)
        yield _Blob(key, text, data, ending)


def _bare(data: bytes, audio_format: Json) -> str:
    """Return the ending for what is no URI: what it is called, and else what it looks like."""
    sound = _SPOKEN.match(data)
    return _ENDINGS.get(f"audio/{audio_format}") or (f".{sound.lastgroup}" if sound else _OTHER)


def _decoded(encoded: str) -> bytes:
    """Return the bytes, or none for what is not exactly how base64 would write them."""
    try:
        data = binascii.a2b_base64(encoded)
    except ValueError:
        return b""
    return data if binascii.b2a_base64(data, newline=False).decode() == encoded else b""


def _replaced(item: bytes, blob: _Blob, name: str) -> bytes | None:
    """Put a name in place of a blob, and touch nothing else; None for an escape never seen.

    A quotation mark within a string has a backslash before it, so a key and its value, both with
    their marks, are found where they are and nowhere else.
    """
    literal = msgspec.json.encode(blob.text)
    for colon, spelled in itertools.product(
        (b":", b": "), (literal, literal.replace(b"/", rb"\/"))
    ):
        held = b'"%b"%b%b' % (blob.key.encode(), colon, spelled)
        if held in item:
            return item.replace(held, b'"%b"%b"%b"' % (blob.key.encode(), colon, name.encode()))
    return None


_ITEM: Final = msgspec.json.Decoder(JsonObject, float_hook=float)
