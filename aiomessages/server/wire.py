"""The bytes of the API's responses: list pages on one line, errors indented by two spaces.

They follow recorded traffic. The client has its own reading of the same wire and shares no code
with this module, so that one mistake cannot pass on both sides. Nothing here performs I/O.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiomessages.archive.store import Rows


class ApiError(Exception):
    """An error response: its status, the four members of its body, and extra headers."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.error = {"message": message, "type": type, "param": param, "code": code}
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The body as the API sends it: JSON indented by two spaces, in UTF-8."""
        text = json.dumps({"error": self.error}, indent=2, ensure_ascii=False)
        return text.encode("utf-8", "replace")  # the request may hold bytes that are not UTF-8

    def response(self) -> web.Response:
        """Return the response that carries this error."""
        return json_response(self.body, self.status, self.headers)


def json_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a response with this body, which may be invalid; the header says JSON regardless."""
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def page_body(rows: Rows) -> bytes:
    """Return a page as JSON, built from stored JSON texts. The ids of an empty page are null."""
    first, last = (rows.items[0][0], rows.items[-1][0]) if rows.items else (None, None)
    return b"".join(
        (
            b'{"object":"list","data":[',
            b",".join([body for _, body in rows.items]),
            b'],"first_id":',
            msgspec.json.encode(first),
            b',"last_id":',
            msgspec.json.encode(last),
            b',"has_more":',
            msgspec.json.encode(rows.has_more),
            b"}",
        )
    )


def completion_not_found(completion_id: str) -> ApiError:
    """Return the 404 for a completion that does not exist, or is not visible yet."""
    message = f"Completion {completion_id} not found"
    return ApiError(404, message, param="completion_id", code="not_found")


def unknown_cursor(after: str) -> ApiError:
    """Return the 400 for an `after` that is not an id of the list.

    No recording shows this case. A 404 would be wrong: on these routes it means a completion that
    may still appear, and clients poll for that.
    """
    message = f"Invalid value for 'after': no object with id '{after}' in this list."
    return ApiError(400, message, param="after", code="invalid_value")


def wrong_key(key: str) -> ApiError:
    """Return the 401 for a wrong key. It shows at most the last four characters of the key."""
    shown = "*" * max(len(key) - 4, 4) + (key[-4:] if len(key) >= 16 else "")
    return ApiError(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")


def rate_limited(wait: float) -> ApiError:
    """Return the 429 that asks to wait `wait` seconds."""
    headers = retry_after(wait)
    return ApiError(
        429,
        f"Rate limit reached for requests. Please try again in {headers['retry-after-ms']}ms.",
        type="requests",
        code="rate_limit_exceeded",
        headers=headers,
    )


def retry_after(seconds: float) -> dict[str, str]:
    """Return the two headers that ask for a wait of `seconds`, both rounded up.

    Retry-After holds whole seconds only; retry-after-ms holds milliseconds.
    """
    milliseconds = math.ceil(seconds * 1000)
    return {"Retry-After": str(math.ceil(seconds)), "retry-after-ms": str(milliseconds)}


def archive_failure(message: str) -> ApiError:
    """Return the 500 for an archive that cannot be read; another try would not help."""
    return ApiError(500, message, type="server_error", headers={"x-should-retry": "false"})


def server_failure() -> ApiError:
    """Return the 500 for a failure of the server itself."""
    return ApiError(
        500,
        "The server had an error while processing your request. Sorry about that!",
        type="server_error",
    )
