"""The shape of the package: its folders are layers, and imports point down."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PACKAGE = Path(__file__).resolve().parent.parent / "aiomessages"

# The folders and files of the package, from the bottom up: each may import those before it.
VALUES = (
    "_lazy",
    "_version",
    "values",
    "errors",
    "models",
    "pages",
    "settings",
    "network",
    "observe",
)
CORE = (*VALUES, "wire", "http", "calls", "paging", "conversations", "client")
USES = (
    *(
        "keys",
        "export",
        "archive",
        "ray",
        "blocking",
        "otel",
        "server",
        "testing",
        "pytest_plugin",
        "fastapi",
    ),
    *("view", "cli", "__main__"),
)
ORDER = ("__init__", *CORE, *USES)  # `__init__` loads each name when it is used

# Modules with values or decisions. They do no I/O, and read no clock.
PURE = (
    *("errors.py", "models", "pages.py", "values", "wire"),
    *("calls/rate_limit.py", "calls/refusals.py", "calls/retry.py"),
    *("paging/lookahead.py", "paging/page_size.py"),
)
IMPURE_MODULES = {
    *("aiohttp", "anyio", "asyncio", "concurrent", "http", "io", "os", "pathlib", "random"),
    *("secrets", "select", "shutil", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile"),
    *("threading", "time", "uuid"),
}
IMPURE_CALLS = {"__import__", "input", "now", "open", "print", "today", "urlopen", "utcnow"}

# Modules that import by a name that is computed, which the other tests cannot follow: the package's
# own lazy names, the extras that a command needs, the module of zstd, which differs by version, and
# a key that is named by its import path.
DYNAMIC = {"_lazy.py", "__main__.py", "export/formats.py", "ray/keys.py"}
FOREIGN_NAMES = {"_middlewares"}  # of aiohttp's session

MAX_LINES = 300
REASON = "Longer than 300 lines"  # the beginning of the reason in a longer module's docstring

# Prints what the import itself loads; a coverage run has modules of its own loaded before.
NEWLY_LOADED = """
import json, sys
before = set(sys.modules)
import aiomessages
from aiomessages import AsyncMessagesClient, MessageStream, RetryDetails
print(json.dumps(sorted(set(sys.modules) - before)))
"""
HEAVY = {
    *("aiohttp", "azure", "cyclopts", "duckdb", "fastapi", "jinja2", "markdown_it", "openai"),
    *("opentelemetry", "pygments", "ray", "rich", "sqlite3", "uvloop"),
}

pytestmark = pytest.mark.unmeasured

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def culprits(fault: Callable[[Path], object]) -> dict[str, object]:
    """Return what a function finds wrong, for each module in which it finds something."""
    found = {name_in_package(module): fault(module) for module in MODULES}
    return {name: fault for name, fault in found.items() if fault}


def name_in_package(module: Path) -> str:
    """Return the path of a module within the package."""
    return module.relative_to(PACKAGE).as_posix()


@cache
def tree_of(module: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(module.read_text("utf-8"))


@cache
def nodes_of(module: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a module's syntax tree."""
    return tuple(ast.walk(tree_of(module)))


def layer_of(module: Path) -> str:
    """Return the folder or file of the package that a module belongs to."""
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_names(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    """Return the absolute dotted names that an import statement in this package imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = package[: len(package) - node.level + 1] if node.level else ()
    source = ".".join([*base, *filter(None, [node.module])])
    return [f"{source}.{alias.name}" for alias in node.names]


def imports_of(nodes: Iterable[ast.AST], module: Path) -> Iterator[str]:
    """Yield each dotted name that these nodes of a module import."""
    folder = module.relative_to(PACKAGE.parent).parts[:-1]
    for node in nodes:
        yield from imported_names(node, folder)


def nodes_at_run_time(module: Path) -> Iterator[ast.AST]:
    """Yield all nodes but those for type checkers."""

    class Cut(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            if ast.unparse(node.test) == "TYPE_CHECKING":
                return node.orelse
            return self.generic_visit(node)

    return ast.walk(Cut().visit(ast.parse(module.read_text("utf-8"))))


@cache
def module_of(name: str) -> Path | None:
    """Return the file of a dotted name of the package, or the file that defines the name."""
    parts = name.split(".")
    for length in (len(parts), len(parts) - 1):
        path = PACKAGE.parent.joinpath(*parts[:length])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if length and file.is_file():
                return file
    return None


def test_imports_point_down() -> None:
    """A module imports its own layer and those below; the server imports few of them."""
    assert culprits(layers_that_it_must_not_import) == {}


def layers_that_it_must_not_import(module: Path) -> set[str]:
    """Return the layers that a module imports and must not."""
    ours = [name for name in imports_of(nodes_of(module), module) if name.startswith("aiomessages")]
    imported = {layer_of(file) for name in ours if (file := module_of(name)) is not None}
    layer = layer_of(module)
    # If server and client shared code, one mistake could be made on both sides and pass.
    of_server = {"server", "models", "archive"}
    allowed = of_server if layer == "server" else set(ORDER[: ORDER.index(layer) + 1])
    # A name of `aiomessages` itself may be of any layer of the core, so only its uses ask for one.
    return imported - (allowed if layer in USES else allowed - {"__init__"})


def test_imports_can_be_followed() -> None:
    """A module imports by statements, or other packages by their constant name."""
    assert culprits(computed_imports).keys() <= DYNAMIC


def computed_imports(module: Path) -> list[str]:
    """Return the names that a module imports by a call, unless they are constant names of HEAVY."""
    called = [
        node
        for node in nodes_of(module)
        if isinstance(node, ast.Call) and name_of(node.func) in ("import_module", "__import__")
    ]
    names = [ast.unparse(node.args[0]).strip("'") for node in called]
    return [name for name in names if not (name.isidentifier() and name in HEAVY)]


def test_the_server_shares_no_reading_with_the_client() -> None:
    """What it uses of the archive shares with a client which listed messages are replies alone."""
    used, found = [PACKAGE / "server" / "local.py", PACKAGE / "server" / "app.py"], set()
    while used:
        for name in imports_of(nodes_at_run_time(used.pop()), PACKAGE / "archive" / "x.py"):
            file = module_of(name) if name.startswith("aiomessages.archive.") else None
            if file is not None and file not in found:
                found.add(file)
                used.append(file)
    assert PACKAGE / "archive" / "store.py" in found
    names = {name for module in found for name in imports_of(nodes_of(module), module)}
    shared = {file for name in names if (file := module_of(name)) and layer_of(file) != "archive"}
    assert {*map(layer_of, shared)} <= {"wire", "errors", "_lazy"}
    assert [file.name for file in shared if layer_of(file) == "wire"] == ["replies.py"]


def test_no_imports_in_a_circle() -> None:
    """No two modules import each other, directly or indirectly."""
    graph = {}
    for module in MODULES:
        names = imports_of(nodes_at_run_time(module), module)
        graph[module] = {module_of(name) for name in names if name.startswith("aiomessages.")}
        graph[module] -= {None, module, PACKAGE / "__init__.py"}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_pure_modules_do_no_io() -> None:
    """The grammar of the API, the values and the decisions import no module that does I/O."""
    assert culprits(io_of) == {}


def io_of(module: Path) -> set[str]:
    """Return the modules for I/O that a pure module imports, and the functions that it calls."""
    if not name_in_package(module).startswith(PURE):
        return set()
    imported = {name.split(".")[0] for name in imports_of(nodes_of(module), module)}
    called = {name_of(node.func) for node in nodes_of(module) if isinstance(node, ast.Call)}
    return imported & IMPURE_MODULES | called & IMPURE_CALLS


def name_of(function: ast.expr) -> str:
    """Return the last part of the name of what is called."""
    return ast.unparse(function).rpartition(".")[2]


def test_no_private_names_of_other_modules() -> None:
    """A module uses no underscore name that another module of the package defines."""
    assert culprits(private_names_of_others) == {}


def private_names_of_others(module: Path) -> set[str]:
    """Return the underscore names of other modules that a module uses or imports."""
    elsewhere = private_names_elsewhere(module)
    used = {
        node.attr
        for node in nodes_of(module)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }
    # The argument of getattr, setattr, attrgetter, methodcaller; a key of vars().
    used |= {
        node.value
        for node in nodes_of(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 1
    } & elsewhere - FOREIGN_NAMES - set(sys.stdlib_module_names)
    imported = {name.rpartition(".")[2] for name in imports_of(nodes_of(module), module)}
    private = {name for name in imported if name.startswith("_")} - {"__version__", "_lazy"}
    return (used - private_members(module)) & elsewhere | private


@cache
def private_names(module: Path) -> set[str]:
    """Return the underscore names that a module defines or sets on its own objects."""
    names: set[str] = set()
    for node in nodes_of(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return {name for name in names if is_private(name)}


def private_names_elsewhere(module: Path) -> set[str]:
    """Return the underscore names that the other modules define."""
    times = modules_with_private_name()
    return {name for name in times if times[name] > (name in private_names(module))}


@cache
def modules_with_private_name() -> Counter[str]:
    """Count the modules that define each underscore name."""
    return Counter(name for module in MODULES for name in private_names(module))


@cache
def private_members(module: Path) -> set[str]:
    """Return the underscore names that a module's classes define, or that it sets on an object."""
    names: set[str] = set()
    for node in nodes_of(module):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        for member in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(member.name)
            elif isinstance(member, ast.Assign | ast.AnnAssign):
                names |= {name.id for name in ast.walk(member) if isinstance(name, ast.Name)}
    return {name for name in names if is_private(name)}


def is_private(name: str) -> bool:
    """Return whether a name begins with an underscore and is not one of Python's own."""
    return name.startswith("_") and not name.endswith("__")


def test_modules_are_short() -> None:
    """A module of more than 300 lines gives the reason at its top."""
    assert culprits(length_without_reason) == {}


def length_without_reason(module: Path) -> int:
    """Return the number of lines of a module that is long and does not say why, else 0."""
    lines = len(module.read_text("utf-8").splitlines())
    reason = REASON in (ast.get_docstring(tree_of(module)) or "")
    return 0 if lines <= MAX_LINES or reason else lines


def test_importing_the_package_loads_no_use_of_it() -> None:
    """`import aiomessages` loads neither aiohttp nor any framework nor the uses layer."""
    run = subprocess.run([sys.executable, "-c", NEWLY_LOADED], capture_output=True, check=True)
    forbidden = HEAVY | {f"aiomessages.{part}" for part in USES}
    assert set(json.loads(run.stdout)) & forbidden == set()
