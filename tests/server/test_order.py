"""Claims about the parts of the server: which may import which."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import aiomessages.server

FOLDER = Path(aiomessages.server.__file__).parent
MODULES = sorted(set(FOLDER.rglob("*.py")) - {FOLDER / "__init__.py"})
ORDER = re.findall(r"\w+", (aiomessages.server.__doc__ or "").strip().splitlines()[-1])


def part_of(module: Path) -> str:
    """Return the module or folder directly below `server` that holds a module."""
    return module.relative_to(FOLDER).with_suffix("").parts[0]


def imported_parts(module: Path) -> set[str]:
    """Return the parts of the server that a module imports, for type checking included."""
    folder = ("aiomessages", "server", *module.relative_to(FOLDER).parts[:-1])
    names = []
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else ()
            source = [*base, *(node.module or "").split(".")]
            names += [".".join([*filter(None, source), alias.name]) for alias in node.names]
    found = {name.split(".")[2] for name in names if name.startswith("aiomessages.server.")}
    return found - {part_of(module)}


def test_the_docstring_names_every_part() -> None:
    """A new module or folder has its place in the order."""
    assert sorted(ORDER) == sorted({part_of(module) for module in MODULES})


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_imports_follow_the_order(module: Path) -> None:
    """A part imports only parts before it, so that no two import each other."""
    assert imported_parts(module) <= set(ORDER[: ORDER.index(part_of(module))])
