"""The way into the program: cheap for --version, and in words without the extra."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from conftest_cli import Ran, is_brief

import aiomessages
from aiomessages.__main__ import main
from aiomessages.cli import app
from aiomessages.cli.safe_text import UNSAFE
from aiomessages.server.faults import FAULTS

Run = Callable[..., Ran]


def test_version(run: Run) -> None:
    """The version is the package's."""
    assert run("--version") == (0, f"aiomessages {aiomessages.__version__}\n".encode(), "")


def test_version_loads_little() -> None:
    """Scripts ask for the version: it loads no framework, no client, not even asyncio."""
    program = (
        "import sys; before = set(sys.modules)\n"
        "from aiomessages.__main__ import main; main(['--version'])\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    loaded = set(out.decode().splitlines()[-1].split())
    assert not loaded & {"cyclopts", "rich", "jmespath", "aiohttp", "asyncio", "msgspec"}


@pytest.mark.measured_programs
@pytest.mark.parametrize("missing", ["cyclopts", "rich", "jmespath"])
def test_without_the_extra(missing: str) -> None:
    """If the program's packages are missing, the error says how to install them."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from aiomessages.__main__ import main; sys.exit(main(['list', 'x', '--local']))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (run.returncode, run.stdout) == (2, b"")
    assert (
        run.stderr
        == b"aiomessages: the command line needs an extra\n  pip install 'aiomessages[cli]'\n"
    )


def test_a_package_of_ours_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation of the package itself is not taken for a missing extra."""
    monkeypatch.setitem(sys.modules, "aiomessages.cli", None)
    with pytest.raises(ModuleNotFoundError, match=r"aiomessages\.cli"):
        main(["list"])


def test_interrupted_early(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Ctrl-C while the program is being loaded ends it silently."""

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("aiomessages.__main__.import_module", interrupted)
    assert run("list", "x") == (130, b"", "")


def test_arguments_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an argument, main reads the command line."""
    monkeypatch.setattr("sys.argv", ["aiomessages", "--version"])
    assert main() == 0
    assert aiomessages.__version__ in capsys.readouterr().out


COMMANDS = [
    *([], ["list"], ["show"], ["completions"], ["search"], ["export"], ["sync"], ["status"]),
    *(["import"], ["serve"], ["doctor"], ["demo"]),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_without_empty_defaults(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """Help shows no default of a flag, nor the sign for standard output."""
    monkeypatch.setenv("COLUMNS", "80")
    text = re.sub(r"[│\s]+", " ", run(*command, "--help").out.decode())
    assert re.findall(r"\[default: (?:False|-)\]", text) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help(run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """Every command has help with examples, for a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    ran = run(*command, "--help")
    lines = ran.out.decode().splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  aiomessages") for line in lines[lines.index("Examples:") :])


@pytest.mark.parametrize("command", ["list", "completions"])
def test_groups_of_options(run: Run, command: str) -> None:
    """Help begins with the options that select, then come those of the format and the server."""
    text = run(command, "--help").out.decode()
    headings = re.findall(r"^╭─ (Selection|Output|Server)", text, re.MULTILINE)
    assert headings == ["Selection", "Output", "Server"]


def test_no_command(run: Run) -> None:
    """Without a command the program lists its commands."""
    ran = run()
    assert ran.code == 0
    assert b"list" in ran.out


def test_an_unknown_command(run: Run) -> None:
    """A mistyped command is a usage error that names the right one."""
    code, out, err = run("lits")
    assert (code, out) == (2, b"")
    assert '"list"' in err
    assert is_brief(err)
    assert "Available" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list"], "COMPLETION_ID is missing\n  `aiomessages completions` lists the ids"),
        (
            ["show", "--local", "a.db"],
            "COMPLETION_ID is missing\n  `aiomessages completions --local a.db` lists the ids",
        ),
        (["status"], "DEST is missing\n  see aiomessages status --help"),
        (["sync"], "ARCHIVE is missing\n  see aiomessages sync --help"),
        (["search"], "ARCHIVE is missing\n  see aiomessages search --help"),
        (
            ["sync", "--local", "archive.db"],
            "ARCHIVE is missing\n  --local took archive.db: write it in front of --local",
        ),
        (
            ["export", "--all"],
            "--output DEST is missing\n  write -o FILE; see aiomessages export --help",
        ),
        (
            ["show", "chatcmpl-short", "archive.db"],
            "too many arguments: archive.db\n  write --local archive.db to read that archive",
        ),
        (
            ["status", "archive.db", "b.db"],
            "too many arguments: b.db\n  see aiomessages status --help",
        ),
        (["show", "a", "b"], "too many arguments: b\n  see aiomessages show --help"),
    ],
)
def test_what_is_missing_or_too_much(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    """The fault of a command line is one line, and what to write, or the help, is the next."""
    monkeypatch.chdir(tmp_path)
    Path("archive.db").touch()
    Path("a.db").touch()
    assert run(*words) == (2, b"", f"aiomessages: {said}\n")


@pytest.mark.parametrize("words", [["list"], ["show"], ["export", "-o", "x.jsonl"]])
def test_an_archive_for_an_id(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """The name of an archive in the place of an id is refused, with the option that reads it."""
    monkeypatch.chdir(tmp_path)
    Path("archive.db").touch()
    said = "archive.db is a file, and no id\n  write --local archive.db to read an archive"
    assert run(*words, "archive.db") == (2, b"", f"aiomessages: {said}\n")
    assert run(*words, "archive.db", "--local") == (2, b"", f"aiomessages: {said}\n")


@pytest.mark.usefixtures("messages_environment")
def test_advice_of_another_command(run: Run) -> None:
    """The advice to wait for a completion names the option only where the command has it."""
    assert "--wait-until-visible" in run("list", "chatcmpl-nobody").err
    assert "--wait-until-visible" in run("--debug", "list", "chatcmpl-nobody").err
    ran = run("show", "chatcmpl-nobody")
    assert (ran.code, "--wait-until-visible" in ran.err) == (3, False)
    assert ran.err.endswith("A new one takes some seconds to appear.\n")


HOSTILE = ["\x1b[2Jx", "a\u202eb", "\x9b31m", "\x85", "\u2028", "\udcff", "-\x1b", "--a\u202e=b"]
PLACES = [
    [],
    ["list"],
    ["list", "chatcmpl-x", "--format"],
    ["list", "chatcmpl-x", "--limit"],
    ["list", "chatcmpl-x", "--timeout"],
    ["list", "chatcmpl-x", "more"],
    ["list", "chatcmpl-x", "--transform"],
    ["list", "chatcmpl-x", "--api-key-file"],
    ["list", "chatcmpl-x", "--base-url"],
    ["list", "chatcmpl-x", "--organization"],
    ["list", "chatcmpl-x", "--local", "--base-url"],
    ["completions", "--since"],
    ["completions", "--metadata"],
    ["completions", "--order"],
    ["export", "chatcmpl-x", "-o"],
    ["export", "--ids-file", "nowhere", "-o"],
    ["export", "chatcmpl-x", "-o", "x.jsonl", "--layout"],
    ["status"],
    ["import"],
    ["import", "nowhere"],
    ["import", "--replace"],
    ["serve", "--fault"],
    ["serve", "--port"],
    ["serve", "--import"],
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
@pytest.mark.parametrize("words", PLACES, ids=str)
def test_hostile_arguments(run: Run, words: list[str], hostile: str) -> None:
    """A message about a hostile command line never acts on the terminal."""
    code, out, err = run(*words, hostile)
    assert (code, out) in [(2, b""), (3, b"")]
    assert is_brief(err)
    assert not UNSAFE.search(err)


def test_help_as_a_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`help COMMAND` is `COMMAND --help`, and a mistyped command is named with the right one."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run("help") == run("--help")
    assert run("help", "status") == run("status", "--help")
    said = "aiomessages: there is no command lits\n  did you mean list? see aiomessages help\n"
    assert run("help", "lits") == (2, b"", said)
    assert run("help", "zzz").err.endswith("zzz\n  see aiomessages help\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_faults(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Every shell completes the names of --fault."""
    script = app.generate_completion(prog_name="aiomessages", shell=shell)
    assert all(name in script for name in FAULTS)


def test_completion_of_commands(tmp_path: Path) -> None:
    """`help` completes the names of the commands."""
    if shutil.which("bash") is None:
        pytest.skip("this system has no bash")
    script = tmp_path / "script"
    script.write_text(app.generate_completion(prog_name="aiomessages", shell="bash"), "utf-8")  # noqa: S604 - its name
    asked = 'source "$0"; COMP_WORDS=(aiomessages help exp); COMP_CWORD=2; _aiomessages'
    words = ["bash", "-c", f'{asked}; printf %s "${{COMPREPLY[*]}}"', str(script)]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["export"]


def test_completion(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shell completion can be installed, and knows the commands."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert run("--install-completion", "--shell", "bash").code == 0
    scripts = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("serve" in path.read_text("utf-8") for path in scripts)
