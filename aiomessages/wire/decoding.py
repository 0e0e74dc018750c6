"""Decoding: the bytes of a page become its values, without loss.

Nothing here performs I/O. A page is first decoded strictly, in one pass. If that fails, each item
is decoded strictly by itself, and only the odd ones are read by `lenient`, so that an odd item
neither fails the others nor makes them slower.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Generic, Self, TypeVar

import msgspec
from msgspec import DecodeError, Raw, Struct, ValidationError

from aiomessages.models import Json, ReceivedMessage, StoredCompletion
from aiomessages.models.as_sent import Kept
from aiomessages.observe.logs import log
from aiomessages.pages import CompletionPage, MessagePage, Page, RawPage

from . import lenient
from .page_content import Envelope

ItemT = TypeVar("ItemT")

# --- codecs ---------------------------------------------------------------------------------------


class PageCodec(Generic[ItemT]):
    """Decode pages of one kind of item; an item of any shape is read if it has an id.

    `decode` raises msgspec.ValidationError for JSON of the wrong shape. For a body that is not JSON
    it raises what msgspec raises: DecodeError, UnicodeDecodeError, RecursionError.
    """

    def __init__(
        self, page_class: type[Page[ItemT]], read_lenient: Callable[[dict[str, Json]], ItemT]
    ) -> None:
        self.page_class = page_class
        self._read_lenient = read_lenient

    def decode(self, body: bytes) -> tuple[Envelope[ItemT], list[str]]:
        """Return the page and the ids of its items."""
        page, _ = despite_lone_surrogates(self._decode, body)
        return page, [item.id for item in page.data or ()]  # type: ignore[attr-defined]  # each item has one

    def _decode(self, body: bytes) -> Envelope[ItemT]:
        page = _RAW_PAGE.decode(body)
        return _with_items(page, self._read_items(page.data or []))

    def _read_items(self, sent: list[Raw]) -> list[ItemT]:
        items = [self._read(item, n) for n, item in enumerate(sent)]
        _log_mismatches(items, len(sent))
        return items

    def _read(self, item: Raw, n: int) -> ItemT:
        try:
            return self._read_lenient(read_object(item))
        except ValidationError as error:
            what, _, inner = str(error).partition(" - at `$")
            raise ValidationError(f"{what} - at `$.data[{n}]{inner.rstrip('`')}`") from None


class StrictCodec(PageCodec[ItemT]):
    """Decode a page in one pass; if that fails, decode each item by itself, since few are odd.

    After a page with odd items the next page is decoded item by item at once, since most servers do
    on every page what they do on one. Each list, or each run over many lists, therefore has a codec
    of its own, from `fresh()`.
    """

    def __init__(
        self,
        page_class: type[Page[ItemT]],
        read_lenient: Callable[[dict[str, Json]], ItemT],
        strict: type[ItemT],
    ) -> None:
        super().__init__(page_class, read_lenient)
        page: type[Envelope[ItemT]] = Envelope[strict]  # type: ignore[valid-type]
        self._page = msgspec.json.Decoder(page)
        self._item = msgspec.json.Decoder(strict)
        self._expects_odd = False

    def fresh(self) -> Self:
        """Return a codec of the same kind that has seen no page yet."""
        made = object.__new__(type(self))  # as copy() does it, in a tenth of its time
        made.__dict__.update(self.__dict__)
        return made

    def _decode(self, body: bytes) -> Envelope[ItemT]:
        if not self._expects_odd:
            try:
                return self._page.decode(body)
            except ValidationError:
                pass  # some items are odd
        return super()._decode(body)

    def _read_items(self, sent: list[Raw]) -> list[ItemT]:
        items, odd, decode = [], [], self._item.decode
        for n, item in enumerate(sent):
            try:
                items.append(decode(item))
            except ValidationError:
                odd.append(self._read(item, n))
                items.append(odd[-1])
        _log_mismatches(odd, len(sent))
        self._expects_odd = bool(odd)
        return items


def read_object(item: bytes | Raw) -> dict[str, Json]:
    """Return the fields of an item of any shape; a number that is too long becomes a float."""
    try:
        return _OBJECT.decode(item)
    except ValidationError as error:
        if "out of range" not in str(error):
            raise
    # A number has more digits than Python converts to an int: 4,300 by default.
    whole = bytes(msgspec.json.decode(item, type=Raw))  # json.loads accepts more than JSON
    wire: dict[str, Json] = json.loads(_without_lone_surrogates(whole), parse_int=_number)
    return wire


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _log_mismatches(items: Sequence[object], count: int) -> None:
    """Log the number of items with mismatches, of a page of `count` items."""
    odd = sum(isinstance(item, Kept) and bool(item.mismatches) for item in items)
    if odd:
        log.warning(
            "%d of %d items have a field of the wrong type: see their mismatches", odd, count
        )


class RawCodec:
    """Decode only the envelope of a page: its items are the exact bytes that the server sent.

    `decode` raises the same errors as that of PageCodec.
    """

    page_class = RawPage

    def decode(self, body: bytes) -> tuple[Envelope[bytes], list[str]]:
        """Return the page and the ids of its items."""
        if not body.isascii():
            body.decode()  # the decoder of the envelope skips the items, also invalid UTF-8 in them
        (page, ids), readable = despite_lone_surrogates(self._decode, body)
        return _with_items(page, sent_items(body, readable, page.data or [])), ids

    def _decode(self, body: bytes) -> tuple[Envelope[Raw], list[str]]:
        return _RAW_PAGE.decode(body), [item.id for item in _ID_PAGE.decode(body).data or ()]


Codec = PageCodec[Any] | RawCodec
"""A decoder of the bodies of pages."""


def _with_items(page: Envelope[Any], items: list[ItemT]) -> Envelope[ItemT]:
    return msgspec.structs.replace(page, data=items)


def sent_items(body: bytes, readable: bytes, items: list[Raw]) -> list[bytes]:
    """Copy the items out of the body, as they were sent; no item keeps the body in memory."""
    if body is readable:
        # A join copies an item in two thirds of the time of bytes(), which looks for a method.
        return list(map(b"".join, zip(items, strict=True)))
    sent, end = [], 0
    for item in items:
        start = readable.index(item, end)  # both bodies have the same length and offsets
        end = start + len(memoryview(item))
        sent.append(body[start:end])
    return sent


ReadT = TypeVar("ReadT")
_ESCAPE: Final = (  # compiled for the first body that needs it
    rb"(?s)\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a valid pair
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def despite_lone_surrogates(read: Callable[[bytes], ReadT], body: bytes) -> tuple[ReadT, bytes]:
    """Read a body; if a lone surrogate (half an emoji) prevents it, replace that by U+FFFD.

    Return the result, and the body that it was read from.
    """
    try:
        return read(body), body
    except ValidationError:
        raise
    except (DecodeError, UnicodeDecodeError):
        repaired = _without_lone_surrogates(body)
        if repaired == body:
            raise
        return read(repaired), repaired


def _without_lone_surrogates(body: bytes) -> bytes:
    return re.sub(_ESCAPE, lambda found: rb"\ufffd" if found[1] else found[0], body)


def decode_completion(body: bytes) -> tuple[str, StoredCompletion]:
    """Read the body of one stored completion, and its id. Raise the errors of PageCodec.decode."""
    wire, _ = despite_lone_surrogates(read_object, body)
    completion = lenient.read_completion(wire)
    _log_mismatches([completion], 1)
    return completion.id, completion


def decode_raw_completion(body: bytes) -> tuple[str, bytes]:
    """Do the same without reading more than the id: the completion is the body itself."""
    if not body.isascii():
        body.decode()  # see RawCodec
    frame, _ = despite_lone_surrogates(_FRAME.decode, body)
    return frame.id, body


class _Frame(Struct):
    id: Annotated[str, msgspec.Meta(min_length=1)]


_FRAME: Final = msgspec.json.Decoder(_Frame)

# A number beyond the range of float (1e400) becomes infinite, as in json.loads, and no error.
_OBJECT: Final = msgspec.json.Decoder(dict[str, Json], float_hook=float)
_RAW_PAGE: Final = msgspec.json.Decoder(Envelope[Raw])
_ID_PAGE: Final = msgspec.json.Decoder(Envelope[lenient.Id])

MESSAGES: Final = StrictCodec(MessagePage, lenient.read_message, ReceivedMessage)
COMPLETIONS: Final = PageCodec(CompletionPage, lenient.read_completion)
RAW: Final = RawCodec()
