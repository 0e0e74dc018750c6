"""Undo the compression of a body, never making more of it than was asked for.

Nothing here performs I/O. aiohttp can decompress by itself, and then reports a gzip stream that was
cut short as a success; here a body is whole, or it is an error.
"""

import zlib
from collections.abc import Mapping
from typing import Final

from aiomessages.values.headers import compressions_of

# A body may be several gzip members, one behind the other (RFC 1952, section 2.2). Some servers
# send a few; a body of a million empty ones would only burn time.
MAX_MEMBERS: Final = 1000

GZIP: Final = 16 + zlib.MAX_WBITS
ZLIB: Final = zlib.MAX_WBITS
BARE_DEFLATE: Final = -zlib.MAX_WBITS


# bytes. DEFLATE makes at most 1,032 bytes of one (zlib, "Maximum Compression Factor"), so that a
# piece of the outer body becomes no more than BETWEEN of the inner one.
PIECE: Final = 1024
BETWEEN: Final = 2 * 1024 * 1024


def decompressor_for(headers: Mapping[str, str]) -> "Decompressor | TwiceDecompressor | None":
    """Return what undoes the compression of a body; None for one that stays as it came."""
    match compressions_of(headers):
        case (only,):
            return Decompressor(only)
        case (inner, outer):
            return TwiceDecompressor(Decompressor(outer), Decompressor(inner))
    return None


class Decompressor:
    """Decompress a body piece by piece. `encoding` is gzip or deflate.

    `feed` raises zlib.error for data that are damaged, or that go on behind their end.
    """

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding == "gzip"
        self._left = MAX_MEMBERS if self._gzip else 1
        self._member: zlib._Decompress | None = None

    @property
    def whole(self) -> bool:
        """Tell whether what was fed ends where a body may end. One without a byte does."""
        return self._member is None or self._member.eof

    def feed(self, data: bytes, most: int) -> bytes:
        """Return what the data decompress to, at most `most` bytes of it; the rest is lost then."""
        out = b""
        while data and len(out) < most:
            if self._member is None or self._member.eof:
                self._member = self._next_member(data[0])
            out += self._member.decompress(data, most - len(out))
            data = self._member.unused_data
        return out

    def _next_member(self, first: int) -> "zlib._Decompress":
        if not self._left:
            raise zlib.error("the data go on behind their end")
        self._left -= 1
        if self._gzip:
            return zlib.decompressobj(GZIP)
        # Servers disagree on whether "deflate" has the header of zlib (RFC 9110, section 8.4.1.2);
        # where it does, the first byte names the method, 8.
        return zlib.decompressobj(ZLIB if first & 0x0F == 8 else BARE_DEFLATE)


class TwiceDecompressor:
    """Decompress a body that was compressed twice, in the manner of a Decompressor."""

    def __init__(self, outer: Decompressor, inner: Decompressor) -> None:
        self._outer = outer
        self._inner = inner

    @property
    def whole(self) -> bool:
        """Tell whether both bodies end where they may end."""
        return self._outer.whole and self._inner.whole

    def feed(self, data: bytes, most: int) -> bytes:
        """Return what the data decompress to, at most `most` bytes of it; the rest is lost then."""
        out = b""
        for start in range(0, len(data), PIECE):
            between = self._outer.feed(data[start : start + PIECE], BETWEEN)
            out += self._inner.feed(between, most - len(out))
            if len(out) >= most:
                break
        return out
