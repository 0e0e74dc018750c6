"""A server with a few conversations for the whole run, and two ways to run the program."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest_cli import KEY, RECORDS, Ran

from aiomessages.__main__ import main
from aiomessages.testing import MessagesServer

# Without a buffer of standard output, what a program leaves in it cannot be seen.
_OURS = ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR", "PYTHONUNBUFFERED")


@pytest.fixture(scope="session")
def messages_server() -> Iterator[MessagesServer]:
    """Serve RECORDS from a thread of its own, as the program has its own event loop."""
    with MessagesServer(records=RECORDS, api_key=KEY) as serving:
        yield serving


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of the person who runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name in _OURS:
            monkeypatch.delenv(name)


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Ran]:
    """Run the program in this process."""

    def run(*words: object) -> Ran:
        code = main([str(word) for word in words])
        out, err = capsysbinary.readouterr()
        return Ran(code, out, err.decode())

    return run


@pytest.fixture
def spawn() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Start the program as a process of its own, and end it with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def spawn(*words: object, **settings: Any) -> "subprocess.Popen[bytes]":
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-W", "error", "-m", "aiomessages", *map(str, words)]
        started.append(subprocess.Popen(command, **(pipes | settings)))
        return started[-1]

    yield spawn
    for process in started:
        with process:
            if process.poll() is None:
                process.kill()


@pytest.fixture
def execute(spawn: Callable[..., "subprocess.Popen[bytes]"]) -> Callable[..., Ran]:
    """Run the program as a process of its own to its end."""

    def execute(*words: object, stdin: bytes = b"") -> Ran:
        process = spawn(*words)
        out, err = process.communicate(stdin, timeout=30)
        return Ran(process.returncode, out, err.decode())

    return execute


@pytest.fixture
def zone() -> Iterator[None]:
    """Put this machine two hours east of Greenwich."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TZ", "XXX-2")
        time.tzset()
        yield
    time.tzset()
