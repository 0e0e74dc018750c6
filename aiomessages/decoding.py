"""From the bytes of a page to its values, and nothing of them lost.

Nothing here performs I/O. A page is decoded strictly first, in one pass. One that is refused is
taken apart into its items: each is decoded strictly by itself, and only the odd ones go to
`lenient`, so that they cost the good ones nothing and never fail them.
"""

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import DecodeError, Raw, Struct, ValidationError

from . import lenient
from .logs import log
from .models import Json, ReceivedMessage, StoredCompletion
from .pages import CompletionPage, Envelope, MessagePage, Page, RawPage

ItemT = TypeVar("ItemT")

# --- codecs ---------------------------------------------------------------------------------------


class _Id(Struct, gc=False):
    id: str


class PageCodec(Generic[ItemT]):
    """Decode the pages of one kind of item, strictly first and leniently where that fails.

    `decode` gives the page and the ids of its items. It raises msgspec.ValidationError for JSON of
    the wrong shape, and for what is not JSON whatever msgspec raises: DecodeError,
    UnicodeDecodeError, RecursionError.
    """

    def __init__(
        self,
        page_class: type[Page[ItemT]],
        read_odd: Callable[[dict[str, Json]], ItemT],
        *,
        strict: type | None = None,
    ) -> None:
        self.page_class = page_class
        self._read_odd = read_odd
        self._page = msgspec.json.Decoder(Envelope[strict]) if strict else None  # type: ignore[valid-type]
        self._item = msgspec.json.Decoder(strict) if strict else None

    def decode(self, body: bytes) -> tuple[Envelope[ItemT], list[str]]:
        """Return the page and the ids of its items."""
        page, _ = despite_lone_surrogates(self._decode, body)
        return page, [item.id for item in page.data or ()]  # type: ignore[attr-defined]  # each has one

    def _decode(self, body: bytes) -> Envelope[ItemT]:
        if self._page is not None:
            try:
                return self._page.decode(body)
            except ValidationError:
                pass  # something is odd in it
        page = _RAW_PAGE.decode(body)
        items = [self._read(f".data[{n}]", item) for n, item in enumerate(page.data or ())]
        _tell_of_mismatches(items)
        return _refill(page, items)

    def _read(self, path: str, item: Raw) -> ItemT:
        if self._item is not None:
            try:
                return self._item.decode(item)
            except ValidationError:
                pass  # this is the odd one
        try:
            return self._read_odd(_object(item))
        except ValidationError as error:
            what, _, inner = str(error).partition(" - at `$")
            raise ValidationError(f"{what} - at `${path}{inner.rstrip('`')}`") from None


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
        repaired = re.sub(_ESCAPE, lambda found: rb"\ufffd" if found[1] else found[0], body)
        if repaired == body:
            raise
        return read(repaired), repaired


def decode_completion(body: bytes) -> StoredCompletion:
    """Read the body that is one stored completion. Raises what PageCodec.decode does."""
    wire, _ = despite_lone_surrogates(_object, body)
    completion = lenient.read_completion(wire)
    _tell_of_mismatches([completion])
    return completion


def _object(item: bytes | Raw) -> dict[str, Json]:
    try:
        return _OBJECT.decode(item)
    except ValidationError as error:
        if "out of range" not in str(error):
            raise
    # A number of more than 4,300 digits, which Python makes no int of.
    wire: dict[str, Json] = json.loads(bytes(item), parse_int=_number)
    return wire


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _tell_of_mismatches(items: list[Any]) -> None:
    """Log how many items hold something of another type than it should be, and nothing of it."""
    odd = sum(bool(getattr(item, "mismatches", ())) for item in items)
    if odd:
        log.warning(
            "in %d of %d items a field has another type than it should; see mismatches of each",
            odd,
            len(items),
        )


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
_MOST_DIGITS: Final = 4300
_RAW_PAGE: Final = msgspec.json.Decoder(Envelope[Raw])
_ID_PAGE: Final = msgspec.json.Decoder(Envelope[_Id])

MESSAGES: Final = PageCodec(MessagePage, lenient.read_message, strict=ReceivedMessage)
COMPLETIONS: Final = PageCodec(CompletionPage, lenient.read_completion)
RAW: Final = RawCodec()
