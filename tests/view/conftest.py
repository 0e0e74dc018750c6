"""Fixtures: the sample in an archive, and its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest_view import Opened, opened

from aiomessages.archive.store import import_records
from aiomessages.server.sample import sample_records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample in an archive. No test changes it."""
    path = tmp_path_factory.mktemp("sample") / "sample.db"
    import_records(str(path), sample_records())
    return path


@pytest.fixture
async def room(sample: Path) -> AsyncIterator[Opened]:
    """The pages of the sample, with days in UTC."""
    async with opened(sample) as found:
        yield found
