"""The project's own claims: its dependencies, its Pythons and its sessions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
NOXFILE = (ROOT / "noxfile.py").read_text("utf-8")
INSTALLED_FOR_TESTS = [
    *PROJECT["dependencies"],
    *(wanted for extra in PROJECT["optional-dependencies"].values() for wanted in extra),
    *(wanted for wanted in PYPROJECT["dependency-groups"]["tests"] if isinstance(wanted, str)),
]


def requirements() -> dict[str, set[str]]:
    """Return each requirement of an install for the tests, with its lowest versions."""
    floors: dict[str, set[str]] = {}
    for wanted in INSTALLED_FOR_TESTS:
        name, floor = re.fullmatch(r"([\w.-]+)[^>]*(?:>=([\w.]+))?.*", wanted, re.DOTALL).groups()  # type: ignore[union-attr]
        floors.setdefault(name, set()).add(floor)
    return floors


def test_every_dependency_has_one_floor() -> None:
    """`nox -s lowest` installs the lowest versions, so each requirement has exactly one."""
    either = {"pytest"}  # the suite asks for a newer one than the plugin does
    disputed = {
        name: floors
        for name, floors in requirements().items()
        if None in floors or (len(floors) > 1 and name not in either)
    }
    assert disputed == {}


def test_the_classifiers_name_the_pythons_that_are_run() -> None:
    """Each claimed Python is one of `nox -s matrix`, from the lowest allowed one on."""
    run = re.findall(r'"(3\.\d+)"', re.search(r"SUPPORTED = (.*)", NOXFILE)[1])  # type: ignore[index]
    claimed = [
        kind.rpartition(" ")[2]
        for kind in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", kind)
    ]
    assert claimed == run
    assert PROJECT["requires-python"] == f">={run[0]}"


def test_the_table_of_sessions_is_whole() -> None:
    """Each session of noxfile.py has its row in the documentation, and each row its session."""
    sessions = re.findall(r"^@nox\.session.*\ndef (\w+)", NOXFILE, re.MULTILINE)
    table = (ROOT / "docs" / "contributing.md").read_text("utf-8").partition("## Where things")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(sessions)


@pytest.mark.parametrize("name", ["Documentation", "Changelog", "Source"])
def test_the_urls_are_filled(name: str) -> None:
    """Each URL of the project is set."""
    assert PROJECT["urls"][name].startswith("https://")
