"""The key that a command prints, such as that of a password store or of a cloud's own program.

The command runs without a shell, and without a terminal as its input. Its output is read up to a
limit and shown nowhere: errors tell its exit code. Its standard error is not read.
"""

import asyncio
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import anyio
import msgspec

from aiomessages.errors import ConfigurationError
from aiomessages.settings import UnusableKeyError, check_key, check_seconds
from aiomessages.values.secrets import hide

from .renewed import Lease, RenewedKey

DEFAULT_TTL: Final = 300.0
DEFAULT_TIMEOUT: Final = 30.0
LONGEST: Final = 65_536  # bytes of output
REAPING: Final = 1.0  # seconds in which a command that was killed should be gone

# The names of the key and of its end in a JSON object: of `az account get-access-token`, OAuth's
# token response (RFC 6749, section 5.1), and the ExecCredential of Kubernetes, whose fields are
# those of its `status`.
_KEYS: Final = ("api_key", "token", "access_token", "accessToken")
_ENDS: Final = ("expires_on", "expires_at", "expirationTimestamp")
_NUMBER: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)


class KeyCommand(RenewedKey):
    """Take the key from the output of a command; run it again before the key expires.

    - `argv`: the program and its arguments, without a shell.
    - `ttl`: seconds for which a key is kept, unless the output says how long it is valid.
    - `timeout`: seconds after which the command is killed.

    The output is the key, as it is or as a JSON string, or a JSON object with the key (`api_key`,
    `token`, `access_token` or `accessToken`) and its end (`expires_on` or `expires_at`, in Unix
    seconds or ISO 8601, or `expires_in`, in seconds). An exit code other than 0 is an error.

    Raises ConfigurationError for arguments that cannot be used.
    """

    def __init__(
        self, argv: Sequence[str], *, ttl: float = DEFAULT_TTL, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        super().__init__()
        words = () if isinstance(argv, str | bytes) else tuple(argv)
        if not words or not all(isinstance(word, str) and "\0" not in word for word in words):
            raise ConfigurationError(
                "the command of a key must be a list of str, such as ['pass', 'show', 'openai']:"
                " no shell divides it into words"
            )
        check_seconds("ttl", ttl)
        check_seconds("timeout", timeout)
        self._argv, self._ttl, self._timeout = words, ttl, timeout

    def __repr__(self) -> str:
        # An argument may be a password.
        more = ", …" if len(self._argv) > 1 else ""
        return f"{type(self).__name__}([{self._argv[0]!r}{more}])"

    async def fetch(self) -> Lease:
        """Run the command, and read the key from its output.

        Raises UnusableKeyError if it cannot run, fails, takes too long or prints no key.
        """
        process = _Process()
        problem = await self._run(process)
        lease = None
        if problem is None:
            lease = _read(process.output(), now=self._clock(), ttl=self._ttl)
        if lease is None:
            problem = problem or "printed no key"
            raise UnusableKeyError(
                f"the command of the key, {self._argv[0]!r}, {problem}",
                hint="run it by itself to see the reason",
            )
        return lease

    async def _run(self, process: "_Process") -> str | None:
        """Run the command to its end, and kill it otherwise; return what went wrong."""
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.subprocess_exec(
                lambda: process,
                *self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            return f"could not run: {error.strerror}"
        code = None
        try:
            async with asyncio.timeout(self._timeout):
                await process.ended.wait()
            code = transport.get_returncode()
        except TimeoutError:
            return f"took longer than {self._timeout:g} s"
        finally:
            transport.close()  # and kill the command, if it still runs
            with anyio.move_on_after(REAPING, shield=True):
                await process.gone.wait()
        if process.is_too_long:
            return f"printed more than {LONGEST} bytes"
        return f"ended with exit code {code}" if code else None


class _Process(asyncio.SubprocessProtocol):
    """The output of a command, and its end.

    It has `ended` when its output is too long, or when it is `gone`: it has exited, and everything
    that it started has closed the output.
    """

    def __init__(self) -> None:
        self.ended, self.gone = asyncio.Event(), asyncio.Event()
        self.is_too_long = False
        self._data = bytearray()

    def pipe_data_received(self, _: int, data: bytes) -> None:
        self._data += data
        if len(self._data) > LONGEST:
            self.is_too_long = True
            self.ended.set()

    def connection_lost(self, _: Exception | None) -> None:
        self.ended.set()
        self.gone.set()

    def output(self) -> str:
        """Return the output as text without the white space around it, hidden."""
        return hide(self._data.decode("utf-8-sig", "replace").strip())


def _read(output: str, *, now: float, ttl: float) -> Lease | None:
    """Return the key in the output and its end; None without one."""
    if not output.startswith("{"):
        text = _unquoted(output)
        return Lease(check_key(text), now + ttl) if text else None
    fields = _fields(output)
    key = next((fields[name] for name in _KEYS if fields.get(name)), None)
    if key is None:
        return None
    ends = [_unix_time(fields.get(name)) for name in _ENDS]
    expires_in = _number(fields.get("expires_in"))
    ends.append(None if expires_in is None else now + expires_in)
    return Lease(check_key(key), next((end for end in ends if end is not None), now + ttl))


def _unquoted(output: str) -> str:
    """Return the text of a JSON string, as of `az … --query accessToken`; other output as it is."""
    try:
        return hide(msgspec.json.decode(output.encode(), type=str))
    except ValueError:
        return output


def _fields(output: str) -> dict[str, object]:
    """Return the fields of a JSON object, each text hidden; none if it is not valid."""
    try:
        fields = msgspec.json.decode(output.encode())
    except ValueError:
        return {}
    status = fields.get("status")
    found = status if isinstance(status, dict) else fields
    return {name: hide(value) for name, value in found.items()}


def _number(value: object) -> float | None:
    """Return a number, or a text of digits, as a float; None for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return float(value) if isinstance(value, int | float) else None


def _unix_time(value: object) -> float | None:
    """Return a time in Unix seconds, from a number or from ISO 8601; None if it is neither."""
    number = _number(value)
    if number is not None or not isinstance(value, str):
        return number
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
