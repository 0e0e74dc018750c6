"""Decompression: whole bodies come out, and what is not one is an error."""

import gzip
import zlib

import pytest

from aiomessages.compression import MAX_MEMBERS, Decompressor

TEXT = b"What is said here, is said more than once. " * 100


def undone(encoding: str, data: bytes, *, step: int = 7) -> tuple[bytes, bool]:
    """Feed data piece by piece; return what came out, and whether it was whole."""
    undo = Decompressor(encoding)
    out = b"".join(undo.feed(data[n : n + step], 10**6) for n in range(0, len(data), step))
    return out, undo.whole


def bare_deflate(data: bytes) -> bytes:
    """Compress without zlib's header, as some servers do."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        ("gzip", gzip.compress(TEXT), TEXT),
        ("gzip", gzip.compress(TEXT) + gzip.compress(b"more"), TEXT + b"more"),
        ("deflate", zlib.compress(TEXT), TEXT),
        ("deflate", bare_deflate(TEXT), TEXT),
    ],
    ids=["gzip", "two members", "zlib", "bare"],
)
def test_whole_bodies(encoding: str, data: bytes, expected: bytes) -> None:
    """A whole body comes out as it was, in whatever pieces it came."""
    assert undone(encoding, data) == (expected, True)
    assert undone(encoding, data[:-1])[1] is False


def test_no_more_than_was_asked_for() -> None:
    """A bomb gives no more than fits."""
    assert len(Decompressor("gzip").feed(gzip.compress(bytes(10**7)), 1000)) == 1000


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("deflate", zlib.compress(TEXT) + b"more"),
        ("gzip", gzip.compress(b"") * (MAX_MEMBERS + 1)),
        ("gzip", gzip.compress(TEXT) + b"garbage"),
        ("gzip", b"no gzip"),
    ],
    ids=["goes on", "too many members", "garbage behind", "none at all"],
)
def test_what_is_no_body(encoding: str, data: bytes) -> None:
    """What goes on behind its end, or was never compressed, is an error."""
    with pytest.raises(zlib.error):
        undone(encoding, data, step=len(data))
