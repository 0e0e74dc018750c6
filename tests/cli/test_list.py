"""`aiomessages list` against a real server: its output, formats and exit codes."""

import json
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest_cli import KEY, RECORDS, SHORT, Ran, is_brief

from aiomessages.testing import MessagesServer

Run = Callable[..., Ran]
pytestmark = pytest.mark.usefixtures("messages_environment")


def body(server: MessagesServer) -> bytes:
    """Return the page as the server sends it, fetched without our client."""
    url = f"{server.base_url}/chat/completions/chatcmpl-short/messages"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"})  # noqa: S310
    with urllib.request.urlopen(request) as response:  # noqa: S310 - our own server
        content: bytes = response.read()
        return content


def contents(ran: Ran) -> list[Any]:
    """Return the values of the JSON lines, after a run that succeeded."""
    assert (ran.code, ran.err) == (0, "")
    return [json.loads(line) for line in ran.out.splitlines()]


@pytest.mark.parametrize("words", [["chatcmpl-short"], ["--completion-id", "chatcmpl-short"]])
def test_every_message(run: Run, words: list[str]) -> None:
    """In a pipe the messages come as JSON lines, with every field."""
    assert contents(run("list", *words)) == SHORT


def test_json(run: Run) -> None:
    """Json is one array of all pages."""
    ran = run("list", "chatcmpl-long", "--format", "json", "--limit", 100)
    assert len(json.loads(ran.out)) == 250


def test_json_of_no_messages(run: Run) -> None:
    """A completion without messages is an empty array, and is said to be so, if not with -q."""
    said = "aiomessages: chatcmpl-empty has no messages\n"
    assert run("list", "chatcmpl-empty", "--format", "json") == (0, b"[]\n", said)
    assert run("list", "chatcmpl-empty", "--format", "json", "-q") == (0, b"[]\n", "")
    ran = run("list", "chatcmpl-short", "--after", "chatcmpl-short-2")
    assert ran == (0, b"", "aiomessages: chatcmpl-short has no message after chatcmpl-short-2\n")


def test_yaml(run: Run) -> None:
    """Yaml is one list."""
    assert yaml.safe_load(run("list", "chatcmpl-short", "--format", "yaml").out) == SHORT


@pytest.mark.parametrize("shape", ["pretty", "table", "json", "jsonl", "yaml", "raw"])
def test_deep_nesting(run: Run, monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    """A message that is nested 900 levels deep is shown in each format."""
    nested = "[" * 900 + "]" * 900
    part = {"type": "hologram", "hologram": json.loads(nested)}
    stored = {"id": "chatcmpl-deep-0", "role": "tool", "content": nested, "content_parts": None}
    deep = {
        "completion": RECORDS[0]["completion"] | {"id": "chatcmpl-deep"},
        "messages": [stored, stored | {"id": "chatcmpl-deep-1", "content_parts": [part]}],
    }
    with MessagesServer(records=[deep], api_key=KEY) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        ran = run("list", "chatcmpl-deep", "--format", shape)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count(b"[") >= (900 if shape == "pretty" else 1)


def test_raw(run: Run, messages_server: MessagesServer) -> None:
    """Raw is the bytes of the server, a message a line."""
    lines = run("list", "chatcmpl-short", "--format", "raw").out.splitlines()
    assert len(lines) == len(SHORT)
    assert b",".join(lines) in body(messages_server).replace(b", {", b",{")


def test_pretty(run: Run) -> None:
    """Pretty is a conversation to read."""
    text = run("list", "chatcmpl-short", "--format", "pretty").out.decode()
    assert text.startswith("system ──")
    assert '→ find · call_1\n  {\n    "a": 1\n  }\n' in text


def test_table(run: Run) -> None:
    """A table has a heading and a row a message."""
    lines = run("list", "chatcmpl-short", "--format", "table").out.decode().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["#", "role"],
        ["0", "system"],
        ["1", "user"],
        ["2", "assistant"],
    ]


def test_a_range(run: Run) -> None:
    """The messages can be narrowed down and turned round."""
    words = ["--after", "chatcmpl-short-2", "--order", "desc", "--max-items", 1]
    assert contents(run("list", "chatcmpl-short", *words)) == [SHORT[1]]


def test_limit(run: Run, messages_server: MessagesServer) -> None:
    """Limit is the size of a page: more requests, the same messages."""
    messages_server.requests.clear()
    assert contents(run("list", "chatcmpl-short", "--limit", 1)) == SHORT
    assert len(messages_server.requests) == 3


def test_transform(run: Run) -> None:
    """A transform is applied to each message."""
    assert contents(run("list", "chatcmpl-short", "--transform", "[role, tool_calls[0].id]")) == [
        ["system", None],
        ["user", None],
        ["assistant", "call_1"],
    ]


def test_an_array_of_results(run: Run) -> None:
    """The format json of a transform is one array of its results."""
    ran = run("list", "chatcmpl-short", "--transform", "role", "--format", "json")
    assert json.loads(ran.out) == ["system", "user", "assistant"]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("[" * 100_000, "nested too deep"),
        ("(" * 3_000 + "role", "nested too deep"),
        ("!" * 20_000 + "role", "nested too deep"),
        ("`" + "[" * 100_000 + "`", "nested too deep"),
        ("role" + "|role" * 600, "nested too deep"),
        ("", "empty"),
        ("[[[", "Incomplete"),
        ("role.", "Expecting"),
        ("'role", "Unclosed"),
        ('`"\\ud800"`', "surrogates"),
        ("'\udcff'", "surrogates"),
        ("lenght(content)", "no function lenght()"),
        ("content_parts[?nope(@)].text", "no function nope()"),
        ("length()", "expects arguments: 1, not 0"),
        ("length(role, id)", "expects arguments: 1, not 2"),
        ("not_null()", "expects arguments: 1, not 0"),
        ("tool_calls[::0]", "the step of a slice cannot be 0"),
        ("&role", "an &expression is for"),
        ("{a: &role}", "an &expression is for"),
        ("not_null(&role)", "an &expression is for"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_transform_that_could_fit_nothing(
    run: Run, messages_server: MessagesServer, expression: str, reason: str
) -> None:
    """An expression that fits no message is a usage error of one line that names it."""
    messages_server.requests.clear()
    code, out, err = run("list", "chatcmpl-short", "--transform", expression)
    assert (code, out) == (2, b"")
    assert err.startswith("aiomessages: --transform ")
    assert reason in err
    assert len(err) < 400
    assert is_brief(err)
    assert messages_server.requests == [] or expression.startswith("role|")


@pytest.mark.parametrize(
    "expression",
    [
        "not_null(name, role, id)",
        "sort_by(content_parts || `[]`, &type)",
        "tool_calls[0:1:1]",
        "merge(@, {a: role})",
        "a.b[?c == 'd' && !e].{f: g}",
        "`99999999999999999999999`",
    ],
)
def test_transforms_that_are_fine(run: Run, expression: str) -> None:
    """Every valid JMESPath expression is accepted."""
    ran = run("list", "chatcmpl-short", "--transform", expression)
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize(
    "expression", ["contains('abc', `1`)", "ceil(`1e400`)", "sort_by(@, &x)", "keys(role)"]
)
def test_a_transform_that_fails_on_a_message(run: Run, expression: str) -> None:
    """An expression that fails on a message is reported in one line."""
    ran = run("list", "chatcmpl-short", "--transform", expression)
    assert (ran.code, ran.out) == (1, b"")
    assert ran.err.startswith(f"aiomessages: --transform {expression}: ")
    assert is_brief(ran.err)


@pytest.mark.parametrize(("length", "shown"), [(80, 80), (81, 80)])
def test_a_long_transform(run: Run, length: int, shown: int) -> None:
    """An error quotes at most 80 characters of an expression, and marks what it leaves out."""
    expression = "[".ljust(length, "a")
    quoted = expression[:shown] + ("…" if shown < length else "")
    ran = run("list", "chatcmpl-short", "--transform", expression)
    assert ran.err.startswith(f"aiomessages: --transform {quoted}: ")


def test_a_transform_that_does_not_fit(run: Run) -> None:
    """An expression that fails on a message says which expression it was."""
    ran = run("list", "chatcmpl-short", "--transform", "abs(role)")
    assert (ran.code, ran.out) == (1, b"")
    assert ran.err.startswith("aiomessages: --transform abs(role): ")
    assert is_brief(ran.err)


@pytest.mark.parametrize(
    "words",
    [
        ["chatcmpl-short", "--transform", "[["],
        ["chatcmpl-short", "--transform", "role", "--format", "raw"],
        ["chatcmpl-short", "--limit", "0"],
        ["chatcmpl-short", "--max-items", "0"],
        ["chatcmpl-short", "--base-url", ""],
        ["chatcmpl-short", "--order", "up"],
        ["chatcmpl-short", "--format", "xml"],
        ["chatcmpl-short", "--timeout", "0"],
        ["chatcmpl-short", "--timeout", "nan"],
        ["chatcmpl-short", "--max-retries", "-1"],
        ["chatcmpl-short", "--wait-until-visible", "-1"],
        ["chatcmpl-short", "--base-url", "http://example.com/v1"],
        ["chatcmpl-short", "-o", "."],
        ["chatcmpl-short", "--organization", "a\nb"],
        ["chatcmpl-short", "more"],
        ["chatcmpl/short"],
        [""],
        [],
    ],
)
def test_a_wrong_command_line(run: Run, messages_server: MessagesServer, words: list[str]) -> None:
    """A wrong command line is reported in one line, before any request."""
    messages_server.requests.clear()
    code, out, err = run("list", *words)
    assert (code, out, messages_server.requests) == (2, b"", [])
    assert err.startswith("aiomessages: ")
    assert is_brief(err)


def test_an_unknown_completion(run: Run) -> None:
    """An unknown completion is exit code 3, even if an array was asked for."""
    ran = run("list", "chatcmpl-nobody", "--format", "json")
    assert (ran.code, ran.out) == (3, b"")
    assert "chatcmpl-nobody" in ran.err
    assert is_brief(ran.err)


def test_a_wrong_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is refused is exit code 4, and the key is not shown."""
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key-0123456789")
    ran = run("list", "chatcmpl-short", "--debug")
    assert (ran.code, ran.out) == (4, b"")
    assert "wrong-key" not in ran.err


def test_too_many_requests(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate limit is exit code 5; the messages before it were shown."""
    with MessagesServer(sample=True, api_key=KEY, rate=0.001) as slow:
        monkeypatch.setenv("OPENAI_BASE_URL", slow.base_url)
        codes = [run("list", "chatcmpl-x", "--max-retries", 0).code for _ in range(3)]
    assert codes[-1] == 5


def test_an_unreachable_server(run: Run) -> None:
    """An unreachable server is exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    ran = run("list", "chatcmpl-short", "--base-url", url, "--max-retries", 0)
    assert (ran.code, ran.out) == (1, b"")
    assert is_brief(ran.err)


def test_a_file(run: Run, tmp_path: Path) -> None:
    """With -o the data goes to the file and to nowhere else."""
    path = tmp_path / "out.json"
    assert run("list", "chatcmpl-short", "--format", "json", "-o", path) == (0, b"", "")
    assert json.loads(path.read_text("utf-8")) == SHORT


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("x.json", b"["),
        ("x.jsonl", b"{"),
        ("x.ndjson", b"{"),
        ("x.YAML", b"- id: "),
        ("x.yml", b"- id: "),
        ("x.txt", b"system "),
        ("x", b"{"),
    ],
)
def test_the_ending_of_a_file(run: Run, tmp_path: Path, name: str, begin: bytes) -> None:
    """The ending of the file chooses the format; without one it is JSON lines."""
    assert run("list", "chatcmpl-short", "-o", tmp_path / name) == (0, b"", "")
    assert (tmp_path / name).read_bytes().startswith(begin)


def test_a_format_for_any_ending(run: Run, tmp_path: Path) -> None:
    """A format that was asked for is written under any name of text."""
    path = tmp_path / "x.log"
    assert run("list", "chatcmpl-short", "--format", "jsonl", "-o", path).code == 0
    assert path.read_bytes().startswith(b"{")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("x.jsonl.gz", "write it through a pipe, without -o: … | gzip > "),
        ("x.zst", "write it through a pipe, without -o: … | zstd > "),
        ("x.parquet", "`aiomessages export` writes .parquet"),
        ("x.csv", "make it with jq: … --transform '[id, role]' | jq -r @csv > "),
        ("x.md", "choose one by --format, or by an ending: .json, .jsonl, .ndjson, .yaml, .yml"),
    ],
)
def test_an_ending_that_no_format_fits(
    run: Run, messages_server: MessagesServer, tmp_path: Path, name: str, advice: str
) -> None:
    """A file whose readers would not understand it is refused, with what to do instead."""
    messages_server.requests.clear()
    ran = run("list", "chatcmpl-short", "-o", tmp_path / name)
    assert (ran.code, ran.out, messages_server.requests) == (2, b"", [])
    assert ran.err.splitlines()[1].startswith(f"  {advice}")
    assert is_brief(ran.err)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_filled(run: Run, tmp_path: Path) -> None:
    """A run that fails leaves no file."""
    assert run("list", "chatcmpl-nobody", "-o", tmp_path / "out").code == 3
    assert list(tmp_path.iterdir()) == []


def test_debug(run: Run) -> None:
    """--debug logs the requests to standard error, apart from the data."""
    ran = run("list", "chatcmpl-short", "--debug", "--timeout", 20)
    assert [json.loads(line) for line in ran.out.splitlines()] == SHORT
    assert "/chat/completions/chatcmpl-short/messages" in ran.err
    assert " 200 in " in ran.err
    assert KEY not in ran.err


def test_debug_of_an_error(run: Run) -> None:
    """--debug shows the origin of an error, each request and each wait, and never the key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--base-url", f"http://127.0.0.1:{port}/v1", "--max-retries", 1, "--debug"]
    ran = run("list", "chatcmpl-short", *words)
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "aiomessages: retry in " in ran.err
    assert ran.err.splitlines()[-2].startswith("aiomessages: ")
    assert KEY not in ran.err


def test_an_unexpected_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is named, with the way to find it, and is exit code 1."""
    monkeypatch.setattr("aiomessages.cli.formats.on_one_line", lambda _: 1 / 0)
    code, out, err = run("list", "chatcmpl-short")
    assert (code, out) == (1, b"")
    assert err == (
        "aiomessages: unexpected ZeroDivisionError: division by zero\n  --debug shows where\n"
    )
