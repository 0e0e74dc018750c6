"""The faults: each name, and its play on the socket.

To add one, write its play, name it in FAULTS, and add its outcome to the table of
test_hostile_network.py.
"""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

from loopback import message, page

from .raw_server import CONVERSATION, Play, Turn

CHUNKED: Final = "transfer-encoding: chunked"
GZIP: Final = "content-encoding: gzip"


# --- below HTTP: what happens to the connection ---------------------------------------------------


async def _reset(turn: Turn) -> None:
    turn.reset()


async def _close(turn: Turn) -> None:
    turn.close()


async def _reset_in_body(turn: Turn) -> None:
    await turn.send(turn.right()[:-10])
    turn.reset()


async def _stale(turn: Turn) -> None:
    """Hang up on a connection that has served before, as one that timed out in the server."""
    if any(one.connection == turn.connection for one in turn.server.asked[:-1]):
        turn.close()
    else:
        await turn.send(turn.right())


async def _silence(turn: Turn) -> None:
    await turn.hung_up()


async def _held(turn: Turn) -> None:
    """Answer correctly, but only once the test allows it, or never if the client leaves."""
    gone = asyncio.ensure_future(turn.hung_up())
    free = asyncio.ensure_future(turn.server.released.wait())
    try:
        await asyncio.wait({gone, free}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        free.cancel()
        await asyncio.wait({gone, free})
    await turn.send(turn.right())


async def _other_answer(turn: Turn) -> None:
    """Answer another request than this one."""
    other = page([message(n, completion_id="chatcmpl-2") for n in range(2)], has_more=True)
    await turn.send(turn.whole(json.dumps(other).encode()))


async def _other_answer_first(turn: Turn) -> None:
    """Answer another request, and then, too late, this one."""
    await _other_answer(turn)
    await turn.send(turn.right())


# --- in HTTP's frame ------------------------------------------------------------------------------


def sends(make: Callable[[Turn], bytes], *, close: bool = False) -> Play:
    """Return a play that sends some bytes and leaves the connection open, or closes it."""

    async def play(turn: Turn) -> None:
        await turn.send(make(turn))
        if close:
            turn.close()

    return play


def forever(start: Callable[[Turn], bytes], more: Callable[[Turn], bytes], pause: float) -> Play:
    """Return a play that never ends; `pause` is in seconds."""

    async def play(turn: Turn) -> None:
        await turn.send(start(turn))
        while not turn.writer.is_closing():
            await turn.send(more(turn))
            await asyncio.sleep(pause)

    return play


async def _bad_chunk_later(turn: Turn) -> None:
    """Break a chunk's size once the first one has arrived: aiohttp then only closes."""
    await turn.send(turn.head(CHUNKED))
    await turn.send(_chunk(turn.body[:10]))
    for _ in range(3):  # so that it arrives by itself: the client is read in between
        await asyncio.sleep(0)
    await turn.send(b"zz\r\n" + turn.body[10:])
    await turn.hung_up()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _two_lengths(turn: Turn) -> bytes:
    return turn.whole(turn.body, f"content-length: {len(turn.body) + 1}")


def _length_and_chunked(turn: Turn) -> bytes:
    return turn.head(CHUNKED, "content-length: 5") + _chunk(turn.body) + b"0\r\n\r\n"


# --- the body -------------------------------------------------------------------------------------


def _gzip_of(turn: Turn) -> bytes:
    return gzip.compress(turn.body, mtime=0)


def _gzipped(spoil: Callable[[bytes], bytes]) -> Play:
    return sends(lambda turn: turn.whole(spoil(_gzip_of(turn)), GZIP))


def _bomb(turn: Turn) -> bytes:
    return turn.whole(_BOMB, GZIP)


def _zeros(megabytes: int) -> bytes:
    press = zlib.compressobj(wbits=31)
    return b"".join(press.compress(bytes(1 << 20)) for _ in range(megabytes)) + press.flush()


_BOMB: Final = _zeros(32)

TINY_CHUNKS: Final = 1_000_000


def _tiny_chunks(turn: Turn) -> bytes:
    spaces = TINY_CHUNKS - len(turn.body)
    body = b"".join(_chunk(bytes([byte])) for byte in turn.body) + _chunk(b" ") * spaces
    return turn.head(CHUNKED) + body + b"0\r\n\r\n"


def body(make: Callable[[Turn], bytes]) -> Play:
    """Return a play that answers 200 with another body than the correct one."""
    return sends(lambda turn: turn.whole(make(turn)))


def edited(edit: Callable[[Turn, dict[str, Any]], None]) -> Play:
    """Return a play that answers with the correct page, edited."""

    def make(turn: Turn) -> bytes:
        wrong = json.loads(turn.body)
        edit(turn, wrong)
        return json.dumps(wrong).encode()

    return body(make)


def changed(**fields: Any) -> Play:
    """Return a play that answers with the correct page, some fields of it changed."""
    return edited(lambda _, wrong: wrong.update(fields))


def first_message(**fields: Any) -> Play:
    """Return a play that changes fields of the first message on the correct page."""
    return edited(lambda _, wrong: wrong["data"][0].update(fields))


def _without_id(_: Turn, wrong: dict[str, Any]) -> None:
    del wrong["data"][1]["id"]


def _without_has_more(_: Turn, wrong: dict[str, Any]) -> None:
    del wrong["has_more"]


def _with_key_in_data(turn: Turn, wrong: dict[str, Any]) -> None:
    wrong["data"][0]["content"] = turn.key


def _no_data(turn: Turn, wrong: dict[str, Any]) -> None:
    wrong.update(data=[], first_id=None, last_id=None, has_more=True, echo=turn.key)


def _repeated_cursor(turn: Turn, wrong: dict[str, Any]) -> None:
    """Answer each page with the one before it."""
    _with_key_in_data(turn, wrong)
    wrong.update(data=CONVERSATION[:2], last_id=CONVERSATION[1]["id"], has_more=True)


def _cycle(turn: Turn, wrong: dict[str, Any]) -> None:
    """Lead from the last page to the first one."""
    del turn
    wrong.update(data=CONVERSATION[4:] + CONVERSATION[:2], has_more=True)
    wrong["last_id"] = wrong["data"][-1]["id"]


def _overlap(_: Turn, wrong: dict[str, Any]) -> None:
    """Begin with the last message of the page before."""
    wrong["data"].insert(0, CONVERSATION[1])
    wrong["first_id"] = CONVERSATION[1]["id"]


# --- statuses -------------------------------------------------------------------------------------


def status(number: int, code: str | None = None, *fields: str) -> Play:
    """Return a play that answers with an error in the API's form."""

    def make(turn: Turn) -> bytes:
        error = {"message": f"no: {turn.key}", "type": "some_error", "param": "x", "code": code}
        return turn.whole(json.dumps({"error": error}, indent=2).encode(), *fields, status=number)

    return sends(make)


def limited(*values: Callable[[], str] | str, name: str = "retry-after") -> Play:
    """Return a play that answers 429 and asks to wait, with each of the values in turn."""

    async def play(turn: Turn) -> None:
        value = values[(turn.nth - 1) % len(values)]
        text = value if isinstance(value, str) else value()
        await status(429, "rate_limit_exceeded", f"{name}: {text}")(turn)

    return play


def redirect(number: int, where: Callable[[Turn], str]) -> Play:
    """Return a play that answers with a redirect."""
    return sends(lambda turn: turn.whole(b"", f"location: {where(turn)}", status=number))


def _in_200(code: str) -> Play:
    return body(lambda turn: json.dumps({"error": {"message": turn.key, "code": code}}).encode())


def _date(seconds: float) -> Callable[[], str]:
    return lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


# Invalid numbers of seconds: some that float() accepts, and some that it does not.
NONSENSE: Final = (
    *("inf", "nan", "-5", "1e9", "0x10", "soon", "1_0", ""),
    *("\u0661\u0662".encode().decode("latin-1"), "Thu, 99 Foo 2020 00:00:00 GMT"),
)

FAULTS: Final[dict[str, Play]] = {
    # the connection
    "reset": _reset,
    "close-before-headers": _close,
    "stale-keep-alive": _stale,
    "silence": _silence,
    "held": _held,
    "late-response": _other_answer_first,
    "other-response": _other_answer,
    # HTTP's frame
    "headers-cut": sends(lambda turn: turn.right()[:60], close=True),
    "body-short": sends(lambda turn: turn.right()[:-10], close=True),
    "body-short-reset": _reset_in_body,
    "chunked-cut": sends(lambda turn: turn.head(CHUNKED) + _chunk(turn.body), close=True),
    "close-delimited-cut": sends(lambda turn: turn.head() + turn.body[:-10], close=True),
    "close-delimited": sends(lambda turn: turn.head() + turn.body, close=True),
    "gzipped": _gzipped(bytes),
    "continue-first": sends(lambda turn: b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + turn.right()),
    "upgrade-unasked": sends(
        lambda turn: turn.head("connection: upgrade", "upgrade: websocket", status=101) + turn.body
    ),
    "length-and-chunked": sends(_length_and_chunked),
    "two-lengths": sends(_two_lengths),
    "huge-header": sends(lambda turn: turn.right(f"x-huge: {turn.key * 1000}")),
    "many-headers": sends(lambda turn: turn.right(*(f"x-{n}: {turn.key}" for n in range(200)))),
    "garbage-status": sends(lambda turn: f"SSH-2.0-{turn.key}\r\n\r\n".encode()),
    "bad-chunk-size": sends(lambda turn: turn.head(CHUNKED) + b"zz\r\n" + turn.body),
    "bad-chunk-size-later": _bad_chunk_later,
    "endless-continue": forever(
        lambda _: b"", lambda _: b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.01
    ),
    "slow-body": forever(
        lambda turn: turn.head("content-length: 100000"), lambda _: b" ", pause=0.01
    ),
    "slow-body-without-length": forever(
        lambda turn: turn.head() + turn.body, lambda _: b" ", pause=0.01
    ),
    "stalled-body": sends(lambda turn: turn.right()[:-10]),
    # To a host with a name, on a connection that the session has to open: a jar takes no cookie of
    # an address, and the head of a request on an open connection was built before the cookie came.
    "set-cookie": sends(
        lambda turn: turn.right("set-cookie: session=1; Path=/", "connection: close"), close=True
    ),
    # the body
    "gzip-cut": _gzipped(lambda data: data[:-20]),
    "gzip-trailer-cut": _gzipped(lambda data: data[:-8]),
    "bad-gzip": _gzipped(lambda data: data[:10] + b"\xff" * 20),
    "unknown-encoding": sends(lambda turn: turn.right("content-encoding: br")),
    "no-content": sends(lambda turn: turn.head(status=204)),
    "empty-body": body(lambda _: b""),
    "html": body(lambda turn: f"<html>{turn.key}</html>".encode()),
    "bad-utf8": body(lambda turn: turn.body.replace(b"message", b"\xff\xfe" + turn.key.encode())),
    "bom": body(lambda turn: b"\xef\xbb\xbf" + turn.body),
    "nan": body(lambda turn: turn.body.replace(b'"object"', b'"x": NaN, "object"')),
    "bomb": sends(_bomb),
    "endless-body": forever(
        lambda turn: turn.head(CHUNKED), lambda _: _chunk(b" " * 65536), pause=0
    ),
    "too-large": body(lambda turn: turn.body + b" " * (2 << 20)),
    "tiny-chunks": sends(_tiny_chunks),
    # statuses
    "redirect": redirect(302, lambda turn: f"{turn.server.base_url}/x?{turn.key}"),
    "redirect-elsewhere": redirect(307, lambda turn: f"{turn.server.elsewhere}/{turn.key}"),
    "bad-request": status(400),
    "unauthorized": status(401, "invalid_api_key"),
    "forbidden": status(403),
    "not-found": status(404, "not_found"),
    "timeout-408": status(408),
    "conflict": status(409),
    "unprocessable": status(422),
    "too-early": status(425),
    "rate-limited": status(429, "rate_limit_exceeded"),
    "quota": status(429, "insufficient_quota"),
    "server-error": status(500),
    "bad-gateway-html": sends(
        lambda turn: turn.whole(f"<html>{turn.key}</html>".encode(), status=502)
    ),
    "unavailable": status(503),
    "unauthorized-bad-gzip": sends(lambda turn: turn.whole(b"xx", GZIP, status=401)),
    "unavailable-endless": forever(
        lambda turn: turn.head(CHUNKED, status=503), lambda _: _chunk(b" " * 65536), pause=0
    ),
    # when to try again
    "retry-after-seconds": limited("0.02", "0"),
    "retry-after-date": limited(_date(1.5)),
    "retry-after-past": limited(_date(-3600)),
    "retry-after-ms": status(429, None, "retry-after-ms: 20", "retry-after: 60"),
    "retry-after-nonsense": limited(*NONSENSE),
    "retry-after-ms-nonsense": limited("inf", "nan", "-5", "soon", name="retry-after-ms"),
    "retry-after-minute": limited("60"),
    "retry-after-day": limited("86400"),
    "should-retry-true": status(400, None, "x-should-retry: true"),
    "should-retry-false": status(503, None, "x-should-retry: false"),
    # JSON
    "error-in-200": _in_200("rate_limit_exceeded"),
    "not-found-in-200": _in_200("not_found"),
    "missing-field": edited(_without_id),
    "wrong-type": first_message(id=5),
    "misfits": first_message(role=None, content=["x"], tool_calls=[{"id": "c"}], refusal=False),
    "unknown-fields": first_message(
        role="critic", mood="new", content_parts=[{"type": "hologram", "hologram": {"x": 1}}]
    ),
    "unknown-field": first_message(mood="new"),
    "deep-nesting": body(lambda _: b'{"data": ' + b"[" * 100_000),
    "lone-surrogate": body(lambda turn: turn.body.replace(b"message 2", rb"a \ud83d emoji")),
    # pages
    "more-without-data": edited(_no_data),
    "null-last-id": changed(last_id=None),
    "empty-last-id": changed(last_id=""),
    "repeated-cursor": edited(_repeated_cursor),
    "cursor-cycle": edited(_cycle),
    "overlap": edited(_overlap),
    "wrong-last-id": changed(last_id="chatcmpl-1-999"),
    "no-has-more": edited(_without_has_more),
}
