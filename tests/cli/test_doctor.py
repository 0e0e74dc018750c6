"""`aiomessages doctor` over real sockets."""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme
from conftest_cli import KEY, RECORDS, Ran
from loopback import Answer, Loopback, page

from aiomessages.__main__ import main
from aiomessages.testing import MessagesServer

Run = Callable[..., Ran]
SECRET = "sk-canary-of-the-doctor-0123"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a key."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def field(text: str, label: str) -> str:
    """Return the text of a line of the output."""
    return re.search(rf"^{label} +(.*)$", text, re.MULTILINE)[1]  # type: ignore[index]


def test_a_way_that_works(run: Run) -> None:
    """If the request succeeds, the way is shown and the result says so."""
    with MessagesServer(records=RECORDS, api_key=SECRET) as server:
        ran = run("doctor", "--base-url", server.base_url)
        assert [request.query["limit"] for request in server.requests] == ["1"]
        address = f"{server.base_url} (--base-url)"
    text = ran.out.decode()
    assert (ran.code, ran.err) == (0, "")
    assert field(text, "base URL") == address
    assert field(text, "key") == "a key in the form of OpenAI's, from OPENAI_API_KEY"
    assert re.fullmatch(r"GET /chat/completions: status 200 in \d+ ms", field(text, "request"))
    assert field(text, "result") == "It works: there is a stored completion."
    assert SECRET not in text


def test_a_credential_in_a_header(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, doctor says that a header carries the credential, and names the header."""
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"api-key: {SECRET}")
    with MessagesServer(records=RECORDS) as server:
        text = run("doctor", "--base-url", server.base_url).out.decode()
        assert "authorization" not in server.requests[0].headers
    assert field(text, "headers") == "api-key"
    assert field(text, "key") == "none: a header carries the credential"


def test_the_sample(run: Run) -> None:
    """The embedded server can be tried as well."""
    ran = run("doctor", "--local")
    assert (ran.code, ran.err) == (0, "")


def test_nothing_stored(run: Run) -> None:
    """An account without completions is no failure."""
    with MessagesServer(api_key=SECRET) as server:
        ran = run("doctor", "--base-url", server.base_url)
    assert (ran.code, field(ran.out.decode(), "result")) == (
        0,
        "It works: no completion is stored yet.",
    )


@pytest.mark.parametrize(
    ("status", "code", "problem"),
    [
        (401, 4, "The server refuses the key."),
        (403, 4, "The server knows the key and denies access."),
        (404, 3, "The server does not know the list of completions: --base-url is wrong."),
        (429, 5, "The server limits the rate of requests."),
        (503, 1, "A proxy or a gateway answered in place of the API, with status 503."),
    ],
)
def test_statuses(run: Run, status: int, code: int, problem: str) -> None:
    """A refused request is told in words, sent once, and ends with the code of other commands."""
    with MessagesServer(api_key=SECRET) as server:
        server.fail(status)
        ran = run("doctor", "--base-url", server.base_url)
        assert len(server.requests) == 1
    assert (ran.code, field(ran.out.decode(), "problem")) == (code, problem)
    assert f"status {status} in " in field(ran.out.decode(), "request")
    assert ran.err.startswith("aiomessages: ")
    assert SECRET not in ran.out.decode() + ran.err


def test_a_key_from_a_command(run: Run) -> None:
    """A key from a command is fetched, and refused like any other."""
    with MessagesServer(api_key=KEY) as server:
        words = ["--base-url", server.base_url, "--api-key-command", f"echo {SECRET}"]
        ran = run("doctor", *words)
    text = ran.out.decode()
    assert (ran.code, SECRET in text + ran.err) == (4, False)
    assert field(text, "key") == "a key in the form of OpenAI's, from --api-key-command"


def test_no_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key the way is shown as far as it is known."""
    monkeypatch.delenv("OPENAI_API_KEY")
    ran = run("doctor")
    assert (ran.code, field(ran.out.decode(), "problem")) == (2, "Nothing was sent: no API key.")
    assert "Set OPENAI_API_KEY or use --api-key-file" in field(ran.out.decode(), "advice")


def test_a_variable_that_cannot_be_used(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in OPENAI_CUSTOM_HEADERS is found as well."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "canary")
    ran = run("doctor")
    assert ran.code == 2
    assert "OPENAI_CUSTOM_HEADERS: line 1" in field(ran.out.decode(), "problem")


async def test_an_answer_without_advice_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """The second line of such an error is the advice of the doctor."""
    answer = Answer({"error": {"message": "No required SSL certificate was sent"}}, 400)
    async with Loopback(lambda _: answer) as server:
        code = await asyncio.to_thread(main, ["doctor", "--base-url", server.base_url])
    out, err = capsys.readouterr()
    advice = field(out, "advice")
    assert (code, advice.startswith("Give it by --client-cert")) == (1, True)
    assert err.endswith(f"\n  {advice}\n")


def test_a_file_of_the_key_that_is_missing(run: Run, tmp_path: Path) -> None:
    """An option that cannot be used is a problem with an advice, like each other one."""
    ran = run("doctor", "--api-key-file", tmp_path / "nowhere")
    assert ran.code == 2
    assert "Nothing was sent: cannot read the file of" in field(ran.out.decode(), "problem")
    assert field(ran.out.decode(), "advice").startswith("Name a file that holds the key")


def test_a_proxy_that_is_down(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem is the proxy, and the advice is about it: base_url is right."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:canary-0123@127.0.0.1:{port}")
    text = run("doctor", "--base-url", "https://api.example/v1").out.decode()
    assert f"No connection to the proxy 127.0.0.1:{port} (HTTPS_PROXY)" in field(text, "problem")
    assert field(text, "advice").startswith("Check HTTPS_PROXY")
    assert "canary-0123" not in text


def test_nobody_listens(run: Run) -> None:
    """A refused connection is told as such."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ran = run("doctor", "--base-url", f"http://127.0.0.1:{port}/v1")
    assert (ran.code, b"the connection was refused" in ran.out) == (1, True)


def test_a_name_that_does_not_resolve(run: Run) -> None:
    """A name that does not resolve is told as such."""
    ran = run("doctor", "--base-url", "https://nobody.invalid/v1")
    assert (ran.code, b"does not resolve (DNS): nobody.invalid." in ran.out) == (1, True)


async def test_a_certificate_of_an_unknown_authority(capsys: pytest.CaptureFixture[str]) -> None:
    """An untrusted certificate is told as such, with the variable to set."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(nothing, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        words = ["doctor", "--base-url", f"https://127.0.0.1:{port}/v1"]
        code = await asyncio.to_thread(main, words)
    out = capsys.readouterr().out
    assert (code, "does not trust" in field(out, "problem")) == (1, True)
    assert "SSL_CERT_FILE" in field(out, "advice")


async def test_a_wrong_clock(capsys: pytest.CaptureFixture[str]) -> None:
    """A clock that differs from the server's by minutes is told, whatever else happened."""
    earlier = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    answer = Answer(page([]), headers={"date": earlier})
    async with Loopback(lambda _: answer) as server:
        code = await asyncio.to_thread(main, ["doctor", "--base-url", server.base_url])
    out = capsys.readouterr().out
    assert (code, "60 minutes ahead of the server's" in field(out, "problem")) == (0, True)
    assert field(out, "result").startswith("It works")
