"""Decompression: complete bodies are returned, and anything else is an error."""

import gzip
import zlib

import pytest
from multidict import CIMultiDict

from aiomessages.http.compression import (
    CHUNK,
    MAX_INTERMEDIATE,
    MAX_MEMBERS,
    Decompressor,
    decompressor_for,
)
from aiomessages.values.headers import compressions_of

TEXT = b"What is said here, is said more than once. " * 100


def undone(encoding: str, data: bytes, *, step: int = 7) -> tuple[bytes, bool]:
    """Feed data piece by piece; return the output, and whether it was complete."""
    undo = Decompressor(encoding)
    out = b"".join(undo.feed(data[n : n + step], 10**6) for n in range(0, len(data), step))
    return out, undo.complete


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
    """A complete body is returned unchanged, in whatever pieces it arrived."""
    assert undone(encoding, data) == (expected, True)
    assert undone(encoding, data[:-1])[1] is False


def test_no_more_than_was_asked_for() -> None:
    """A bomb produces no more than the limit."""
    assert len(Decompressor("gzip").feed(gzip.compress(bytes(10**7)), 1000)) == 1000


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("limit", [0, 1, 99, 100, 101, 150, 199, 200, 201])
@pytest.mark.parametrize("step", [1, 40, 10**6])
def test_a_limit_across_members(limit: int, step: int, *, twice: bool) -> None:
    """No gzip member exceeds the limit, even if the one before fills it exactly."""
    data = gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:200]) + gzip.compress(b"")
    data = gzip.compress(data) if twice else data
    undo = decompressor_for({"content-encoding": "gzip, gzip" if twice else "gzip"})
    assert undo is not None
    out = b""
    for start in range(0, len(data), step):
        out += undo.feed(data[start : start + step], limit - len(out))
    assert out == TEXT[: min(limit, 200)]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("deflate", zlib.compress(TEXT) + b"more"),
        ("gzip", gzip.compress(b"") * (MAX_MEMBERS + 1)),
        ("gzip", gzip.compress(TEXT) + b"garbage"),
        ("gzip", b"no gzip"),
        ("gzip", zlib.compress(TEXT)),
    ],
    ids=["goes on", "too many members", "garbage behind", "none at all", "zlib as gzip"],
)
def test_invalid_data(encoding: str, data: bytes) -> None:
    """Data after the end, or data that were never compressed, are an error."""
    with pytest.raises(zlib.error):
        undone(encoding, data, step=len(data))


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("", ()),
        ("identity", ()),
        ("utf-8", ()),
        ("None", ()),
        ("gzip", ("gzip",)),
        (" GZip ", ("gzip",)),
        ("x-gzip", ("gzip",)),
        ("X-Deflate", ("deflate",)),
        ("identity, gzip", ("gzip",)),
        ("gzip,identity", ("gzip",)),
        ("gzip, utf-8,", ("gzip",)),
        ("gzip, deflate", ("gzip", "deflate")),
        ("gzip, gzip, gzip", None),
        ("br", None),
        ("gzip, br", None),
        ("gzip;q=1", None),
        ("aws-chunked", None),
    ],
)
def test_names_of_codings(value: str, known: tuple[str, ...] | None) -> None:
    """Old names, other cases and the identity coding are understood; unknown codings are not."""
    assert compressions_of({"content-encoding": value}) == known
    assert compressions_of(CIMultiDict({"Content-Encoding": value})) == known


def test_a_coding_in_two_fields() -> None:
    """A header that comes twice is one list."""
    twice = CIMultiDict([("Content-Encoding", "identity"), ("content-encoding", "gzip")])
    assert compressions_of(twice) == ("gzip",)
    assert compressions_of(CIMultiDict({"x": "y"})) == ()


PACK = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("inner", PACK)
@pytest.mark.parametrize("outer", PACK)
@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_a_body_that_was_compressed_twice(inner: str, outer: str, step: int) -> None:
    """A body that was compressed twice is decompressed twice, the last coding first."""
    text = TEXT * 1000
    data = PACK[outer](PACK[inner](text))
    undo = decompressor_for({"content-encoding": f"{inner}, {outer}"})
    assert undo is not None
    out = b"".join(undo.feed(data[n : n + step], 10**8) for n in range(0, len(data), step))
    assert (out == text, undo.complete) == (True, True)


@pytest.mark.parametrize("cut", [1, 9])
def test_a_body_compressed_twice_that_is_cut_short(cut: int) -> None:
    """A body that was compressed twice is complete only if both bodies are."""
    for data in (
        gzip.compress(gzip.compress(TEXT))[:-cut],
        gzip.compress(gzip.compress(TEXT)[:-cut]),
    ):
        undo = decompressor_for({"content-encoding": "gzip, gzip"})
        assert undo is not None
        undo.feed(data, 10**6)
        assert not undo.complete


def test_a_bomb_in_a_bomb() -> None:
    """A bomb in a bomb gives no more than the limit; the intermediate data are bounded as well."""
    bomb = gzip.compress(gzip.compress(bytes(10**8)))
    undo = decompressor_for({"content-encoding": "gzip, gzip"})
    assert undo is not None
    assert len(undo.feed(bomb, 1000)) == 1000
    assert CHUNK * 1032 < MAX_INTERMEDIATE
    packed = gzip.compress(bytes(10**7))
    between = Decompressor("gzip")
    assert max(len(between.feed(packed[n : n + CHUNK], 10**8)) for n in range(0, 9000, CHUNK)) < (
        MAX_INTERMEDIATE
    )
