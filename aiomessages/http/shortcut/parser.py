"""The plain answer: status 200 in HTTP/1.1, framed in one of the two ways, and all of it here.

Nearly every page comes in one. Aiohttp's parser makes of it a message, a stream and a queue, for
whatever else may follow; here it is two regular expressions and a slice. What is less than plain
is refused unread, for that parser to judge: no byte is taken leniently here that it would not take.

Nothing here performs I/O.
"""

import re
from typing import Final, NamedTuple

from multidict import CIMultiDict

# bytes. What is larger costs so much to decode that nothing is won here.
MAX_HEAD: Final = 8190
MAX_BODY: Final = 1024 * 1024
MAX_DIGITS: Final = 6
MAX_CHUNKS: Final = 1000

# RFC 9112, sections 4 and 5, without folded lines, letters outside ASCII and spaces at the end.
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 200 [\t\x20-\x7e]*\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*(?<=[\x21-\x7e])\r\n){1,100})\r\n"
)
_FIELD: Final = re.compile(r"([^:]+):[\t ]*([^\r]*)\r\n")
_NONE: Final[tuple[str, ...]] = ()
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,6})\r\n")
_CHUNK_TO_BE: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,6}\r?)?")


class PlainAnswer(NamedTuple):
    """An answer with status 200. Its body is as it was sent, perhaps compressed."""

    headers: CIMultiDict[str]
    body: bytes


def read_plain(data: bytes | bytearray, most: int = MAX_BODY) -> PlainAnswer | int | None:
    """Return the answer that the data are, from their first byte to their last.

    Its body has at most `most` bytes as it was sent, and at most MAX_BODY.

    A number says how many bytes there have to be before it makes sense to look again; None, that
    this is no plain answer, or not all of its head.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD) + 4
    head = _HEAD.fullmatch(data, 0, end)
    if head is None:
        return None
    headers = CIMultiDict(_FIELD.findall(head[1].decode("ascii")))
    lengths = headers.getall("Content-Length", _NONE)
    codings = headers.getall("Transfer-Encoding", _NONE)
    if len(lengths) + len(codings) != 1:
        return None
    connection = headers.getall("Connection", _NONE)
    if connection and {*map(str.lower, connection)} != {"keep-alive"}:
        return None
    if "Proxy-Connection" in headers or "Sec-WebSocket-Key1" in headers:
        return None  # they mean something to aiohttp's parsers
    most = min(most, MAX_BODY)
    body = _sized(data, end, lengths[0], most) if lengths else _chunked(data, end, codings[0], most)
    return PlainAnswer(headers, body) if isinstance(body, bytes) else body


def _sized(data: bytes | bytearray, start: int, length: str, most: int) -> bytes | int | None:
    if not length.isdecimal() or len(length) > MAX_DIGITS or int(length) > most:
        return None
    end = start + int(length)
    if len(data) < end:
        return end
    return bytes(data[start:]) if len(data) == end else None  # else there is something behind it


def _chunked(data: bytes | bytearray, start: int, coding: str, most: int) -> bytes | int | None:
    if coding.lower() != "chunked":
        return None
    chunks: list[slice] = []
    while len(chunks) < MAX_CHUNKS and len(data) - start <= most:
        size = _CHUNK.match(data, start)
        if size is None:
            return len(data) + 1 if _CHUNK_TO_BE.fullmatch(data, start) else None
        start = size.end() + int(size[1], 16)
        end = data[start : start + 2]
        if end != b"\r\n":
            return start + 2 if b"\r\n".startswith(end) else None
        if start == size.end():
            whole = start + 2 == len(data)
            return b"".join(data[chunk] for chunk in chunks) if whole else None
        chunks.append(slice(size.end(), start))
        start += 2
    return None
