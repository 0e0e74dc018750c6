"""The key that a command prints: its forms, its failures, and its end."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from aiomessages import ConfigurationError
from aiomessages.keys import KeyCommand

KEY = "sk-canary-0123456789"


def printing(text: str, *, then: str = "") -> list[str]:
    """Return a command that prints a text and then runs a statement."""
    return [sys.executable, "-S", "-c", f"import sys, time; print({text!r}, flush=True); {then}"]


@pytest.mark.parametrize(
    "printed",
    [
        KEY,
        f"\n  {KEY}\n",
        f'"{KEY}"',
        f'{{"api_key": "{KEY}"}}',
        f'{{"accessToken": "{KEY}", "expiresOn": "2020-01-01 00:00:00", "expires_on": 9999999999}}',
        f'{{"access_token": "{KEY}", "expires_in": 3600, "token_type": "Bearer"}}',
        f'{{"status": {{"token": "{KEY}", "expirationTimestamp": "2100-01-01T00:00:00Z"}}}}',
    ],
)
async def test_output(printed: str) -> None:
    """The output is the key, or JSON of a cloud's program with the key in it."""
    assert await KeyCommand(printing(printed))() == KEY


@pytest.mark.parametrize(
    "fields",
    [
        '"expires_on": 2000000000',
        '"expires_on": "2000000000"',
        '"expires_at": "2033-05-18T03:33:20Z"',
        '"expires_at": "2033-05-18T03:33:20"',
    ],
)
async def test_the_end_of_a_key(fields: str) -> None:
    """The output may say until when its key is valid, as a number or in ISO 8601 (UTC)."""
    lease = await KeyCommand(printing(f'{{"token": "{KEY}", {fields}}}')).fetch()
    assert lease.expires == 2_000_000_000


@pytest.mark.parametrize(
    ("fields", "life"),
    [
        ('"x": 1', 600),
        ('"expires_in": 7200', 7200),
        ('"expires_in": "7200"', 7200),
        ('"expires_at": "soon"', 600),
        ('"expires_on": null', 600),
    ],
)
async def test_how_long_a_key_is_valid(fields: str, life: float) -> None:
    """The output may say how long its key is valid; if it does not, `ttl` does."""
    lease = await KeyCommand(printing(f'{{"token": "{KEY}", {fields}}}'), ttl=600).fetch()
    assert lease.expires - time.time() == pytest.approx(life, abs=60)


async def test_a_command_that_runs_once(tmp_path: Path) -> None:
    """A command runs once, and its key is kept."""
    count = f"open({str(tmp_path / 'runs')!r}, 'a').write('x')"
    key = KeyCommand(printing(KEY, then=count))
    assert [await key(), await key()] == [KEY, KEY]
    assert (tmp_path / "runs").read_text() == "x"


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["/no/such/program"], "could not run: No such file"),
        (printing(KEY, then="sys.exit(3)"), "ended with exit code 3"),
        (printing(""), "printed no key"),
        (printing('{"expires_in": 1}'), "printed no key"),
        (printing('{"token": 7'), "printed no key"),
        (printing('{"token": 7}'), "must be a str"),
        (printing("sk-canary more"), "spaces, line breaks"),
        (printing("", then="print('canary' * 20_000)"), "printed more than 65536 bytes"),
        (printing(KEY, then="time.sleep(60)"), "took longer than 0.3 s"),
    ],
    ids=["missing", "failing", "silent", "JSON", "broken", "number", "words", "long", "slow"],
)
async def test_a_command_without_a_key(argv: list[str], reason: str) -> None:
    """A command that gives no key is an error with the reason, and without its output."""
    limit = 0.3 if "longer" in reason else 30
    with pytest.raises(ConfigurationError, match=reason) as caught:
        await KeyCommand(argv, timeout=limit)()
    assert "canary" not in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        frames = error.__traceback__
        while frames is not None:
            ours = {k: v for k, v in frames.tb_frame.f_locals.items() if k not in ("argv", "error")}
            if "aiomessages" in frames.tb_frame.f_code.co_filename:
                assert "canary" not in repr({k: v for k, v in ours.items() if k != "self"})
            frames = frames.tb_next
        error = error.__context__


async def test_a_command_that_leaves_a_process(tmp_path: Path) -> None:
    """A process that a command leaves behind with its output open does not outlast the limit."""
    argv = ["/bin/sh", "-c", f"sleep 30 & echo $! > {tmp_path / 'pid'}; echo {KEY}"]
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match="took longer"):
        await KeyCommand(argv, timeout=0.3)()
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert time.monotonic() - began < 10


async def test_a_call_that_is_cancelled(tmp_path: Path) -> None:
    """A cancelled call kills its command."""
    os.mkfifo(tmp_path / "pid")
    script = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    argv = [sys.executable, "-S", "-c", f"import os, time; {script}"]
    call = asyncio.create_task(KeyCommand(argv)())
    process = int(await asyncio.to_thread((tmp_path / "pid").read_text))
    call.cancel()
    await asyncio.wait([call])
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.parametrize("argv", ["pass show openai", b"pass", [], ["a\0b"], [1]], ids=repr)
def test_a_command_that_is_no_list(argv: list[str]) -> None:
    """A command must be a list of str, since no shell divides it."""
    with pytest.raises(ConfigurationError, match="list of str"):
        KeyCommand(argv)


@pytest.mark.parametrize("option", ["ttl", "timeout"])
def test_limits(option: str) -> None:
    """A limit of a command is a positive number."""
    with pytest.raises(ConfigurationError, match=option):
        KeyCommand(["pass"], **{option: 0})


def test_the_repr_of_a_command() -> None:
    """A repr shows the program, and none of its arguments."""
    assert repr(KeyCommand(["vault", "-token=s3cret"])) == "KeyCommand(['vault', …])"
    assert repr(KeyCommand(["key"])) == "KeyCommand(['key'])"
