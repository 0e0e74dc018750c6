"""The source of the key, the secrecy of it, and the meaning of --local."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_cli import KEY, RECORDS, SHORT, Ran

from aiomessages.cli.exits import UsageError
from aiomessages.cli.options import SAMPLE, in_options, spelled_out
from aiomessages.errors import APIError
from aiomessages.server import import_records
from aiomessages.testing import MessagesServer

Run = Callable[..., Ran]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["x", "--local"], ["x", f"--local={SAMPLE}"]),
        (["--local", "chatcmpl-1"], [f"--local={SAMPLE}", "chatcmpl-1"]),
        (["--local", "--debug"], [f"--local={SAMPLE}", "--debug"]),
        (["x", "--local", "my.db"], ["x", "--local", "my.db"]),
        (["--local", "./my", "x"], ["--local", "./my", "x"]),
        (["--local", __file__], ["--local", __file__]),
        (["--local=my"], ["--local=my"]),
        (["--", "--local"], ["--", "--local"]),
    ],
)
def test_local_with_and_without_a_database(words: list[str], meant: list[str]) -> None:
    """The word after --local is a database if it exists or is written like a path."""
    assert spelled_out(words) == meant


@pytest.mark.parametrize(
    "word", ["--api-key", "--api_key=x", "--key", "--token=x", "--openai-api-key", "-api-key=x"]
)
def test_a_key_in_argv(word: str) -> None:
    """A key on the command line is refused with the reason, and not repeated."""
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        spelled_out(["list", "x", word, "secret"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["export", "--all", "-o", ""], "-o"),
        (["export", "--all", "-o", "out.jsonl", "--media="], "--media"),
        (["export", "--all", "-o", "out.jsonl", "--model", ""], "--model"),
        (["export", "x", "", "-o", "out.jsonl"], "an argument"),
        (["status", ""], "an argument"),
        ([""], "an argument"),
    ],
    ids=repr,
)
def test_an_empty_argument(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    named: str,
) -> None:
    """An empty argument, as an unset shell variable leaves it, is refused first."""
    monkeypatch.chdir(tmp_path)
    ran = run(*words)
    assert (ran.code, list(tmp_path.iterdir())) == (2, [])
    assert ran.err == f"aiomessages: {named} is empty\n  is a variable of the shell not set?\n"


def test_an_empty_value_of_a_pair() -> None:
    """A key may have an empty value."""
    words = ["--metadata=team=", "--metadata", "team="]
    assert spelled_out(words) == words


def test_an_unknown_option_with_a_value(run: Run) -> None:
    """The value of an option that does not exist may be a secret, so it is not repeated."""
    ran = run("list", "x", "--api-kye=secret")
    assert ran.code == 2
    assert "--api-kye" in ran.err
    assert "secret" not in ran.err


def test_a_key_where_it_does_not_belong(run: Run) -> None:
    """A text that looks like a key is hidden in any argument."""
    ran = run("list", "x", "sk-proj-abcdefghijkl")
    assert ran.code == 2
    assert "abcdefghijkl" not in ran.err


def test_no_key(run: Run) -> None:
    """Without a key the message says how to give one."""
    ran = run("list", "chatcmpl-short")
    assert (ran.code, ran.out) == (2, b"")
    assert "OPENAI_API_KEY" in ran.err
    assert "--api-key-file" in ran.err


def test_a_key_from_a_file(run: Run, messages_server: MessagesServer, tmp_path: Path) -> None:
    """The key is the file's text without the newline at its end."""
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n", "utf-8")
    words = ["--api-key-file", path, "--base-url", messages_server.base_url]
    assert len(run("list", "chatcmpl-short", *words).out.splitlines()) == len(SHORT)


def test_a_key_from_standard_input(
    run: Run, messages_server: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file - is standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEY}\n"))
    words = ["--api-key-file", "-", "--base-url", messages_server.base_url]
    assert run("list", "chatcmpl-short", *words).code == 0


def test_a_key_typed_at_a_terminal(
    run: Run, messages_server: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a terminal the key is asked for and not echoed."""
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setattr("aiomessages.cli.credentials.getpass", lambda _: KEY)
    words = ["--api-key-file=-", "--base-url", messages_server.base_url]
    assert run("list", "chatcmpl-short", *words).code == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "holds no key"), (b"\xff", "not text"), (b"a b", "spaces"), (None, "No such file")],
)
def test_a_file_without_a_key(run: Run, tmp_path: Path, content: bytes | None, reason: str) -> None:
    """A file without a usable key is refused; its name is not repeated, as it may be a key."""
    path = tmp_path / "name-or-key"
    if content is not None:
        path.write_bytes(content)
    ran = run("list", "chatcmpl-short", "--api-key-file", path)
    assert (ran.code, ran.out) == (2, b"")
    assert reason in ran.err
    assert "name-or-key" not in ran.err


@pytest.mark.parametrize(("words", "requests"), [([], 3), (["--max-retries", 1], 2)])
def test_retries(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: list[object], requests: int
) -> None:
    """A request that fails is retried twice, or as often as --max-retries says."""
    with MessagesServer() as server:
        server.fail(500, retry_after=0)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        run("list", "x", "--base-url", server.base_url, *words)
        assert len(server.requests) == requests


def test_a_timeout(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that takes longer than --timeout fails, and the message names the option."""
    with MessagesServer(records=RECORDS) as server:
        server.fail("stalled-body")
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        words = ["--base-url", server.base_url, "--max-retries", 0, "--timeout", 0.1]
        ran = run("list", "chatcmpl-short", *words)
    assert ran.code == 1
    assert "--timeout" in ran.err


def test_the_key_in_another_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No message repeats the key, whatever the key looks like and wherever it was put as well."""
    with MessagesServer(records=RECORDS, api_key="staple-battery-0123") as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        words = ["--base-url", server.base_url, "--transform", f"abs('{server.api_key}')"]
        ran = run("list", "chatcmpl-short", *words)
    assert (ran.code, ran.out) == (1, b"")
    assert "staple-battery" not in ran.err


def test_local(run: Run) -> None:
    """The sample needs neither key nor network, and ignores the environment's address."""
    ran = run("list", "chatcmpl-nobody", "--local")
    assert ran.code == 3


@pytest.mark.parametrize(
    "words",
    [["chatcmpl-1", "--local", "nosuch"], ["--local", "nosuch", "chatcmpl-1"]],
    ids=["behind", "before"],
)
def test_local_with_a_word_that_is_no_database(run: Run, words: list[str]) -> None:
    """A word that may name a database is quoted if there are too many arguments."""
    ran = run("list", *words)
    assert (ran.code, ran.out) == (2, b"")
    assert ran.err.startswith(f"aiomessages: too many arguments: {words[-1]}; ")
    assert "; --local nosuch: there is no such database\n  `aiomessages sync` " in ran.err


def test_too_many_arguments(run: Run) -> None:
    """If --local is not involved, the error does not mention it."""
    ran = run("list", "chatcmpl-1", "chatcmpl-2", "--local")
    assert ran.err.startswith("aiomessages: too many arguments: chatcmpl-2\n  see ")


def test_local_with_a_database(run: Run, tmp_path: Path) -> None:
    """A database that the server made can be read without starting the server."""
    database, records = tmp_path / "my.db", tmp_path / "records.jsonl"
    records.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), "utf-8")
    import_records(str(database), str(records))
    ran = run("list", "chatcmpl-short", "--local", database)
    assert [json.loads(line) for line in ran.out.splitlines()] == SHORT


@pytest.mark.parametrize(
    "words",
    [
        ["--local", "missing.db"],
        ["--local=missing"],
        ["--local", "--base-url", "https://example.com"],
        ["--local", "--api-key-file", "-"],
    ],
)
def test_local_that_cannot_be(run: Run, words: list[str]) -> None:
    """A missing database, or another server beside --local, is an error and nothing is made."""
    ran = run("list", "x", *words)
    assert (ran.code, ran.out) == (2, b"")
    assert "--local" in ran.err
    assert not Path("missing.db").exists()


def every_hint(kind: type[APIError] = APIError) -> set[str]:
    """Return the advice that the errors of this kind give."""
    return {kind.hint}.union(*map(every_hint, kind.__subclasses__()))


@pytest.mark.parametrize("hint", sorted(every_hint() - {""}))
def test_advice_at_the_terminal(hint: str) -> None:
    """The hint of an error is usable at a terminal: it names no argument of the library."""
    said = in_options(hint).replace("store=true", "")  # that one is the API's
    assert not re.search(r"\w=|_url|\.raw\(", said), said


def test_an_address_with_a_query(run: Run) -> None:
    """An unusable base URL is reported by the option's name, without arguments of the library."""
    ran = run("list", "x", "--base-url", "https://host/v1?a=b")
    assert ran.code == 2
    said = "aiomessages: --base-url must not contain a query or fragment"
    assert ran.err == f"{said}\n  write the URL without it\n"
