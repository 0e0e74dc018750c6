"""The formats of a stream: how messages become a body, and how it shows its end or a failure."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from aiomessages.values.json_lines import on_one_line

Format = Literal["jsonl", "sse", "json"]

# The id of the event `end`. An EventSource reconnects with it, and gets a 204: by the HTML
# standard that stops it for good.
END_ID: Final = "#end"

# An id comes back in a header and goes on to the API in a URL, where percent-encoding may triple
# it. aiohttp and nginx refuse header lines of more than 8 kB, gunicorn request lines of more than
# 4 kB.
_MAX_ID_LENGTH: Final = 1_024  # characters


class Layout(NamedTuple):
    """The bytes of a body: `head`, the items with `between` in between, and the `end`.

    `failed` replaces the end; its arguments are a Problem as JSON and the seconds to wait.
    With `marks_end` the body itself states its end or failure, so that it need not be cut.
    """

    media_type: str
    item: Callable[[str, bytes], bytes]
    failed: Callable[[bytes, int | None], bytes]
    head: bytes = b""
    between: bytes = b""
    end: bytes = b""
    marks_end: bool = False


def _event(message_id: str, message: bytes) -> bytes:
    # An event without an id leaves an EventSource with the id before, and it resumes there.
    id_line = b"id: %b\n" % message_id.encode() if _survives_a_header(message_id) else b""
    return b"%bdata: %b\n\n" % (id_line, on_one_line(message))


def _survives_a_header(message_id: str) -> bool:
    """Return whether Last-Event-ID brings this id back unchanged and without a second meaning."""
    fits = len(message_id) <= _MAX_ID_LENGTH and message_id != END_ID  # a walk has no empty ids
    plain = message_id.isascii() and message_id.isprintable()
    return fits and plain and message_id == message_id.strip()


def _error_event(problem: bytes, wait: int | None) -> bytes:
    retry = b"retry: %d\n" % (wait * 1000) if wait else b""  # the delay before a reconnection
    return b"event: error\n%bdata: %b\n\n" % (retry, problem)


LAYOUTS: Final[dict[str, Layout]] = {
    # A failure leaves the last line torn: middlewares of Starlette's BaseHTTPMiddleware end a
    # body that was cut as if it were whole, and then the line is the only sign.
    "jsonl": Layout(
        "application/jsonl",
        item=lambda _, message: on_one_line(message) + b"\n",
        failed=lambda problem, _: b'{"error":' + problem,
    ),
    "sse": Layout(
        "text/event-stream",
        item=_event,
        failed=_error_event,
        end=b"event: end\nid: %b\ndata: {}\n\n" % END_ID.encode(),
        marks_end=True,
    ),
    "json": Layout(
        "application/json",
        item=lambda _, message: message,
        failed=lambda *_: b"",
        head=b"[",
        between=b",\n",
        end=b"]",
    ),
}


def converted(layout: Layout, convert: Callable[[bytes], bytes]) -> Layout:
    """Return a layout whose items have `convert(message)` instead of a message."""
    return layout._replace(
        item=lambda message_id, message: layout.item(message_id, convert(message))
    )
