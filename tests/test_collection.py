"""The tests as pytest collects them: any folders together, from any directory."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).resolve().parent
IMPORTS_A_CONFTEST = re.compile(r"^\s*(?:from|import)\s+conftest\b", re.MULTILINE)


def files() -> Iterator[Path]:
    """Yield each Python file of the tests."""
    return TESTS.rglob("*.py")


def test_no_two_files_have_one_name() -> None:
    """Pytest imports a test file by its bare name, so a second one of that name would hide."""
    counted = Counter(path.name for path in files() if path.name != "conftest.py")
    assert [name for name, times in counted.items() if times > 1] == []


def test_no_test_imports_a_conftest() -> None:
    """No test imports a conftest, since each folder has a module of that name."""
    culprits = [path.name for path in files() if IMPORTS_A_CONFTEST.search(path.read_text("utf-8"))]
    assert culprits == []


def test_folders_are_collected_together_from_anywhere(tmp_path: Path) -> None:
    """One call takes several folders and single files, in any order and from any directory."""
    words = ["server", "cli/test_list.py", "export/test_names.py", "cli", "testing"]
    paths = [str(TESTS / word) for word in words]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, *paths], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    collected = set(re.findall(r"(\w+)/test_\w+\.py", ran.stdout))
    assert collected == {"server", "cli", "export", "testing"}
