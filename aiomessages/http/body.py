"""Read the body of a response: complete and decompressed, or the error that it has."""

import contextlib
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiMapping

from aiomessages.errors import APIResponseError, DecodeError, ResponseTooLargeError

from .compression import Decompressor, decompressor_for
from .failures import BodyTimeoutError

if TYPE_CHECKING:
    import asyncio

    from aiohttp.client_proto import ResponseHandler


class _TooLargeError(Exception):
    """The body has more bytes than the limit."""


def check_length(headers: MultiMapping[str]) -> None:
    """Raise HttpProcessingError for a second Content-Length.

    aiohttp's parser in pure Python takes the first one; RFC 9112, section 6.3, requires an error.
    """
    if len(headers.getall(hdrs.CONTENT_LENGTH, ())) > 1:
        raise HttpProcessingError(message="Duplicate Content-Length")


async def read_body(
    content: aiohttp.StreamReader,
    headers: Mapping[str, str],
    max_bytes: int,
    protocol: "ResponseHandler | None",
) -> tuple[bytes, APIResponseError | None]:
    """Return the decompressed body, of at most `max_bytes`; or no bytes and the error that it has.

    `protocol` is that of the connection on which the rest arrives, or None if all has arrived.
    Raises aiohttp's errors, and BodyTimeoutError for a timeout.
    """
    try:
        if protocol is None:
            return await _read_all(content, headers, max_bytes), None
        with _failing_when_lost(content, protocol.closed):
            return await _read_all(content, headers, max_bytes), None
    except (zlib.error, _TooLargeError) as error:
        return b"", _flaw_of(error, max_bytes)
    except TimeoutError as error:
        raise BodyTimeoutError(error) from None


def decompress_body(
    data: bytes, headers: Mapping[str, str], max_bytes: int
) -> tuple[bytes, APIResponseError | None]:
    """Decompress and bound a body that is already in memory; return what `read_body` returns."""
    decompressor = decompressor_for(headers)
    try:
        if decompressor is not None:
            data = decompressor.feed(data, max_bytes + 1)
        _check_size(data, max_bytes)
        _check_end(decompressor)
    except (zlib.error, _TooLargeError) as error:
        return b"", _flaw_of(error, max_bytes)
    return data, None


def _flaw_of(error: Exception, max_bytes: int) -> APIResponseError:
    if isinstance(error, _TooLargeError):
        return ResponseTooLargeError(f"the body of the response is larger than {max_bytes} bytes")
    return DecodeError("the body of the response is badly compressed, or cut short")


async def _read_all(
    content: aiohttp.StreamReader, headers: Mapping[str, str], max_bytes: int
) -> bytes:
    """Return the body; raise _TooLargeError at the limit, zlib.error for damaged data."""
    decompressor = decompressor_for(headers)
    data = await content.readany()
    if content.at_eof() and decompressor is None and len(data) <= max_bytes:
        return data
    body = bytearray()
    while True:
        left = max_bytes + 1 - len(body)
        body += data if decompressor is None else decompressor.feed(data, left)
        _check_size(body, max_bytes)
        if content.at_eof():
            break
        data = await content.readany()
    _check_end(decompressor)
    return bytes(body)


def _check_size(body: bytes | bytearray, max_bytes: int) -> None:
    if len(body) > max_bytes:
        raise _TooLargeError


def _check_end(decompressor: Decompressor | None) -> None:
    if decompressor is not None and not decompressor.complete:
        raise zlib.error("cut short")


@contextlib.contextmanager
def _failing_when_lost(
    content: aiohttp.StreamReader, closed: "asyncio.Future[None] | None"
) -> Iterator[None]:
    """Fail a pending read when the connection closes; `closed` is None once it has.

    aiohttp leaves a reader waiting in two cases: its parser in C meets a broken chunk, or another
    task closes the session.
    """

    def fail(_: object = None) -> None:
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))

    if closed is None:
        fail()
        yield
        return
    closed.remove_done_callback(_retrieve_exception)  # once a connection, however many reads
    closed.add_done_callback(_retrieve_exception)
    closed.add_done_callback(fail)
    try:
        yield
    finally:
        closed.remove_done_callback(fail)


def _retrieve_exception(closed: "asyncio.Future[None]") -> None:
    """Read the exception; asyncio logs one that nobody read."""
    closed.exception()
