"""Parse a plain response: status 200 in HTTP/1.1, framed in one of two ways, and complete.

Nearly every page arrives as one. aiohttp's parser builds a message, a stream and a queue for it, as
it must for any response; here two regular expressions and a slice do. Every other response is
refused unread, for aiohttp to parse: no byte is accepted here that its strict parser would refuse.

Nothing here performs I/O.
"""

import re
from typing import Final, NamedTuple

from multidict import CIMultiDict

# bytes. A larger response costs so much to decode that a faster parser saves nothing.
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
_NO_VALUES: Final[tuple[str, ...]] = ()
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,6})\r\n")
_PARTIAL_CHUNK: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,6}\r?)?")


class PlainResponse(NamedTuple):
    """A response with status 200. The body is as it was sent, perhaps compressed."""

    headers: CIMultiDict[str]
    body: bytes


def parse_plain(data: bytes | bytearray, max_body: int = MAX_BODY) -> PlainResponse | int | None:
    """Return the response that `data` are, from their first byte to their last.

    An int means that the body is incomplete: it is the number of bytes that `data` must have before
    another call makes sense. None means that this is no plain response, that its head is
    incomplete, or that its body, as sent, exceeds `max_body` bytes or MAX_BODY.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD) + 4
    head = _HEAD.fullmatch(data, 0, end)
    if head is None:
        return None
    headers = CIMultiDict(_FIELD.findall(head[1].decode("ascii")))
    lengths = headers.getall("Content-Length", _NO_VALUES)
    codings = headers.getall("Transfer-Encoding", _NO_VALUES)
    if len(lengths) + len(codings) != 1:
        return None
    connection = headers.getall("Connection", _NO_VALUES)
    if connection and {*map(str.lower, connection)} != {"keep-alive"}:
        return None
    if "Proxy-Connection" in headers or "Sec-WebSocket-Key1" in headers:
        return None  # aiohttp's parsers act on these
    most = min(max_body, MAX_BODY)
    body = _sized(data, end, lengths[0], most) if lengths else _chunked(data, end, codings[0], most)
    return PlainResponse(headers, body) if isinstance(body, bytes) else body


def _sized(data: bytes | bytearray, start: int, length: str, max_body: int) -> bytes | int | None:
    if not length.isdecimal() or len(length) > MAX_DIGITS or int(length) > max_body:
        return None
    end = start + int(length)
    if len(data) < end:
        return end
    return bytes(data[start:]) if len(data) == end else None  # more bytes follow: not plain


def _chunked(data: bytes | bytearray, start: int, coding: str, max_body: int) -> bytes | int | None:
    if coding.lower() != "chunked":
        return None
    chunks: list[slice] = []
    while len(chunks) < MAX_CHUNKS and len(data) - start <= max_body:
        size = _CHUNK.match(data, start)
        if size is None:
            return len(data) + 1 if _PARTIAL_CHUNK.fullmatch(data, start) else None
        start = size.end() + int(size[1], 16)
        end = data[start : start + 2]
        if end != b"\r\n":
            return start + 2 if b"\r\n".startswith(end) else None
        if start == size.end():  # the last chunk, of size 0
            complete = start + 2 == len(data)
            return b"".join(data[chunk] for chunk in chunks) if complete else None
        chunks.append(slice(size.end(), start))
        start += 2
    return None
