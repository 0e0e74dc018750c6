"""`aiomessages view`: pages that say how to reach them, and end on a signal."""

import os
import re
import shlex
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest_cli import RECORDS, Ran, is_brief

from aiomessages.server import import_records

if TYPE_CHECKING:
    import subprocess

Run = Callable[..., Ran]
Spawn = Callable[..., "subprocess.Popen[bytes]"]

pytestmark = pytest.mark.measured_programs  # no test runs a server in its own process

TOKEN = "the-token-of-a-file-0123456789"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of RECORDS."""
    path = tmp_path / "archive.db"
    import_records(str(path), RECORDS)
    return path


class Browser:
    """A client that keeps cookies."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(CookieJar()), urllib.request.ProxyHandler({})
        )

    def get(self, address: str) -> tuple[int, str]:
        """Return status and text of a page."""
        try:
            with self._opener.open(address, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def address_of(process: "subprocess.Popen[bytes]") -> str:
    """Return the address that a process prints to standard output."""
    assert process.stdout
    return process.stdout.readline().decode().rstrip()


def end(process: "subprocess.Popen[bytes]", number: signal.Signals = signal.SIGTERM) -> str:
    """End a process by a signal, and return its standard error."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"")
    assert b"Traceback" not in err
    return err.decode()


@pytest.mark.parametrize("with_token", [False, True])
def test_quiet(spawn: Spawn, archive: Path, tmp_path: Path, *, with_token: bool) -> None:
    """With -q nothing but the address is printed."""
    (tmp_path / "token.txt").write_text(TOKEN)
    words = ("--token-file", tmp_path / "token.txt") if with_token else ()
    process = spawn("view", archive, "--no-open", "-q", *words)
    assert address_of(process).startswith("http://127.0.0.1:")
    assert end(process) == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_archive_is_shown_until_a_signal(
    spawn: Spawn, archive: Path, number: signal.Signals
) -> None:
    """The printed address opens the pages; Ctrl-C and SIGTERM end them and leave nothing."""
    process = spawn("view", archive, "--no-open")
    address, browser = address_of(process), Browser()
    first, _, token = address.partition("?token=")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", first)
    assert len(token) > 40
    assert browser.get(first)[0] == 403
    assert browser.get(address)[0] == 200
    status, text = browser.get(first)
    assert status == 200
    assert "3 conversations" in text
    err = end(process, number)
    assert f"showing {archive}" in err
    assert token not in err
    assert [path.name for path in archive.parent.iterdir()] == ["archive.db"]


def test_the_sample(spawn: Spawn, tmp_path: Path) -> None:
    """Without a name the sample is shown, from a temporary file that is removed."""
    process = spawn("view", "--no-open", "--utc", env=os.environ | {"TMPDIR": str(tmp_path)})
    browser, address = Browser(), address_of(process)
    assert browser.get(address)[0] == 200
    text = browser.get(address.partition("?")[0])[1]
    assert "36 conversations" in text
    assert "in UTC" in text
    assert len(list(tmp_path.iterdir())) == 1
    assert "showing the sample" in end(process)
    assert list(tmp_path.iterdir()) == []


def test_a_port(spawn: Spawn, execute: Run, archive: Path) -> None:
    """A port that was chosen is used; one that is in use is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        code, out, err = execute("view", archive, "--no-open", "--port", port)
        assert (code, out) == (1, b"")
        assert f"cannot serve on port {port}: Address already in use\n" in err
        assert "choose another --port" in err
        assert is_brief(err)
    process = spawn("view", archive, "--no-open", "--port", port)
    assert address_of(process).startswith(f"http://127.0.0.1:{port}/")
    end(process)


def test_the_browser_is_opened(spawn: Spawn, archive: Path, tmp_path: Path) -> None:
    """The browser gets an address that works once, since others can read its command line."""
    pipe = tmp_path / "opened"
    os.mkfifo(pipe)
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {shlex.quote(str(pipe))}\n', "utf-8")
    program.chmod(0o700)
    process = spawn("view", archive, env=os.environ | {"DISPLAY": ":0", "BROWSER": f"{program} %s"})
    printed, opened = address_of(process), pipe.read_text("utf-8").rstrip()
    assert opened.partition("?")[0] == printed.partition("?")[0]
    assert opened != printed
    assert Browser().get(opened)[0] == 200
    assert Browser().get(opened)[0] == 403
    assert Browser().get(printed)[0] == 200
    end(process)


def test_no_browser_is_opened_without_a_display(
    spawn: Spawn, archive: Path, tmp_path: Path
) -> None:
    """Without a display nothing is started."""
    started = tmp_path / "started"
    settings = os.environ | {"BROWSER": f"touch {started}"}
    hidden = {name: settings[name] for name in settings.keys() - {"DISPLAY", "WAYLAND_DISPLAY"}}
    process = spawn("view", archive, env=hidden)
    assert Browser().get(address_of(process))[0] == 200
    end(process)
    assert not started.exists()


def test_no_browser_takes_the_terminal(spawn: Spawn, archive: Path, tmp_path: Path) -> None:
    """A browser for terminals, which Python finds by itself, is not started; nor is there any."""
    started = tmp_path / "started"
    for name in ("lynx", "w3m", "nothing"):
        folder = tmp_path / name
        folder.mkdir()
        program = folder / name
        program.write_text(f"#!/bin/sh\n: > {shlex.quote(str(started))}\n", "utf-8")
        program.chmod(0o700)
        settings = {key: value for key, value in os.environ.items() if key != "BROWSER"}
        process = spawn("view", archive, env=settings | {"DISPLAY": ":0", "PATH": str(folder)})
        assert Browser().get(address_of(process))[0] == 200
        end(process)
        assert not started.exists()


def test_a_token_of_a_file(spawn: Spawn, archive: Path, tmp_path: Path) -> None:
    """The token of a file opens the pages, and is written nowhere."""
    file = tmp_path / "token.txt"
    file.write_text(f"{TOKEN}\n", "utf-8")
    process = spawn("view", archive, "--no-open", "--token-file", file)
    address = address_of(process)
    assert "token" not in address
    assert Browser().get(address)[0] == 403
    assert Browser().get(f"{address}?token={TOKEN}")[0] == 200
    err = end(process)
    assert TOKEN not in err
    assert str(file) in err


@pytest.mark.parametrize(
    "data", [b"", b"short", b"two lines of a token\nand another one", b"\xff" * 30]
)
def test_a_token_that_is_none(execute: Run, archive: Path, tmp_path: Path, data: bytes) -> None:
    """A file without a usable token is refused, and what it holds is not shown."""
    file = tmp_path / "token.txt"
    file.write_bytes(data)
    code, out, err = execute("view", archive, "--token-file", file)
    assert (code, out) == (2, b"")
    assert "openssl rand" in err or "no text" in err
    assert "another" not in err


def test_a_token_file_that_is_missing(execute: Run, archive: Path, tmp_path: Path) -> None:
    """A missing file is named."""
    code, _, err = execute("view", archive, "--token-file", tmp_path / "none")
    assert code == 2
    assert "No such file" in err


def test_another_host(spawn: Spawn, archive: Path) -> None:
    """A host that was allowed may ask."""
    process = spawn("view", archive, "--no-open", "--allow-host", "read.example.com")
    request = urllib.request.Request(  # noqa: S310 - our own server
        address_of(process), headers={"Host": "read.example.com"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
        assert answer.status == 200
    end(process)


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (None, 1, "there is no such archive"),
        (b"precious" * 1000, 2, "no SQLite database"),
        (b"", 2, "`aiomessages sync` fills it"),
    ],
)
def test_what_is_no_archive(
    execute: Run, tmp_path: Path, data: bytes | None, code: int, says: str
) -> None:
    """What is no archive is refused in words, before anything is served, and left alone."""
    path = tmp_path / "my.db"
    if data is not None:
        path.write_bytes(data)
    found, out, err = execute("view", path)
    assert (found, out) == (code, b"")
    assert says in err
    assert is_brief(err)
    assert (path.read_bytes() if data is not None else None) == data


def test_the_extra_is_named(spawn: Spawn, archive: Path, tmp_path: Path) -> None:
    """Without the packages of the extra one line says how to install them."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['jinja2'] = None\nsys.path.remove(__file__.rpartition('/')[0])\n",
        "utf-8",
    )
    folders = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = spawn("view", archive, env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)})
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, b"")
    assert err == b"aiomessages: the pages need an extra\n  pip install 'aiomessages[view]'\n"
