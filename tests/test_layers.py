"""The shape of the package: imports point down, and `import aiomessages` stays light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parent.parent / "aiomessages"

# From the bottom up; within a row of the core as well, a file imports only what stands before it.
LAYERS = {
    "values": (
        "loading",
        "compression",
        "redaction",
        "errors",
        "logs",
        "kept",
        "parts",
        "models",
        "pages",
        "settings",
        "telemetry",
    ),
    "decisions": (
        "lenient",
        "decoding",
        "retry",
        "dialects",
        "wire_errors",
        "refusals",
        "buckets",
        "pace",
        "protocol",
        "page_size",
        "trail",
        "stream",
        "lookahead",
        "speculation",
    ),
    "I/O": (
        "failures",
        "body",
        "arrivals",
        "pool",
        "plain_answer",
        "alarm",
        "line",
        "self_check",
        "fast_path",
        "transport",
        "turns",
        "attempts",
        "listing",
        "crew",
        "workers",
        "conversations",
        "client",
    ),
    "uses": (
        "otel",
        "blocking",
        "export",
        "server",
        "testing",
        "pytest_plugin",
        "fastapi",
        "ray",
        "cli",
        "__main__",
    ),
}
USES = set(LAYERS["uses"])
CORE = [part for layer, parts in LAYERS.items() if layer != "uses" for part in parts]
FACADE = "__init__"  # names everything and loads it lazily; what it loads has its own test

# Prints what the import itself loads; a coverage run has modules of its own loaded before.
NEWLY_LOADED = """
import json, sys
before = set(sys.modules)
import aiomessages
from aiomessages import AsyncMessagesClient, MessageStream, RetryDetails
print(json.dumps(sorted(set(sys.modules) - before)))
"""
HEAVY = {
    *("aiohttp", "cyclopts", "duckdb", "fastapi", "openai", "opentelemetry", "ray", "rich"),
    *("sqlite3", "uvloop"),
}


def may_import(part: str) -> set[str]:
    """Return the parts of the package that this one may import."""
    if part == "server":  # code shared with the client would let one mistake be made twice and pass
        return {"server", "models"}
    return {*CORE, *USES, FACADE} if part in USES else set(CORE[: CORE.index(part)])


def imported_parts(module: Path) -> Iterator[str]:
    """Yield each part of the package that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        for name in imported_names(node, module.relative_to(PACKAGE.parent).parts[:-1]):
            root, _, rest = name.partition(".")
            if root == PACKAGE.name and rest != "__version__":
                yield rest.split(".")[0] if rest.split(".")[0] in {*CORE, *USES} else FACADE


def imported_names(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    """Return the absolute dotted names that an import statement in this package asks for."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = package[: len(package) - node.level + 1] if node.level else ()
    source = ".".join([*base, *filter(None, [node.module])])
    return [f"{source}.{alias.name}" for alias in node.names]


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(module: Path) -> None:
    """A module imports only what stands below it, and the server models at most."""
    part = module.relative_to(PACKAGE).with_suffix("").parts[0]
    assert set(imported_parts(module)) <= may_import(part)


def test_importing_the_package_loads_no_use_of_it() -> None:
    """`import aiomessages` loads neither aiohttp nor any framework nor the uses layer."""
    run = subprocess.run([sys.executable, "-c", NEWLY_LOADED], capture_output=True, check=True)
    forbidden = HEAVY | {f"aiomessages.{part}" for part in USES}
    assert set(json.loads(run.stdout)) & forbidden == set()
