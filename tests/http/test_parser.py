"""Plain responses: they are parsed as aiohttp's parser does, and no others are parsed."""

import asyncio
import inspect
from collections.abc import Mapping

import pytest
from aiohttp import ClientPayloadError, ClientSession
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.http.shortcut import parser
from aiomessages.http.shortcut.parser import PlainResponse, parse_plain

BODY = b'{"data":[]}'
SIZED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id:\t req_1\r\n"
    b"Connection: Keep-Alive\r\nContent-Length: 11\r\n\r\n" + BODY
)
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nx-request-id: req_1\r\ntransfer-encoding: Chunked\r\n\r\n"
    b'5\r\n{"dat\r\n006\r\na":[]}\r\n0\r\n\r\n'
)


@pytest.mark.parametrize("answer", [SIZED, CHUNKED], ids=["sized", "chunked"])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_whole_answer_is_read(answer: bytes, kind: type) -> None:
    """An answer of either framing gives its headers, whose names ignore case, and its body."""
    plain = parse_plain(kind(answer))
    assert isinstance(plain, PlainResponse)
    assert plain.headers["X-REQUEST-ID"] == "req_1"
    assert type(plain.body) is bytes
    assert plain.body == BODY


def test_a_body_may_be_empty() -> None:
    """An empty body is valid in either framing."""
    for framing in (b"content-length: 0\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"):
        plain = parse_plain(b"HTTP/1.1 200 OK\r\n" + framing)
        assert isinstance(plain, PlainResponse)
        assert plain.body == b""


def test_an_empty_field_leaves_the_next_its_name() -> None:
    """A header without a value is valid, and takes nothing of the next one."""
    plain = parse_plain(SIZED.replace(b"X-Request-Id", b"x-empty:\r\nX-Request-Id"))
    assert isinstance(plain, PlainResponse)
    assert (plain.headers["x-empty"], plain.headers["x-request-id"]) == ("", "req_1")


@pytest.mark.parametrize("answer", [SIZED, CHUNKED], ids=["sized", "chunked"])
def test_a_bound_of_the_body(answer: bytes) -> None:
    """A body that is larger than the limit is refused with the first bytes that show it."""
    head = answer.index(b"\r\n\r\n") + 4
    sent = len(answer) - head if answer is CHUNKED else len(BODY)
    assert isinstance(parse_plain(answer, sent), PlainResponse)
    if answer is SIZED:
        assert parse_plain(answer[:head], sent - 1) is None
    assert parse_plain(answer[: head + 11], 10) is None


@pytest.mark.parametrize("answer", [SIZED, CHUNKED], ids=["sized", "chunked"])
def test_a_body_that_is_still_coming_in(answer: bytes) -> None:
    """For an incomplete body, the number of bytes before the next try is returned."""
    head = answer.index(b"\r\n\r\n") + 4
    for here in range(head, len(answer)):
        wanted = parse_plain(answer[:here])
        assert isinstance(wanted, int)
        assert here < wanted <= len(answer)


LESS_THAN_PLAIN = {
    "nothing": b"",
    "half a head": SIZED[:40],
    "another status": SIZED.replace(b"200", b"404"),
    "another version": SIZED.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no headers": b"HTTP/1.1 200 OK\r\n\r\n",
    "a folded line": SIZED.replace(b"X-Request-Id:", b"X-Request-Id: a\r\n "),
    "a space before the colon": SIZED.replace(b"X-Request-Id:", b"X-Request-Id :"),
    "a letter outside ASCII": SIZED.replace(b"req_1", b"req_\xe9"),
    "a control character": SIZED.replace(b"req_1", b"req_\x01"),
    "a bare line feed": SIZED.replace(b"req_1\r\n", b"req_1\n"),
    "a space at the end": SIZED.replace(b"req_1", b"req_1 "),
    "101 headers": SIZED.replace(b"Content-Type", b"x: y\r\n" * 97 + b"Content-Type"),
    "a long head": SIZED.replace(b"req_1", b"r" * 8190),
    "no framing": SIZED.replace(b"Content-Length", b"Content-Size"),
    "two lengths": SIZED.replace(b"Content-Type", b"Content-Length: 11\r\nContent-Type"),
    "both framings": SIZED.replace(b"Content-Type", b"Transfer-Encoding: chunked\r\nContent-Type"),
    "another coding": CHUNKED.replace(b"Chunked", b"gzip, chunked"),
    "two codings": CHUNKED.replace(b"x-req", b"transfer-encoding: chunked\r\nx-req"),
    "no number": SIZED.replace(b": 11", b": +11"),
    "a long body": SIZED.replace(b": 11", b": 1048577"),
    "two lengths behind an empty field": SIZED.replace(
        b"Content-Type", b"A:\r\nContent-Length: 1\r\nB"
    ),
    "two framings behind an empty field": SIZED.replace(
        b"Content-Type", b"A:\r\nTransfer-Encoding: chunked\r\nB"
    ),
    "closed behind an empty field": SIZED.replace(b"Content-Type", b"A:\r\nConnection: close\r\nB"),
    "closed in a second field": SIZED.replace(b"Content-L", b"Connection: close\r\nContent-L"),
    "closed by a proxy": SIZED.replace(b"Content-Type", b"Proxy-Connection: close\r\nContent-Type"),
    "an old upgrade": SIZED.replace(b"Content-Type", b"Sec-WebSocket-Key1: a\r\nContent-Type"),
    "a connection that is closed": SIZED.replace(b"Keep-Alive", b"close"),
    "something behind a sized body": SIZED + b"\n",
    "something behind a chunked body": CHUNKED + b"\n",
    "no size of a chunk": CHUNKED.replace(b"006", b"zz"),
    "an extension of a chunk": CHUNKED.replace(b"006", b"006;a=b"),
    "a chunk that is longer": CHUNKED.replace(b"006", b"005"),
    "a trailer": CHUNKED.replace(b"\r\n0\r\n", b"\r\n0\r\na: b\r\n"),
    "no end of a size": CHUNKED.replace(b"006\r\n", b"006\n"),
}


@pytest.mark.parametrize("answer", LESS_THAN_PLAIN.values(), ids=LESS_THAN_PLAIN.keys())
def test_a_response_that_is_not_plain_is_refused(answer: bytes) -> None:
    """A response that is not plain is refused at once, with no wait for the rest."""
    assert parse_plain(answer) is None


def test_many_chunks_are_left_to_another_parser() -> None:
    """A body in more chunks than MAX_CHUNKS, or larger than MAX_BODY, is refused."""
    head = CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 4]
    piece, end = b"1\r\nx\r\n", b"0\r\n\r\n"
    assert isinstance(parse_plain(head + piece * (parser.MAX_CHUNKS - 1) + end), PlainResponse)
    assert parse_plain(head + piece * parser.MAX_CHUNKS + end) is None
    large = b"%x\r\n" % parser.MAX_BODY + b" " * parser.MAX_BODY
    assert parse_plain(head + large) is None


def test_the_longest_head() -> None:
    """A head of MAX_HEAD bytes is parsed; no field of it exceeds aiohttp's limit."""
    start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: ", b"\r\n\r\n"
    padding = b"x" * (parser.MAX_HEAD - len(start) - len(end))
    assert isinstance(parse_plain(start + padding + end), PlainResponse)
    assert parse_plain(start + padding + b"x" + end) is None
    options = inspect.signature(ClientSession).parameters
    for limit in ("max_line_size", "max_field_size"):
        assert options[limit].default >= parser.MAX_HEAD


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n" + b" " * 20,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n          \r\n0\r\n\r\n",
    ],
    ids=["sized", "chunked"],
)
def test_the_longest_body(answer: bytes) -> None:
    """A body that is longer, as sent, than the caller's limit is refused."""
    assert isinstance(parse_plain(answer, 20), PlainResponse)
    assert parse_plain(answer, 19) is None


BYTES = st.sampled_from([b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b";", b"0", b"1", b"a", b"\x80"])
NAMES = st.sampled_from(
    [
        b"content-length: 11",
        b"Transfer-Encoding: chunked",
        b"connection: close",
        b"X: y",
        b"A:",
        b"A:\r\nB",
    ]
)


@given(
    st.sampled_from([SIZED, CHUNKED]),
    st.lists(st.tuples(st.integers(0, 140), st.integers(0, 4), BYTES | NAMES), max_size=3),
)
def test_nothing_is_read_that_aiohttp_reads_otherwise(
    answer: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    """A response that is parsed as plain is parsed to the same values by aiohttp."""
    for place, length, text in changes:
        answer = answer[:place] + text + answer[place + length :]
    plain = parse_plain(answer)
    if isinstance(plain, PlainResponse):
        assert asyncio.run(_as_aiohttp_reads(answer)) == (200, _lower(plain.headers), plain.body)
    elif isinstance(plain, int):
        asyncio.run(_may_go_on(answer))


def _lower(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers.items()]


async def _as_aiohttp_reads(answer: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    (message, content), *others = _parsed(answer)
    assert not others
    assert content.is_eof()
    assert not message.should_close
    return message.code, _lower(message.headers), await content.read()


async def _may_go_on(answer: bytes) -> None:
    ((message, content),) = _parsed(answer)
    assert message.code == 200
    assert not content.is_eof()
    assert content.exception() is None


def _parsed(answer: bytes) -> list:  # type: ignore[type-arg]  # of what aiohttp does not export
    loop = asyncio.get_running_loop()
    parser = HttpResponseParser(
        BaseProtocol(loop),
        loop,
        2**16,
        payload_exception=ClientPayloadError,
        read_until_eof=True,
        auto_decompress=False,
    )
    try:
        messages, upgraded, tail = parser.feed_data(answer)
    except HttpProcessingError as error:  # pragma: no cover
        raise AssertionError(f"{answer!r} is no answer to aiohttp") from error
    assert not upgraded
    assert not tail
    return list(messages)
