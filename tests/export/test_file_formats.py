"""Formats: the module that compresses zstd frames."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

import pytest
from backports import zstd

from aiomessages.export.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable


def pretended(compress: Callable[[bytes], bytes]) -> types.ModuleType:
    """Return a module with a function that compresses."""
    module = types.ModuleType("zstd")
    vars(module)["compress"] = compress
    return module


@pytest.mark.parametrize("version", [(3, 11, 9), (3, 13, 0), (3, 14, 0)])
def test_zstd_is_part_of_python_from_3_14_on(
    version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.14 has `compression.zstd`; earlier ones need `backports.zstd`."""
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setitem(sys.modules, "compression", types.ModuleType("compression"))
    monkeypatch.setitem(sys.modules, "compression.zstd", pretended(lambda _: b"standard"))
    monkeypatch.setitem(sys.modules, "backports.zstd", pretended(lambda _: b"backport"))
    expected = b"standard" if version >= (3, 14) else b"backport"
    assert FORMATS[".jsonl.zst"].encode(b"x") == expected


def test_a_frame_is_read_back() -> None:
    """The frame that is written holds the lines."""
    assert zstd.decompress(bytes(FORMATS[".jsonl.zst"].encode(b"lines\n"))) == b"lines\n"
