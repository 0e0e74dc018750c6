"""The body of an answer, as it comes in: whole and decompressed, or what is wrong with it."""

import contextlib
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiMapping

from aiomessages.errors import APIResponseError, DecodeError, ResponseTooLargeError

from .compression import Decompressor, TwiceDecompressor, decompressor_for
from .failures import BodyTimeoutError

if TYPE_CHECKING:
    import asyncio

    from aiohttp.client_proto import ResponseHandler


class _TooLargeError(Exception):
    """A body is larger than it may be."""


def check_length(headers: MultiMapping[str]) -> None:
    """Refuse two lengths of one body: aiohttp's parser in pure Python takes the first of them."""
    if len(headers.getall(hdrs.CONTENT_LENGTH, ())) > 1:
        raise HttpProcessingError(message="Duplicate Content-Length")


async def read_body(
    content: aiohttp.StreamReader,
    headers: Mapping[str, str],
    max_bytes: int,
    protocol: "ResponseHandler | None",
) -> tuple[bytes, APIResponseError | None]:
    """Read a body of at most `max_bytes`, decompressed; or none, and say what is wrong with it.

    `protocol` is that of the connection on which it is still coming in, None where all is here.
    Raises what aiohttp does, and BodyTimeoutError for a timeout.
    """
    try:
        if protocol is None:
            return await _read_whole(content, headers, max_bytes), None
        with _told_of_its_end(content, protocol.closed):
            return await _read_whole(content, headers, max_bytes), None
    except (zlib.error, _TooLargeError) as error:
        return b"", _flaw(error, max_bytes)
    except TimeoutError as error:
        raise BodyTimeoutError(error) from None


def whole_body(
    data: bytes, headers: Mapping[str, str], max_bytes: int
) -> tuple[bytes, APIResponseError | None]:
    """Do the same with a body that is here already."""
    undo = decompressor_for(headers)
    try:
        if undo is not None:
            data = undo.feed(data, max_bytes + 1)
        _check_size(data, max_bytes)
        _check_end(undo)
    except (zlib.error, _TooLargeError) as error:
        return b"", _flaw(error, max_bytes)
    return data, None


def _flaw(error: Exception, max_bytes: int) -> APIResponseError:
    if isinstance(error, _TooLargeError):
        return ResponseTooLargeError(f"the body of the answer is larger than {max_bytes} bytes")
    return DecodeError("the body of the answer is badly compressed, or cut short")


async def _read_whole(
    content: aiohttp.StreamReader, headers: Mapping[str, str], max_bytes: int
) -> bytes:
    """Read the body and no more of it than fits. Raises zlib.error and _TooLargeError."""
    undo = decompressor_for(headers)
    data = await content.readany()
    if content.at_eof() and undo is None and len(data) <= max_bytes:
        return data
    body = bytearray()
    while True:
        body += data if undo is None else undo.feed(data, max_bytes + 1 - len(body))
        _check_size(body, max_bytes)
        if content.at_eof():
            break
        data = await content.readany()
    _check_end(undo)
    return bytes(body)


def _check_size(body: bytes | bytearray, max_bytes: int) -> None:
    if len(body) > max_bytes:
        raise _TooLargeError


def _check_end(undo: Decompressor | TwiceDecompressor | None) -> None:
    if undo is not None and not undo.whole:
        raise zlib.error("cut short")


@contextlib.contextmanager
def _told_of_its_end(
    content: aiohttp.StreamReader, closed: "asyncio.Future[None] | None"
) -> Iterator[None]:
    """Fail a read whose connection is gone; `closed` is None where it already is.

    aiohttp leaves the reader waiting where a chunk is broken (its parser in C), and where somebody
    closes the session.
    """

    def tell(_: object = None) -> None:
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))

    if closed is None:
        tell()
        yield
        return
    closed.remove_done_callback(_take_note)  # once for a connection, however often it is read from
    closed.add_done_callback(_take_note)
    closed.add_done_callback(tell)
    try:
        yield
    finally:
        closed.remove_done_callback(tell)


def _take_note(closed: "asyncio.Future[None]") -> None:
    """Look at how a connection ended, or asyncio complains that nobody did."""
    closed.exception()
