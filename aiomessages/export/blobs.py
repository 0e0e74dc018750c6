r"""Blobs: the base64 strings in the JSON of a message or a completion, however they are escaped.

Nothing here performs I/O. A blob is found by its path, and returned with the span of its string
literal, so that all other bytes can stay. Escapes differ: .NET writes `+` as `\u002B`, Java `=` as
`\u003d`, PHP `/` as `\/`.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]  # the keys and the indices on the way to a value

# By the key of a part, or of a spoken message: the key in it that may hold a blob.
_PLACES: Final = {"image_url": "url", "input_audio": "data", "file": "file_data", "audio": "data"}

# RFC 2397; URIs that are not base64 are short, and stay.
_DATA_URI: Final = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64", re.IGNORECASE)

# By media type; where it is not named here, the ending is the subtype.
_OTHER_ENDINGS: Final = {
    "image/jpeg": "jpg",
    "image/svg+xml": "svg",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "text/plain": "txt",
    "text/markdown": "md",
}
_SUBTYPES: Final = {
    "image": "jpg png webp gif bmp tiff avif heic",
    "audio": "wav mp3 flac ogg opus aac webm",
    "application": "pdf json",
    "text": "csv html",
}
_ENDINGS: Final = {
    **{kind: f".{ending}" for kind, ending in _OTHER_ENDINGS.items()},
    **{f"{of}/{sub}": f".{sub}" for of, subs in _SUBTYPES.items() for sub in subs.split()},
}
_OTHER: Final = ".bin"

# A spoken reply does not name its audio format, but its first bytes do, except those of pcm16.
_SPOKEN: Final = re.compile(
    rb"(?P<wav>RIFF.{4}WAVE)|(?P<flac>fLaC)|(?P<ogg>OggS)"
    rb"|(?P<mp3>ID3|\xff[\xfb\xf3\xf2])|(?P<aac>\xff[\xf1\xf9])",
    re.DOTALL,
)


class Blob(NamedTuple):
    """The span of a string literal with its quotation marks, and its file's bytes and ending."""

    start: int
    end: int
    data: bytes
    ending: str


def find_blobs(item: bytes) -> Iterator[Blob]:
    """Yield the blobs of a message, or of a completion with its input and its replies, in order.

    A blob is a data: URI in base64, or bare base64 in the place of a sound or a file.
    """
    if not _may_hold(item):
        return
    strings = list(_strings(item))  # a sound's format may follow it
    formats = {
        path[:-1]: _text(item[start:end]) for path, start, end in strings if path[-1] == "format"
    }
    for path, start, end in strings:
        key = str(path[-1])
        found = _blob(key, _text(item[start:end]), formats.get(path[:-1]))
        if key != "format" and found is not None:
            yield Blob(start, end, *found)


# --- the cheap check ------------------------------------------------------------------------------

# The escape of a character of a key or of a URI's head. Servers rarely write any; without one the
# substrings below are found if they are there.
_ESCAPED: Final = re.compile(rb"\\u00(?:[46][0-9a-fA-F]|[57][0-9aA]|5[fF]|3[46bB]|2[cC])")


def _may_hold(item: bytes) -> bool:
    """Return whether an item may hold a blob: a cheap check that most items do not pass."""
    return (
        b'"data"' in item
        or b'"file_data"' in item
        or b"base64" in item.lower()
        or (rb"\u00" in item and _ESCAPED.search(item) is not None)
    )


# --- paths in the JSON ----------------------------------------------------------------------------

_TOKEN: Final = re.compile(rb'("(?:[^"\\]++|\\.)*+")(\s*+:)?|[{}\[\],]', re.DOTALL)


def _strings(item: bytes) -> Iterator[tuple[Path, int, int]]:
    """Yield the path and span of each string that may be a blob, or be a blob's format."""
    path: list[str | int] = []
    for token in _TOKEN.finditer(item):
        start = token.start()
        match item[start : start + 1]:
            case b'"' if token[2]:
                path[-1:] = [_text(token[1])]  # a key, and nothing else, has a colon behind it
            case b'"' if _is_place(path):
                yield (*path,), *token.span(1)
            case b"{":
                path.append("")
            case b"[":
                path.append(0)
            case b"}" | b"]":
                del path[-1:]
            case b",":
                path[-1:] = [at + 1 if isinstance(at, int) else at for at in path[-1:]]


def _is_place(path: list[str | int]) -> bool:
    """Return whether a path may be that of a blob or its format, in a message or its parts."""
    match path:
        case [*holder, str(place), "url" | "data" | "file_data" | "format" as key]:
            return key in (_PLACES.get(place), "format") and _is_holder(holder)
    return False


def _is_holder(path: list[str | int]) -> bool:
    match path:
        case [*message, "content" | "content_parts", int()]:
            path = message
    match path:
        case [] | ["choices", int(), "message"] | ["input_messages", int()]:
            return True
    return False


def _text(literal: bytes) -> str:
    """Return the text of a string literal, which may hold lone surrogates."""
    text = literal.decode(errors="replace")
    return str(json.loads(text, strict=False)) if "\\" in text else text[1:-1]


# --- base64 ---------------------------------------------------------------------------------------


def _blob(key: str, text: str, audio_format: str | None) -> tuple[bytes, str] | None:
    """Return the bytes and the ending of a blob; None for any other text."""
    head, comma, encoded = text.partition(",")
    uri = _DATA_URI.fullmatch(head) if comma else None
    if uri is None:
        encoded = "" if comma or key == "url" else text
    if not (data := _decoded(encoded)):
        return None
    return data, _ENDINGS.get(uri[1].strip().lower(), _OTHER) if uri else _bare(data, audio_format)


def _bare(data: bytes, audio_format: str | None) -> str:
    """Return the ending of a blob without a media type, by its format or its first bytes."""
    sound = _SPOKEN.match(data)
    return _ENDINGS.get(f"audio/{audio_format}") or (f".{sound.lastgroup}" if sound else _OTHER)


def _decoded(encoded: str) -> bytes:
    """Return the bytes of canonical base64; no bytes for any other text."""
    try:
        data = binascii.a2b_base64(encoded)
    except ValueError:
        return b""
    return data if binascii.b2a_base64(data, newline=False).decode() == encoded else b""
