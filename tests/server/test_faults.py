"""Claims about faults, read from a raw socket: each does what its description says.

test_rehearsal has the claims about the client.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import make_mocked_request

from aiomessages.server import LocalServer
from aiomessages.server.faults import FAULTS, broken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from conftest_server import Answer, Ask

    Arrived = Callable[[LocalServer], Awaitable[None]]
    AskAt = Callable[[LocalServer], Ask]
    Build = Callable[..., dict[str, Any]]

PATH = "/chat/completions/chatcmpl-c1/messages"
MIB = 2**20


class Received(NamedTuple):
    """The bytes that a server wrote on a connection."""

    raw: bytes

    @property
    def line(self) -> bytes:
        """The status line."""
        return self.raw.partition(b"\r\n")[0]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header fields, in order, repeated ones repeatedly; names in lower case."""
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        pairs = [line.partition(": ") for line in lines]
        return [(name.lower(), value) for name, _, value in pairs]

    @property
    def length(self) -> int:
        """The value of Content-Length."""
        return int(dict(self.headers)["content-length"])

    @property
    def body(self) -> bytes:
        """The bytes after the headers."""
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def chunks(self) -> list[bytes]:
        """The whole chunks of the body, an empty one at its end included."""
        found, rest = [], self.body
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            found.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return found


class RawConnection:
    """A connection to a server without an HTTP client."""

    def __init__(self, server: LocalServer) -> None:
        self._url = urlsplit(server.base_url)
        self._key = server.api_key

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            self._url.hostname, self._url.port
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()
        await asyncio.wait([asyncio.ensure_future(self._writer.wait_closed())])

    def send_get(self, path: str = PATH + "?limit=2", connection: str = "close") -> None:
        """Send a GET request."""
        self._writer.write(
            f"GET {self._url.path}{path} HTTP/1.1\r\nHost: {self._url.netloc}\r\n"
            f"Authorization: Bearer {self._key}\r\nConnection: {connection}\r\n\r\n".encode()
        )

    async def read(self, until: bytes | None = None, most: int | None = None) -> Received:
        """Read to the end, or until the bytes `until`, or until there are `most` bytes."""
        received = bytearray()
        async with asyncio.timeout(30):
            while data := await self._reader.read(MIB):
                received += data
                if (until is not None and until in received) or (most and len(received) >= most):
                    break
        return Received(bytes(received))


@pytest.fixture
async def server(record: Build) -> AsyncIterator[LocalServer]:
    """A server with a conversation of five messages."""
    async with LocalServer(records=[record("c1", 5)]) as running:
        yield running


@pytest.fixture
async def correct(server: LocalServer) -> bytes:
    """The body of the correct response."""
    return (await receive(server)).body


async def receive(
    server: LocalServer, fault: str | tuple[str, ...] = (), *, most: int | None = None
) -> Received:
    """Send a request, and return at least `most` bytes of the response under a fault."""
    server.faults = fault
    async with RawConnection(server) as connection:
        connection.send_get()
        return await connection.read(most=most)


# --- below the API --------------------------------------------------------------------------------


async def test_reset(server: LocalServer) -> None:
    """The connection is reset, not closed in order."""
    with pytest.raises(ConnectionResetError):
        await receive(server, "reset")


async def test_close_before_headers(server: LocalServer) -> None:
    """Not a byte is written."""
    assert (await receive(server, "close-before-headers")).raw == b""


async def test_stale_keep_alive(server: LocalServer) -> None:
    """The first request on a connection is answered, the second finds it closed."""
    server.faults = "stale-keep-alive"
    async with RawConnection(server) as connection:
        connection.send_get(connection="keep-alive")
        assert (await connection.read(until=b'"has_more":true}')).line == b"HTTP/1.1 200 OK"
        connection.send_get()
        assert (await connection.read()).raw == b""


async def test_headers_cut(server: LocalServer) -> None:
    """The last header is unfinished."""
    received = await receive(server, "headers-cut")
    assert received.line == b"HTTP/1.1 200 OK"
    assert b"\r\n\r\n" not in received.raw


async def test_body_short(server: LocalServer, correct: bytes) -> None:
    """Content-Length is that of the whole body; half of it comes."""
    received = await receive(server, "body-short")
    assert received.length == len(correct)
    assert received.body == correct[: len(correct) // 2]


async def test_chunked_cut(server: LocalServer, correct: bytes) -> None:
    """The empty chunk that ends a body is missing."""
    received = await receive(server, "chunked-cut")
    assert ("transfer-encoding", "chunked") in received.headers
    assert received.chunks == [correct[: len(correct) // 2]]


async def test_close_delimited_cut(server: LocalServer, correct: bytes) -> None:
    """The headers hold no length, so they do not show that half is missing."""
    received = await receive(server, "close-delimited-cut")
    assert ("connection", "close") in received.headers
    assert not {"content-length", "transfer-encoding"} & dict(received.headers).keys()
    assert received.body == correct[: len(correct) // 2]


async def test_gzip_cut(server: LocalServer, correct: bytes) -> None:
    """Content-Length is correct, and the gzip stream is incomplete."""
    received = await receive(server, "gzip-cut")
    assert ("content-encoding", "gzip") in received.headers
    assert received.length == len(received.body)
    unpacker = zlib.decompressobj(31)
    text = unpacker.decompress(received.body)
    assert correct.startswith(text)
    assert not unpacker.eof


async def test_bad_gzip(server: LocalServer) -> None:
    """A valid gzip header is followed by an invalid block."""
    received = await receive(server, "bad-gzip")
    assert received.body.startswith(b"\x1f\x8b\x08")
    with pytest.raises(zlib.error):
        zlib.decompress(received.body, wbits=31)


async def test_unknown_encoding(server: LocalServer, correct: bytes) -> None:
    """The body is reversed, and the header names that encoding."""
    received = await receive(server, "unknown-encoding")
    assert ("content-encoding", "reversed") in received.headers
    assert received.body[::-1] == correct


async def test_length_and_chunked(server: LocalServer, correct: bytes) -> None:
    """Both headers are present, and the body is chunked."""
    received = await receive(server, "length-and-chunked")
    assert received.length == len(correct)
    assert ("transfer-encoding", "chunked") in received.headers
    assert received.chunks == [correct, b""]


async def test_two_lengths(server: LocalServer, correct: bytes) -> None:
    """The response has two different lengths."""
    received = await receive(server, "two-lengths")
    lengths = [value for name, value in received.headers if name == "content-length"]
    assert lengths == [str(len(correct)), str(len(correct) + 1)]


async def test_huge_header(server: LocalServer, correct: bytes) -> None:
    """One header has 16 KiB, and the body is correct."""
    received = await receive(server, "huge-header")
    assert max(len(value) for _, value in received.headers) == 16_384
    assert received.body == correct


async def test_many_headers(server: LocalServer, correct: bytes) -> None:
    """The response has more than 200 headers, and the body is correct."""
    received = await receive(server, "many-headers")
    assert len(received.headers) > 200
    assert received.body == correct


async def test_garbage_status(server: LocalServer) -> None:
    """The status is not a number."""
    assert (await receive(server, "garbage-status")).line == b"HTTP/1.1 two hundred"


async def test_bad_chunk_size(server: LocalServer) -> None:
    """The size of the chunk is not a number."""
    received = await receive(server, "bad-chunk-size")
    assert ("transfer-encoding", "chunked") in received.headers
    assert received.body.startswith(b"zz\r\n")


async def test_endless_continue(server: LocalServer) -> None:
    """Interim responses follow each other, and no final one."""
    received = await receive(server, "endless-continue", most=75)
    assert received.raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\n" * 3)


async def test_slow_body(server: LocalServer, correct: bytes) -> None:
    """The body comes a byte at a time."""
    server.faults = "slow-body"
    async with RawConnection(server) as connection:
        connection.send_get()
        received = await connection.read(until=b"1\r\nb\r\n")
    assert received.chunks[:4] == [b"{", b'"', b"o", b"b"]
    assert correct.startswith(b"".join(received.chunks))


async def test_slow_body_has_no_end(record: Build) -> None:
    """Spaces follow the body, however short it is."""
    async with LocalServer(records=[record("c1", 0)], faults="slow-body") as server:
        async with RawConnection(server) as connection:
            connection.send_get()
            received = await connection.read(until=b"1\r\n}\r\n1\r\n \r\n1\r\n \r\n")
        assert json.loads(b"".join(received.chunks))["data"] == []


async def test_stalled_body(server: LocalServer, correct: bytes) -> None:
    """Half of the body comes; then nothing until the server closes."""
    server.faults = "stalled-body"
    async with RawConnection(server) as connection:
        connection.send_get()
        received = await connection.read(until=correct[: len(correct) // 2])
        assert received.length == len(correct)
        async with asyncio.timeout(1):
            await server.aclose()
        assert (await connection.read()).raw == b""


async def test_bomb(server: LocalServer, correct: bytes) -> None:
    """At most 1 MiB expands to the page and 300 MiB of spaces."""
    received = await receive(server, "bomb")
    assert len(received.raw) < MIB
    unpacker, length = zlib.decompressobj(31), 0
    packed = b"".join(received.chunks)
    start = text = unpacker.decompress(packed, MIB)
    while text:
        length += len(text)
        text = unpacker.decompress(unpacker.unconsumed_tail, MIB)
    assert json.loads(start) == json.loads(correct)
    assert length == len(correct) + 300 * MIB
    assert unpacker.eof
    assert received.chunks[-1] == b""


async def test_endless_body(server: LocalServer, correct: bytes) -> None:
    """Spaces without end follow the page."""
    received = await receive(server, "endless-body", most=8 * MIB)
    assert received.chunks[0] == correct
    assert set(received.chunks[1:-1]) == {b" " * 65_536}


async def test_too_large(server: LocalServer, correct: bytes) -> None:
    """The body is a valid page of the length in its header."""
    received = await receive(server, "too-large")
    assert received.length == len(received.body) == len(correct) + 256 * MIB
    assert received.body.startswith(correct)


async def test_tiny_chunks(server: LocalServer, correct: bytes) -> None:
    """About a million chunks of one byte hold the page."""
    received = await receive(server, "tiny-chunks")
    *tiny, last = received.body.removesuffix(b"\r\n").split(b"\r\n1\r\n")
    assert 980_000 < len(tiny) <= 1_000_000
    assert {len(chunk) for chunk in tiny[1:]} == {1}
    assert tiny[0] == b"1\r\n{"
    assert b"".join(tiny)[3:].rstrip() == correct
    assert last == b" \r\n0\r\n"


async def test_late_response(server: LocalServer, correct: bytes) -> None:
    """An unrequested response follows the correct one, and the connection stays usable."""
    server.faults = "late-response:1"
    async with RawConnection(server) as connection:
        connection.send_get(connection="keep-alive")
        received = await connection.read(until=b'-stray-0","has_more":false}')
        assert received.body[: received.length] == correct
        late = Received(received.body[received.length :])
        assert late.line == b"HTTP/1.1 200 OK"
        assert [item["id"] for item in json.loads(late.body)["data"]] == ["chatcmpl-stray-0"]
        connection.send_get()
        assert (await connection.read()).body == correct


async def test_broken_responses_carry_the_headers_of_the_api(server: LocalServer) -> None:
    """The headers of the API are correct."""
    received = dict((await receive(server, "body-short")).headers)
    assert received["x-request-id"].startswith("req_")
    assert received["content-type"] == "application/json"


async def test_a_client_that_is_gone() -> None:
    """A connection that is lost before the response raises, and nothing is written."""
    request = make_mocked_request("GET", "/")
    request.protocol.transport = None
    with pytest.raises(ConnectionResetError):
        await broken.RawResponse(lambda _: pytest.fail("it was written"), b"").prepare(request)


# --- in the response ------------------------------------------------------------------------------

NO_HEADERS: dict[str, str] = {}


@pytest.mark.parametrize(
    ("fault", "status", "code", "headers"),
    [
        ("bad-request", 400, "invalid_value", NO_HEADERS),
        ("unprocessable", 422, None, NO_HEADERS),
        ("unauthorized", 401, "invalid_api_key", NO_HEADERS),
        ("forbidden", 403, None, NO_HEADERS),
        ("not-found", 404, "not_found", NO_HEADERS),
        ("timeout-408", 408, None, NO_HEADERS),
        ("conflict", 409, None, NO_HEADERS),
        ("too-early", 425, None, NO_HEADERS),
        ("rate-limited", 429, "rate_limit_exceeded", NO_HEADERS),
        ("server-error", 500, None, NO_HEADERS),
        ("unavailable", 503, None, NO_HEADERS),
        ("quota", 429, "insufficient_quota", NO_HEADERS),
        ("retry-after-seconds", 429, None, {"Retry-After": "1"}),
        ("retry-after-past", 503, None, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        ("retry-after-ms", 429, None, {"Retry-After": "30", "Retry-After-Ms": "20"}),
        ("retry-after-nonsense", 429, None, {"Retry-After": "inf"}),
        ("should-retry-true", 400, None, {"X-Should-Retry": "true"}),
        ("should-retry-false", 503, None, {"X-Should-Retry": "false"}),
        ("error-in-200", 200, None, NO_HEADERS),
    ],
)
async def test_error_answers(
    server: LocalServer, ask: Ask, fault: str, status: int, code: str | None, headers: Any
) -> None:
    """The response has the status, the code in the API's error body, and the headers."""
    server.faults = fault
    answer = await ask(PATH)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.error["message"]
    sent = {name.title(): value for name, value in answer.headers.items()}
    assert {name: sent.get(name) for name in ["Retry-After", "X-Should-Retry", *headers]} == {
        "Retry-After": None,
        "X-Should-Retry": None,
    } | headers


@pytest.mark.parametrize(
    ("fault", "status", "kind", "start"),
    [
        ("no-content", 204, None, b""),
        ("empty-body", 200, "application/json", b""),
        ("html", 200, "text/html; charset=utf-8", b"<!doctype html>"),
        ("bad-gateway-html", 502, "text/html; charset=utf-8", b"<!doctype html>"),
    ],
)
async def test_answers_that_are_no_json(
    server: LocalServer, ask: Ask, fault: str, status: int, kind: str | None, start: bytes
) -> None:
    """The body is empty, or the HTML of a gateway."""
    server.faults = fault
    answer = await ask(PATH)
    assert (answer.status, answer.headers.get("Content-Type")) == (status, kind)
    assert answer.body.startswith(start)
    assert bool(answer.body) == bool(start)


@pytest.mark.parametrize(
    ("fault", "host"), [("redirect", ""), ("redirect-elsewhere", "https://elsewhere.example")]
)
async def test_redirects(server: LocalServer, fault: str, host: str) -> None:
    """The path and the query stay; the other host cannot exist."""
    received = await receive(server, fault)
    assert received.line.split()[1] == b"307"
    assert dict(received.headers)["location"] == f"{host}/v1{PATH}?limit=2"


async def test_retry_after_date(server: LocalServer, ask: Ask) -> None:
    """The date is at most 2 s after the Date of the response."""
    server.faults = "retry-after-date"
    answer = await ask(PATH)
    came, again = (parsedate_to_datetime(answer.headers[name]) for name in ("Date", "Retry-After"))
    assert answer.status == 503
    assert 0 < (again - came).total_seconds() <= 2


# --- in the page ----------------------------------------------------------------------------------


async def page(
    server: LocalServer, ask: Ask, fault: str, **query: Any
) -> tuple[Answer, dict[str, Any], dict[str, Any]]:
    """Return the response under a fault, its JSON, and the JSON of the correct one."""
    query = {"limit": 2, **query}
    server.faults = ()
    correct = (await ask(PATH, **query)).json
    server.faults = fault
    answer = await ask(PATH, **query)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    return answer, json.loads(answer.body.decode("utf-8-sig", "surrogateescape")), correct


async def test_bad_utf8(server: LocalServer, ask: Ask) -> None:
    """A text holds a byte that is not UTF-8."""
    answer, _, _ = await page(server, ask, "bad-utf8")
    assert b'"caf\xe9"' in answer.body


async def test_bom(server: LocalServer, ask: Ask) -> None:
    """The correct page follows the byte order mark."""
    answer, found, correct = await page(server, ask, "bom")
    assert answer.body.startswith(b"\xef\xbb\xbf{")
    assert found == correct


async def test_nan(server: LocalServer, ask: Ask) -> None:
    """The page holds NaN, which JSON does not have."""
    answer, _, _ = await page(server, ask, "nan")
    assert b'"score":NaN' in answer.body


async def test_lone_surrogate(server: LocalServer, ask: Ask) -> None:
    """A text holds the escape of one half of a surrogate pair."""
    answer, _, _ = await page(server, ask, "lone-surrogate")
    assert b'"half \\ud83d"' in answer.body


async def test_deep_nesting(server: LocalServer, ask: Ask) -> None:
    """A field has 100,000 nested arrays."""
    server.faults = "deep-nesting"
    answer = await ask(PATH)
    assert b'"deep":' + b"[" * 100_000 + b"]" * 100_000 in answer.body


async def test_missing_field(server: LocalServer, ask: Ask) -> None:
    """The first item has no id, and nothing else is missing."""
    _, found, correct = await page(server, ask, "missing-field")
    del correct["data"][0]["id"]
    assert found == correct


async def test_wrong_type(server: LocalServer, ask: Ask) -> None:
    """The first item's id is a number, and nothing else is wrong."""
    _, found, correct = await page(server, ask, "wrong-type")
    correct["data"][0]["id"] = 7
    assert found == correct


async def test_unknown_fields(server: LocalServer, ask: Ask) -> None:
    """The first item has an unknown field, role and part."""
    _, found, correct = await page(server, ask, "unknown-fields")
    first = found["data"][0]
    assert first.keys() - correct["data"][0].keys() == {"mood", "content_parts"}
    assert (first["role"], first["content_parts"][0]["type"]) == ("narrator", "hologram")


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        ("more-without-data", {"data": [], "first_id": None, "last_id": None}),
        ("null-last-id", {"last_id": None}),
        ("wrong-last-id", {"last_id": "chatcmpl-c1-1-other"}),
    ],
)
async def test_cursors_that_contradict(
    server: LocalServer, ask: Ask, fault: str, changes: dict[str, Any]
) -> None:
    """Only the cursors are wrong; has_more is still true."""
    _, found, correct = await page(server, ask, fault)
    assert found == correct | changes
    assert found["has_more"] is True


async def test_no_has_more(server: LocalServer, ask: Ask) -> None:
    """The member is missing, not false."""
    _, found, correct = await page(server, ask, "no-has-more")
    assert found == {name: value for name, value in correct.items() if name != "has_more"}


async def test_set_cookie(server: LocalServer, ask: Ask) -> None:
    """The correct response has a cookie."""
    answer, found, correct = await page(server, ask, "set-cookie")
    assert answer.headers["Set-Cookie"].startswith("rehearsal=")
    assert found == correct


async def test_repeated_cursor(server: LocalServer, ask: Ask) -> None:
    """The first page comes for every `after`, with the requested limit."""
    server.faults = "repeated-cursor"
    for cursor in ("chatcmpl-c1-1", "chatcmpl-c1-3"):
        answer = await ask(PATH, limit=2, after=cursor)
        assert answer.ids == ["chatcmpl-c1-0", "chatcmpl-c1-1"]


async def test_cursor_cycle(server: LocalServer, ask: Ask) -> None:
    """The third page is the first, even where the second was the last."""
    server.faults = "cursor-cycle"
    cursor: dict[str, str] = {}
    for ids in ([0, 1, 2], [3, 4], [0, 1, 2], [3, 4]):
        answer = await ask(PATH, limit=3, **cursor)
        assert answer.ids == [f"chatcmpl-c1-{n}" for n in ids]
        assert answer.json["has_more"] is True
        cursor = {"after": answer.json["last_id"]}


@pytest.mark.parametrize(("order", "ids"), [("asc", [1, 2, 3]), ("desc", [1, 0])])
async def test_overlap(server: LocalServer, ask: Ask, order: str, ids: list[int]) -> None:
    """The page begins with the message that the cursor names, in either order."""
    _, found, correct = await page(server, ask, "overlap", after="chatcmpl-c1-1", order=order)
    assert [item["id"] for item in found["data"]] == [f"chatcmpl-c1-{n}" for n in ids]
    assert found["first_id"] == "chatcmpl-c1-1"
    assert found["last_id"] == correct["last_id"]


@pytest.mark.parametrize(("order", "ids"), [("asc", [1, 2]), ("desc", [1, 0])])
async def test_inclusive_after(server: LocalServer, ask: Ask, order: str, ids: list[int]) -> None:
    """The page begins with the message that the cursor names, and is no longer for that."""
    server.faults = "inclusive-after"
    answer = await ask(PATH, limit=2, after="chatcmpl-c1-1", order=order)
    assert answer.ids == [f"chatcmpl-c1-{n}" for n in ids]
    assert (answer.json["last_id"], answer.json["has_more"]) == (answer.ids[-1], order == "asc")
    last = await ask(PATH, after="chatcmpl-c1-4")
    assert (last.ids, last.json["has_more"]) == (["chatcmpl-c1-4"], False)


async def test_overlap_at_the_end(server: LocalServer, ask: Ask) -> None:
    """After the last message the page holds that message again."""
    server.faults = "overlap"
    page = (await ask(PATH, after="chatcmpl-c1-4")).json
    assert (page["first_id"], page["last_id"]) == ("chatcmpl-c1-4", "chatcmpl-c1-4")


@pytest.mark.parametrize("fault", ["repeated-cursor", "cursor-cycle", "overlap", "inclusive-after"])
async def test_pagination_faults_spare_the_first_page(
    server: LocalServer, ask: Ask, fault: str
) -> None:
    """The fault does not affect, or count, a page without a cursor."""
    server.faults = f"{fault}:1"
    assert (await ask(PATH, limit=2)).ids == ["chatcmpl-c1-0", "chatcmpl-c1-1"]
    affected = await ask(PATH, limit=2, after="chatcmpl-c1-3")
    passed = await ask(PATH, limit=2, after="chatcmpl-c1-3")
    assert affected.ids != passed.ids == ["chatcmpl-c1-4"]


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_claim_here(fault: str) -> None:
    """A test or a row of a table above has the name of the fault."""
    source = Path(__file__).read_text("utf-8")
    assert f"def test_{fault.replace('-', '_')}(" in source or f'("{fault}", ' in source


@pytest.mark.parametrize("fault", sorted(broken.FAULTS.keys() - {"stale-keep-alive"}))
async def test_closing_takes_less_than_a_second(
    server: LocalServer, arrived: Arrived, fault: str
) -> None:
    """No fault delays closing, whenever the server closes."""
    server.faults = fault
    async with RawConnection(server) as connection:
        connection.send_get()
        await arrived(server)
        async with asyncio.timeout(1):
            await server.aclose()


@pytest.mark.parametrize(
    "fault", ["endless-continue", "slow-body", "stalled-body", "endless-body", "bomb"]
)
async def test_no_task_is_left_when_the_client_is_gone(server: LocalServer, fault: str) -> None:
    """No task of the server outlives the connection."""
    server.faults = fault
    before = asyncio.all_tasks()
    async with RawConnection(server) as connection:
        connection.send_get()
        assert (await connection.read(most=1)).raw
        assert asyncio.all_tasks() > before
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - before:
            await asyncio.wait(asyncio.all_tasks() - before)
