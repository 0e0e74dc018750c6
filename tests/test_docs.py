"""The documentation runs: each python and sh block of the Markdown pages.

A comment in front of a block, `<!-- not run: the reason -->`, exempts it.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from aiomessages.testing import MessagesServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

# Another name of a language that runs ("bash", "py", none) would escape the tests below.
LANGUAGES = {"python", "sh", "dockerfile", "javascript", "json", "jsonl", "text", "toml", "yaml"}
# The directives to the site's generator.
DIRECTIVES = {"{eval-rst}", "{include} ../CHANGELOG.md", "{toctree}"}

BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>.*)\n(?P<code>(?s:.*?))^```$",
    re.MULTILINE,
)


# Pages that need a package which is too large for every session; `ray` of the noxfile runs them.
NEEDS = {"docs/ray.md": "ray"}

# A block that begins like this is a file, which later blocks can import; pytest runs its tests.
FILE = re.compile(r"# (?P<name>\w+\.py)\n")


class Block(NamedTuple):
    """A fenced block of a page, and its place."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None

    def commands(self) -> list[str]:
        """Return what a person types: the lines, with their continuations."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [line for line in lines if line and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks, in order."""
    text, name = page.read_text("utf-8"), str(page.relative_to(ROOT))
    return [
        Block(name, 1 + text.count("\n", 0, m.start("code")), m["language"], m["code"], m["reason"])
        for m in BLOCK.finditer(text)
    ]


BLOCKS = [block for page in FILES for block in blocks(page)]
# A block of several pages runs once: each page starts in an empty folder.
FIRST_SHOWN = {
    command: f"{block.page}:{block.line}: {command}"
    for block in reversed(BLOCKS)
    if block.language == "sh" and not block.reason
    for command in block.commands()
}
COMMANDS = [pytest.param(command, id=where) for command, where in sorted(FIRST_SHOWN.items())]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Point the environment at the sample server, and home and working folder at an empty one.

    The server runs in a thread, so that a block is free to start an event loop of its own.
    """
    with MessagesServer(sample=True) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)  # a block can import the file of another one
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


def save(block: Block) -> Path | None:
    """Write a block that is a file into the working folder, and return where."""
    if (named := FILE.match(block.code)) is None:
        return None
    file = Path(named["name"])
    file.write_text(block.code, "utf-8")
    return file


def run_tests(files: list[Path]) -> None:
    """Run the test files of a page as a reader does, with stricter warnings."""
    command = [sys.executable, "-m", "pytest", "-W", "error"]
    scope = ["-o", "asyncio_default_fixture_loop_scope=function"]  # else pytest-asyncio warns
    without = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]  # which take their time
    subprocess.run([*command, *scope, *without, *files], check=True)


def run_python(block: Block, namespace: dict[str, Any], runner: asyncio.Runner) -> None:
    """Execute a block, awaiting it where it awaits at its top level."""
    padded = "\n" * (block.line - 1) + block.code  # so that a traceback names the page's line
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    result = eval(compile(padded, block.page, "exec", flags=flags), namespace)  # noqa: S307 - ours
    if inspect.iscoroutine(result):
        runner.run(result)


@pytest.mark.usefixtures("environment")
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.data")  # it uses its own old names
@pytest.mark.parametrize("page", FILES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page: Path) -> None:
    """A page's python blocks run in order, each going on from the names of the last."""
    if package := NEEDS.get(str(page.relative_to(ROOT))):
        pytest.importorskip(package, reason=f"{package} is not installed")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    files = []
    with asyncio.Runner() as runner:
        for block in blocks(page):
            if block.language == "python" and not block.reason:
                if file := save(block):
                    files.append(file)
                else:
                    run_python(block, namespace, runner)
    if tests := [file for file in files if file.name.startswith("test_")]:
        run_tests(tests)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str) -> None:
    """Each command that a page shows works."""
    check = next((check for start, check in CHECKS.items() if command.startswith(start)), None)
    assert check is not None, f"nothing here knows how to check {command!r}"
    check(command)


def run_cli(command: str) -> None:
    """Run one of this package's command lines in a shell, and require success."""
    here = str(Path(sys.executable).parent)
    if shutil.which("aiomessages", path=here) is None:
        pytest.skip("the package is not installed beside this Python: nox installs it")
    path = os.pathsep.join([here, os.environ["PATH"]])
    subprocess.run(["bash", "-c", command], check=True, env={**os.environ, "PATH": path})


def sessions() -> set[str]:
    """Return the names of the noxfile's sessions."""
    tree = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.decorator_list}


def check_sessions(command: str) -> None:
    """Require that each session named after `-s` stands in the noxfile."""
    _, _, after = command.partition(" -s ")
    named = set(takewhile(lambda word: not word.startswith("-"), shlex.split(after)))
    assert named <= sessions()


def check_extras(command: str) -> None:
    """Require that each extra named in brackets is one of ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {extra for group in re.findall(r"\[(.+?)\]", command) for extra in group.split(",")}
    assert named <= set(project["optional-dependencies"])


CHECKS = {
    "aiomessages ": run_cli,
    "python3 noxfile.py": check_sessions,
    "nox ": check_sessions,
    "pip install ": check_extras,
    "git clone ": lambda _: None,  # no network here
    "cd ": lambda _: None,
}


@pytest.mark.parametrize("page", FILES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_names_a_known_language(page: Path) -> None:
    """Each block has a known language, and none escapes being run by its indentation."""
    found = blocks(page)
    assert {block.language for block in found} <= LANGUAGES | DIRECTIVES
    assert page.read_text("utf-8").count("```") == 2 * len(found)


@pytest.mark.parametrize("page", FILES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_has_a_prompt(page: Path) -> None:
    """A block is copied as it is shown, so it has no `$`, no `>>>`, and no output."""
    found = re.findall(
        r"^ *(?:\$|>>>|\.\.\.|In \[\d+\]:) .*", page.read_text("utf-8"), re.MULTILINE
    )
    assert found == []


@pytest.mark.parametrize("page", FILES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    """Every link of a page to a file leads to one, even outside of the built site."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    paths = [link.partition("#")[0] for link in links if "://" not in link]
    assert [path for path in paths if not (page.parent / path).exists()] == []


def test_the_guide_names_every_session() -> None:
    """The table of sessions in contributing.md has each session of the noxfile, and no other."""
    table = (ROOT / "docs" / "contributing.md").read_text("utf-8").partition("## Where")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == sessions()


def test_contributors_are_sent_to_files_that_exist() -> None:
    """Each path in contributing.md is one of the repository, the package or the tests.

    A name in its "Where the next feature goes" stands before the file that defines it.
    """
    guide = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    paths = set(re.findall(r"`((?:\w+/)+\w+\.(?:py|md|json))`", guide)) - {
        *("aiomessages/x/y.py", "tests/x/test_y.py"),  # stand for any module
    }
    roots = [ROOT / folder for folder in ("", "aiomessages", "tests")]
    assert {path for path in paths if not any((root / path).exists() for root in roots)} == set()
    named = re.findall(r"`(_?[A-Z_]{3,})` (?:of|in) `([\w/.]+\.py)`", guide.replace("\n", " "))
    assert len(named) > 5
    for name, path in named:
        (file,) = {root / path for root in roots if (root / path).exists()}
        assert re.search(rf"^{name}\b", file.read_text("utf-8"), re.MULTILINE), (name, path)


def test_the_design_names_every_module() -> None:
    """The table of layers in design.md has each module of the package, and no other."""
    design = (ROOT / "docs" / "design.md").read_text("utf-8")
    rows = re.findall(r"^\|[^|]*\| (`.+?) \|", design, re.MULTILINE)
    found = {path.stem for path in (ROOT / "aiomessages").iterdir() if path.name[0] != "_"}
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == found - {"py"}
