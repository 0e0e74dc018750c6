"""From the bytes of a page to its values, and nothing of them lost.

Nothing here performs I/O. A page is decoded strictly first, in one pass. One that is refused is
taken apart into its items: each is decoded strictly by itself, and only the odd ones go to
`lenient`, so that they cost the good ones nothing and never fail them.
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


class _Id(Struct, gc=False):
    id: str


class PageCodec(Generic[ItemT]):
    """Decode the pages of one kind of item, of which nothing but the id has to be as it should.

    `decode` gives the page and the ids of its items. It raises msgspec.ValidationError for JSON of
    the wrong shape, and for what is not JSON whatever msgspec raises: DecodeError,
    UnicodeDecodeError, RecursionError.
    """

    def __init__(
        self, page_class: type[Page[ItemT]], read_odd: Callable[[dict[str, Json]], ItemT]
    ) -> None:
        self.page_class = page_class
        self._read_odd = read_odd

    def decode(self, body: bytes) -> tuple[Envelope[ItemT], list[str]]:
        """Return the page and the ids of its items."""
        page, _ = despite_lone_surrogates(self._decode, body)
        return page, [item.id for item in page.data or ()]  # type: ignore[attr-defined]  # each has one

    def _decode(self, body: bytes) -> Envelope[ItemT]:
        page = _RAW_PAGE.decode(body)
        return _refill(page, self._read_items(page.data or []))

    def _read_items(self, sent: list[Raw]) -> list[ItemT]:
        items = [self._read(item, n) for n, item in enumerate(sent)]
        _tell_of_mismatches(items, len(sent))
        return items

    def _read(self, item: Raw, n: int) -> ItemT:
        try:
            return self._read_odd(_object(item))
        except ValidationError as error:
            what, _, inner = str(error).partition(" - at `$")
            raise ValidationError(f"{what} - at `$.data[{n}]{inner.rstrip('`')}`") from None


class StrictCodec(PageCodec[ItemT]):
    """Decode a page in one pass; if it is refused, decode each item by itself, for few are odd.

    Behind a page with odd items the next one is read item by item at once: what a server does on
    one page it mostly does on each. So each list, or each run over many, has a codec of its own.
    """

    def __init__(
        self,
        page_class: type[Page[ItemT]],
        read_odd: Callable[[dict[str, Json]], ItemT],
        strict: type[ItemT],
    ) -> None:
        super().__init__(page_class, read_odd)
        page: type[Envelope[ItemT]] = Envelope[strict]  # type: ignore[valid-type]
        self._page = msgspec.json.Decoder(page)
        self._item = msgspec.json.Decoder(strict)
        self._expects_odd = False

    def fresh(self) -> Self:
        """Return one of the same kind, that learns from its own pages alone."""
        made = object.__new__(type(self))  # as copy() does it, in a tenth of its time
        made.__dict__.update(self.__dict__)
        return made

    def _decode(self, body: bytes) -> Envelope[ItemT]:
        if not self._expects_odd:
            try:
                return self._page.decode(body)
            except ValidationError:
                pass  # some are odd
        return super()._decode(body)

    def _read_items(self, sent: list[Raw]) -> list[ItemT]:
        items, odd, decode = [], [], self._item.decode
        for n, item in enumerate(sent):
            try:
                items.append(decode(item))
            except ValidationError:
                odd.append(self._read(item, n))
                items.append(odd[-1])
        _tell_of_mismatches(odd, len(sent))
        self._expects_odd = bool(odd)
        return items


def _object(item: bytes | Raw) -> dict[str, Json]:
    try:
        return _OBJECT.decode(item)
    except ValidationError as error:
        if "out of range" not in str(error):
            raise
    # It holds a number of more digits than Python makes an int of; 4,300 is its default.
    whole = bytes(msgspec.json.decode(item, type=Raw))  # json.loads lets more pass
    wire: dict[str, Json] = json.loads(_without_lone_surrogates(whole), parse_int=_number)
    return wire


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _tell_of_mismatches(items: Sequence[object], count: int) -> None:
    """Log how many items of so many hold something of another type than it should be."""
    odd = sum(isinstance(item, Kept) and bool(item.mismatches) for item in items)
    if odd:
        log.warning("%d of %d items hold a field of another type: see their mismatches", odd, count)


class RawCodec:
    """Decode a page's frame alone: its items are the exact bytes that the server sent.

    `decode` gives and raises what PageCodec's does.
    """

    page_class = RawPage

    def decode(self, body: bytes) -> tuple[Envelope[bytes], list[str]]:
        """Return the page and the ids of its items."""
        if not body.isascii():
            body.decode()  # the frame's decoder does not look into an item, and lets bad UTF-8 pass
        (page, ids), readable = despite_lone_surrogates(self._decode, body)
        return _refill(page, sent_items(body, readable, page.data or [])), ids

    def _decode(self, body: bytes) -> tuple[Envelope[Raw], list[str]]:
        return _RAW_PAGE.decode(body), [item.id for item in _ID_PAGE.decode(body).data or ()]


def _refill(page: Envelope[Any], items: list[ItemT]) -> Envelope[ItemT]:
    return msgspec.structs.replace(page, data=items)


def sent_items(body: bytes, readable: bytes, items: list[Raw]) -> list[bytes]:
    """Copy items out of the body, so that none keeps the page alive, nor is a repaired one."""
    if body is readable:
        # A join copies each in two thirds of the time that bytes() takes, which looks for a method.
        return list(map(b"".join, zip(items, strict=True)))
    sent, end = [], 0
    for item in items:
        start = readable.index(item, end)  # both bodies are of one length, place for place
        end = start + len(memoryview(item))
        sent.append(body[start:end])
    return sent


ReadT = TypeVar("ReadT")
_ESCAPE: Final = (  # compiled by the first body that needs it
    rb"(?s)\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair, as it should be
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def despite_lone_surrogates(read: Callable[[bytes], ReadT], body: bytes) -> tuple[ReadT, bytes]:
    """Read a body; if half an emoji bars it, read it with U+FFFD in that place.

    Returns what was read, and the body that it was read from.
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


def decode_completion(body: bytes) -> StoredCompletion:
    """Read the body that is one stored completion. Raises what PageCodec.decode does."""
    wire, _ = despite_lone_surrogates(_object, body)
    completion = lenient.read_completion(wire)
    _tell_of_mismatches([completion], 1)
    return completion


def id_of_completion(body: bytes) -> str:
    """Return the id of the body that is one stored completion, whatever else is in it.

    Raises what PageCodec.decode does.
    """
    if not body.isascii():
        body.decode()  # see RawCodec
    frame, _ = despite_lone_surrogates(_FRAME.decode, body)
    return frame.id


class _Frame(Struct):
    id: Annotated[str, msgspec.Meta(min_length=1)]


_FRAME: Final = msgspec.json.Decoder(_Frame)

# A number beyond all floats (1e400) is infinite then, as json.loads has it, and no complaint.
_OBJECT: Final = msgspec.json.Decoder(dict[str, Json], float_hook=float)
_RAW_PAGE: Final = msgspec.json.Decoder(Envelope[Raw])
_ID_PAGE: Final = msgspec.json.Decoder(Envelope[_Id])

MESSAGES: Final = StrictCodec(MessagePage, lenient.read_message, ReceivedMessage)
COMPLETIONS: Final = PageCodec(CompletionPage, lenient.read_completion)
RAW: Final = RawCodec()
