"""Decompress a body, and never produce more bytes than the caller asked for.

Nothing here performs I/O. aiohttp can decompress by itself, but it reports a gzip stream that was
cut short as a success. Here a body is complete, or it is an error.
"""

import zlib
from collections.abc import Mapping
from typing import Final

from aiomessages.values.headers import compressions_of

# A body may be several gzip members in a row (RFC 1952, section 2.2). Some servers send a few; a
# body of a million empty members would only burn CPU time.
MAX_MEMBERS: Final = 1000

# The `wbits` by which zlib knows the three formats.
GZIP: Final = 16 + zlib.MAX_WBITS
ZLIB: Final = zlib.MAX_WBITS
RAW_DEFLATE: Final = -zlib.MAX_WBITS

# bytes. DEFLATE expands one byte to at most 1,032 (zlib, "Maximum Compression Factor"), so that a
# chunk of the outer body becomes at most MAX_INTERMEDIATE bytes of the inner body.
CHUNK: Final = 1024
MAX_INTERMEDIATE: Final = 2 * 1024 * 1024


def decompressor_for(headers: Mapping[str, str]) -> "Decompressor | None":
    """Return the decompressor for a body with these headers; None if it is not compressed.

    None as well for a coding that is unknown: the reader of the response refuses that.
    """
    compressions = compressions_of(headers)
    return Decompressor(*compressions) if compressions else None


class Decompressor:
    """Decompress a body chunk by chunk. `encodings` are gzip or deflate, in the order applied.

    `feed` raises zlib.error for damaged data, and for data that continue after their end.
    """

    def __init__(self, *encodings: str) -> None:
        *inner, outer = encodings
        self._inner = Decompressor(*inner) if inner else None
        self._gzip = outer == "gzip"
        self._members_left = MAX_MEMBERS if self._gzip else 1
        self._member: zlib._Decompress | None = None

    @property
    def complete(self) -> bool:
        """Return whether a body may end after the data so far. An empty body may."""
        ended = self._member is None or self._member.eof
        return ended and (self._inner is None or self._inner.complete)

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        """Return the decompressed data, cut at `max_bytes`; the rest is then lost."""
        if self._inner is None:
            return self._undo(data, max_bytes)
        out = b""
        for start in range(0, len(data), CHUNK):
            intermediate = self._undo(data[start : start + CHUNK], MAX_INTERMEDIATE)
            out += self._inner.feed(intermediate, max_bytes - len(out))
            if len(out) >= max_bytes:
                break
        return out

    def _undo(self, data: bytes, max_bytes: int) -> bytes:
        out = b""
        while data and len(out) < max_bytes:
            if self._member is None or self._member.eof:
                self._member = self._next_member(data[0])
            out += self._member.decompress(data, max_bytes - len(out))
            data = self._member.unused_data
        return out

    def _next_member(self, first: int) -> "zlib._Decompress":
        if not self._members_left:
            raise zlib.error("the data continue after their end")
        self._members_left -= 1
        if self._gzip:
            return zlib.decompressobj(GZIP)
        # Servers disagree on whether "deflate" has the header of zlib (RFC 9110, section 8.4.1.2).
        # Where it has, the low four bits of the first byte name the method, which is 8.
        return zlib.decompressobj(ZLIB if first & 0x0F == 8 else RAW_DEFLATE)
