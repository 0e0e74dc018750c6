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

from .raw_server import CONVERSATION, Exchange, Play

CHUNKED: Final = "transfer-encoding: chunked"
GZIP: Final = "content-encoding: gzip"


# --- below HTTP: what happens to the connection ---------------------------------------------------


async def _reset(exchange: Exchange) -> None:
    exchange.reset()


async def _close(exchange: Exchange) -> None:
    exchange.close()


async def _reset_in_body(exchange: Exchange) -> None:
    await exchange.send(exchange.right()[:-10])
    exchange.reset()


async def _stale(exchange: Exchange) -> None:
    """Hang up on a connection that has served before, as one that timed out in the server."""
    if any(one.connection == exchange.connection for one in exchange.server.asked[:-1]):
        exchange.close()
    else:
        await exchange.send(exchange.right())


async def _silence(exchange: Exchange) -> None:
    await exchange.hung_up()


async def _held(exchange: Exchange) -> None:
    """Answer correctly, but only once the test allows it, or never if the client leaves."""
    gone = asyncio.ensure_future(exchange.hung_up())
    free = asyncio.ensure_future(exchange.server.released.wait())
    try:
        await asyncio.wait({gone, free}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        free.cancel()
        await asyncio.wait({gone, free})
    await exchange.send(exchange.right())


async def _other_answer(exchange: Exchange) -> None:
    """Answer another request than this one."""
    other = page([message(n, completion_id="chatcmpl-2") for n in range(2)], has_more=True)
    await exchange.send(exchange.whole(json.dumps(other).encode()))


async def _other_answer_first(exchange: Exchange) -> None:
    """Answer another request, and then, too late, this one."""
    await _other_answer(exchange)
    await exchange.send(exchange.right())


# --- in HTTP's frame ------------------------------------------------------------------------------


def sends(make: Callable[[Exchange], bytes], *, close: bool = False) -> Play:
    """Return a play that sends some bytes and leaves the connection open, or closes it."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(make(exchange))
        if close:
            exchange.close()

    return play


def forever(
    start: Callable[[Exchange], bytes], more: Callable[[Exchange], bytes], pause: float
) -> Play:
    """Return a play that never ends; `pause` is in seconds."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(start(exchange))
        while not exchange.writer.is_closing():
            await exchange.send(more(exchange))
            await asyncio.sleep(pause)

    return play


async def _bad_chunk_later(exchange: Exchange) -> None:
    """Break a chunk's size once the first one has arrived: aiohttp then only closes."""
    await exchange.send(exchange.head(CHUNKED))
    await exchange.send(_chunk(exchange.body[:10]))
    for _ in range(3):  # so that it arrives by itself: the client is read in between
        await asyncio.sleep(0)
    await exchange.send(b"zz\r\n" + exchange.body[10:])
    await exchange.hung_up()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _two_lengths(exchange: Exchange) -> bytes:
    return exchange.whole(exchange.body, f"content-length: {len(exchange.body) + 1}")


def _length_and_chunked(exchange: Exchange) -> bytes:
    return exchange.head(CHUNKED, "content-length: 5") + _chunk(exchange.body) + b"0\r\n\r\n"


# --- the body -------------------------------------------------------------------------------------


def _gzip_of(exchange: Exchange) -> bytes:
    return gzip.compress(exchange.body, mtime=0)


def _gzipped(spoil: Callable[[bytes], bytes]) -> Play:
    return sends(lambda exchange: exchange.whole(spoil(_gzip_of(exchange)), GZIP))


def _bomb(exchange: Exchange) -> bytes:
    return exchange.whole(_BOMB, GZIP)


def _zeros(megabytes: int) -> bytes:
    press = zlib.compressobj(wbits=31)
    return b"".join(press.compress(bytes(1 << 20)) for _ in range(megabytes)) + press.flush()


_BOMB: Final = _zeros(32)

TINY_CHUNKS: Final = 1_000_000


def _tiny_chunks(exchange: Exchange) -> bytes:
    spaces = TINY_CHUNKS - len(exchange.body)
    body = b"".join(_chunk(bytes([byte])) for byte in exchange.body) + _chunk(b" ") * spaces
    return exchange.head(CHUNKED) + body + b"0\r\n\r\n"


def body(make: Callable[[Exchange], bytes]) -> Play:
    """Return a play that answers 200 with another body than the correct one."""
    return sends(lambda exchange: exchange.whole(make(exchange)))


def edited(edit: Callable[[Exchange, dict[str, Any]], None]) -> Play:
    """Return a play that answers with the correct page, edited."""

    def make(exchange: Exchange) -> bytes:
        wrong = json.loads(exchange.body)
        edit(exchange, wrong)
        return json.dumps(wrong).encode()

    return body(make)


def changed(**fields: Any) -> Play:
    """Return a play that answers with the correct page, some fields of it changed."""
    return edited(lambda _, wrong: wrong.update(fields))


def first_message(**fields: Any) -> Play:
    """Return a play that changes fields of the first message on the correct page."""
    return edited(lambda _, wrong: wrong["data"][0].update(fields))


def _without_id(_: Exchange, wrong: dict[str, Any]) -> None:
    del wrong["data"][1]["id"]


def _without_has_more(_: Exchange, wrong: dict[str, Any]) -> None:
    del wrong["has_more"]


def _with_key_in_data(exchange: Exchange, wrong: dict[str, Any]) -> None:
    wrong["data"][0]["content"] = exchange.key


def _no_data(exchange: Exchange, wrong: dict[str, Any]) -> None:
    wrong.update(data=[], first_id=None, last_id=None, has_more=True, echo=exchange.key)


def _repeated_cursor(exchange: Exchange, wrong: dict[str, Any]) -> None:
    """Answer each page with the one before it."""
    _with_key_in_data(exchange, wrong)
    wrong.update(data=CONVERSATION[:2], last_id=CONVERSATION[1]["id"], has_more=True)


def _cycle(exchange: Exchange, wrong: dict[str, Any]) -> None:
    """Lead from the last page to the first one."""
    del exchange
    wrong.update(data=CONVERSATION[4:] + CONVERSATION[:2], has_more=True)
    wrong["last_id"] = wrong["data"][-1]["id"]


def _overlap(_: Exchange, wrong: dict[str, Any]) -> None:
    """Begin with the last message of the page before."""
    wrong["data"].insert(0, CONVERSATION[1])
    wrong["first_id"] = CONVERSATION[1]["id"]


# --- statuses -------------------------------------------------------------------------------------


def status(number: int, code: str | None = None, *fields: str) -> Play:
    """Return a play that answers with an error in the API's form."""

    def make(exchange: Exchange) -> bytes:
        error = {"message": f"no: {exchange.key}", "type": "some_error", "param": "x", "code": code}
        return exchange.whole(
            json.dumps({"error": error}, indent=2).encode(), *fields, status=number
        )

    return sends(make)


def limited(*values: Callable[[], str] | str, name: str = "retry-after") -> Play:
    """Return a play that answers 429 and asks to wait, with each of the values in exchange."""

    async def play(exchange: Exchange) -> None:
        value = values[(exchange.nth - 1) % len(values)]
        text = value if isinstance(value, str) else value()
        await status(429, "rate_limit_exceeded", f"{name}: {text}")(exchange)

    return play


def redirect(number: int, where: Callable[[Exchange], str]) -> Play:
    """Return a play that answers with a redirect."""
    return sends(
        lambda exchange: exchange.whole(b"", f"location: {where(exchange)}", status=number)
    )


def _in_200(code: str) -> Play:
    return body(
        lambda exchange: json.dumps({"error": {"message": exchange.key, "code": code}}).encode()
    )


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
    "headers-cut": sends(lambda exchange: exchange.right()[:60], close=True),
    "body-short": sends(lambda exchange: exchange.right()[:-10], close=True),
    "body-short-reset": _reset_in_body,
    "chunked-cut": sends(
        lambda exchange: exchange.head(CHUNKED) + _chunk(exchange.body), close=True
    ),
    "close-delimited-cut": sends(
        lambda exchange: exchange.head() + exchange.body[:-10], close=True
    ),
    "close-delimited": sends(lambda exchange: exchange.head() + exchange.body, close=True),
    "gzipped": _gzipped(bytes),
    "continue-first": sends(
        lambda exchange: b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + exchange.right()
    ),
    "upgrade-unasked": sends(
        lambda exchange: (
            exchange.head("connection: upgrade", "upgrade: websocket", status=101) + exchange.body
        )
    ),
    "length-and-chunked": sends(_length_and_chunked),
    "two-lengths": sends(_two_lengths),
    "huge-header": sends(lambda exchange: exchange.right(f"x-huge: {exchange.key * 1000}")),
    "many-headers": sends(
        lambda exchange: exchange.right(*(f"x-{n}: {exchange.key}" for n in range(200)))
    ),
    "garbage-status": sends(lambda exchange: f"SSH-2.0-{exchange.key}\r\n\r\n".encode()),
    "bad-chunk-size": sends(lambda exchange: exchange.head(CHUNKED) + b"zz\r\n" + exchange.body),
    "bad-chunk-size-later": _bad_chunk_later,
    "endless-continue": forever(
        lambda _: b"", lambda _: b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.01
    ),
    "slow-body": forever(
        lambda exchange: exchange.head("content-length: 100000"), lambda _: b" ", pause=0.01
    ),
    "slow-body-without-length": forever(
        lambda exchange: exchange.head() + exchange.body, lambda _: b" ", pause=0.01
    ),
    "stalled-body": sends(lambda exchange: exchange.right()[:-10]),
    # To a host with a name, on a connection that the session has to open: a jar takes no cookie of
    # an address, and the head of a request on an open connection was built before the cookie came.
    "set-cookie": sends(
        lambda exchange: exchange.right("set-cookie: session=1; Path=/", "connection: close"),
        close=True,
    ),
    # the body
    "gzip-cut": _gzipped(lambda data: data[:-20]),
    "gzip-trailer-cut": _gzipped(lambda data: data[:-8]),
    "bad-gzip": _gzipped(lambda data: data[:10] + b"\xff" * 20),
    "unknown-encoding": sends(lambda exchange: exchange.right("content-encoding: br")),
    "no-content": sends(lambda exchange: exchange.head(status=204)),
    "empty-body": body(lambda _: b""),
    "html": body(lambda exchange: f"<html>{exchange.key}</html>".encode()),
    "bad-utf8": body(
        lambda exchange: exchange.body.replace(b"message", b"\xff\xfe" + exchange.key.encode())
    ),
    "bom": body(lambda exchange: b"\xef\xbb\xbf" + exchange.body),
    "nan": body(lambda exchange: exchange.body.replace(b'"object"', b'"x": NaN, "object"')),
    "bomb": sends(_bomb),
    "endless-body": forever(
        lambda exchange: exchange.head(CHUNKED), lambda _: _chunk(b" " * 65536), pause=0
    ),
    "too-large": body(lambda exchange: exchange.body + b" " * (2 << 20)),
    "tiny-chunks": sends(_tiny_chunks),
    # statuses
    "redirect": redirect(302, lambda exchange: f"{exchange.server.base_url}/x?{exchange.key}"),
    "redirect-elsewhere": redirect(
        307, lambda exchange: f"{exchange.server.elsewhere}/{exchange.key}"
    ),
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
        lambda exchange: exchange.whole(f"<html>{exchange.key}</html>".encode(), status=502)
    ),
    "unavailable": status(503),
    "unauthorized-bad-gzip": sends(lambda exchange: exchange.whole(b"xx", GZIP, status=401)),
    "unavailable-endless": forever(
        lambda exchange: exchange.head(CHUNKED, status=503), lambda _: _chunk(b" " * 65536), pause=0
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
    "lone-surrogate": body(
        lambda exchange: exchange.body.replace(b"message 2", rb"a \ud83d emoji")
    ),
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
