"""Files beside the checkout: recorded data and the description, which are not part of it."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest


@cache
def shared() -> Path:
    """Return ../shared beside the checkout, or beside the one that this is a worktree of."""
    here = Path(__file__).resolve()
    asked = subprocess.run(
        ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"],
        cwd=here.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    checkouts = [here.parents[1], Path(asked.stdout.strip() or here).parent]
    found = [checkout.parent / "shared" for checkout in checkouts]
    return next((path for path in found if path.is_dir()), found[0])


def needed(name: str) -> Path:
    """Return a file of ../shared, or skip the test where it is missing."""
    path = shared() / name
    if not path.exists():
        pytest.skip(f"{name} is not beside this checkout")
    return path
