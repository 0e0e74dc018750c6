"""The extra: without it, the names that need Ray say what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

import aiomessages.ray

SAY = """
import sys
sys.modules[{missing!r}] = None
import aiomessages.ray
try:
    aiomessages.ray.{name}
except ImportError as error:
    print(error)
"""


@pytest.mark.measured_programs
@pytest.mark.parametrize(
    ("missing", "name", "said"),
    [
        ("ray", "export", "aiomessages.ray needs an extra: pip install 'aiomessages[ray]'"),
        ("pyarrow", "read_conversations", "aiomessages.ray needs an extra"),
        ("msgspec", "Project", "import of msgspec halted"),
        ("ray", "Project", ""),
    ],
)
def test_a_missing_package(missing: str, name: str, said: str) -> None:
    """The error names the extra, unless something else is missing."""
    run = [sys.executable, "-c", SAY.format(missing=missing, name=name)]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(said)
    assert bool(printed) == bool(said)


def test_the_names() -> None:
    """A prompt offers the public names alone."""
    assert dir(aiomessages.ray) == sorted(aiomessages.ray.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aiomessages.ray.nothing  # type: ignore[attr-defined]
