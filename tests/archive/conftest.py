"""Fixtures: a played server, and a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest_played import PlayedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def server() -> AsyncIterator[PlayedServer]:
    """A server of stored completions on a virtual clock."""
    async with PlayedServer().running() as running:
        yield running


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The path of an archive."""
    return tmp_path / "archive.db"
