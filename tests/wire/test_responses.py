"""The API's grammar as tables: responses become pages or errors."""

import html
import json
import pickle
import traceback
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

import pytest
from multidict import CIMultiDict

from aiomessages import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    DecodeError,
    InsufficientQuotaError,
    InternalServerError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    RateLimitError,
    RedirectError,
    ResponseTooLargeError,
    SchemaError,
    UnprocessableEntityError,
)
from aiomessages.pages import CompletionPage, MessagePage, Page, RawPage
from aiomessages.wire.decoding import (
    COMPLETIONS,
    MESSAGES,
    RAW,
    decode_completion,
    decode_raw_completion,
)
from aiomessages.wire.errors import is_about_cursor, is_about_limit, is_foreign_404
from aiomessages.wire.page_content import PageContent
from aiomessages.wire.responses import Response, read_completion, read_page

KEY = "sk-canary-0123456789"
NOW = 784111777.0
NAME = "chatcmpl-1"


def message(n: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a message as the live API sends it."""
    return {"id": f"{NAME}-{n}", "role": "user", "content": f"text {n}"} | changes


def page(*items: Any, **changes: Any) -> dict[str, Any]:
    """Return a page as the live API sends it."""
    ids = [item["id"] for item in items]
    ends = {"first_id": ids[0], "last_id": ids[-1]} if ids else {"first_id": None, "last_id": None}
    return {"object": "list", "data": list(items), **ends, "has_more": False} | changes


def answer(
    body: Any = b"", status: int = 200, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """Return a response with a body of bytes, or a value to encode as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, CIMultiDict(headers or {}), sent, NOW, **more)


def read(
    response: Response, completion_id: str | None = NAME, secret: str = KEY
) -> PageContent[Page[Any]]:
    """Read a page of messages."""
    return read_page(response, codec=MESSAGES, completion_id=completion_id, secret=secret)


def one_completion(response: Response, completion_id: str = NAME) -> Any:
    """Read a completion."""
    return read_completion(response, KEY, decode=decode_completion, completion_id=completion_id)


def raw_completion(response: Response) -> bytes:
    """Read a completion as it was sent."""
    return read_completion(response, KEY, decode=decode_raw_completion, completion_id=NAME)


def named(value: object) -> str:
    """Name a case of a table."""
    if isinstance(value, Response):
        headers = ",".join(value.headers.values())
        return ascii(f"{value.status} {value.body[:70]!r} {headers} {value.flaw!r}")
    return ascii(value)[:60]


def failure(response: Response, secret: str = KEY) -> APIError:
    """Return the error of a response."""
    with pytest.raises(APIError) as caught:
        read(response, secret=secret)
    return caught.value


def status_failure(response: Response) -> APIStatusError:
    """Return the error of an error response."""
    error = failure(response)
    assert isinstance(error, APIStatusError)
    return error


# --- a response, to a page ------------------------------------------------------------------------


def test_a_page() -> None:
    """A page of messages has its data, its cursors, its exact body and its headers."""
    response = answer(page(message(0), message(1), has_more=True), headers={"X-Request-Id": "r"})
    got = read(response)
    assert got.page_class is MessagePage
    assert (got.ids, got.next_cursor) == ([f"{NAME}-0", f"{NAME}-1"], f"{NAME}-1")
    assert (got.body, got.headers["x-request-id"]) == (response.body, "r")


def test_kinds_of_pages() -> None:
    """A codec names the class of its pages."""
    completion = {"id": "c", "choices": []}
    listed = read_page(answer(page(completion)), codec=COMPLETIONS, completion_id=None, secret=KEY)
    raw = read_page(answer(page(message())), codec=RAW, completion_id=NAME, secret=KEY)
    assert (listed.page_class, raw.page_class) == (CompletionPage, RawPage)
    assert json.loads(raw.data[0]) == message()


@pytest.mark.parametrize("codec", [MESSAGES, COMPLETIONS, RAW])
def test_a_page_whose_data_is_null(codec: Any) -> None:
    """A null list is an empty page, and a contradiction with has_more."""
    read = partial(read_page, codec=codec, completion_id=NAME, secret=KEY)
    empty = read(answer({"data": None}))
    assert (empty.data, empty.has_more, empty.next_cursor) == ([], False, None)
    with pytest.raises(PaginationError):
        read(answer({"data": None, "has_more": True}))


def test_one_completion() -> None:
    """A single completion is read by the same rules as a page."""
    completion = {"id": "c", "choices": []}
    assert one_completion(answer(completion), "c").to_dict() == completion
    with pytest.raises(NotFoundError):
        one_completion(answer(b"", 404))
    with pytest.raises(InternalServerError):
        one_completion(answer({"error": {"code": "server_error"}}))
    with pytest.raises(SchemaError):
        one_completion(answer({"choices": []}))


ODD_COMPLETIONS = [
    {"created": 1744857525.25},
    {"metadata": {"n": 5}},
    {"metadata": ["n"]},
    {"seed": 1.0},
    {"choices": [{"message": {}}]},
    {"choices": {"0": None}},
    {"model": None, "usage": "none", "object": 7},
    {"temperature": "hot", "tools": {}},
]


@pytest.mark.parametrize("odd", ODD_COMPLETIONS, ids=str)
def test_a_completion_of_odd_fields(odd: dict[str, Any]) -> None:
    """A typed completion is read with odd fields too, alone and in a list, with to_dict()."""
    sent = {"id": NAME, **odd}
    alone = one_completion(answer(sent))
    (listed,) = read_page(
        answer(page(sent)), codec=COMPLETIONS, completion_id=None, secret=KEY
    ).data
    assert alone == listed
    assert alone.to_dict() == sent


@pytest.mark.parametrize("odd", ODD_COMPLETIONS, ids=str)
def test_a_raw_completion_of_odd_fields(odd: dict[str, Any]) -> None:
    """A raw completion is delivered byte for byte, whatever its fields hold, if it has its id."""
    sent = json.dumps({"id": NAME, **odd}, indent=1).encode()
    assert raw_completion(answer(sent)) == sent


@pytest.mark.parametrize(
    "value",
    [b"1e400", b"9" * 5000, rb'"half \ud83d"', b"-0.0", "\u00e9".join('""').encode()],
    ids=lambda value: ascii(value[:12]),
)
def test_a_raw_completion_of_odd_values(value: bytes) -> None:
    """A raw completion is delivered with any number and any text in it."""
    sent = b'{"odd": %s, "id": "%s"}' % (value, NAME.encode())
    assert raw_completion(answer(sent)) == sent


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, SchemaError),
        ({"id": None}, SchemaError),
        ({"id": 5}, SchemaError),
        ({"id": ""}, SchemaError),
        ([], SchemaError),
        (b'"chatcmpl-1"', SchemaError),
        (b"", DecodeError),
        (b"<html>", DecodeError),
        (b'{"id": "chatcmpl-1"', DecodeError),
        (b'{"id": "chatcmpl-1", "seed": NaN}', DecodeError),
        (b'{"id": "chatcmpl-1", "text": "\xff"}', DecodeError),
        (b'{"id": "chatcmpl-1", "deep": ' + b"[" * 100_000, DecodeError),
        ({"error": {"message": "no", "code": "server_error"}}, InternalServerError),
    ],
    ids=named,
)
def test_invalid_raw_completions(body: Any, kind: type[APIError]) -> None:
    """A raw body that is not JSON, or has no usable id, is an error."""
    with pytest.raises(APIError) as caught:
        raw_completion(answer(body))
    assert type(caught.value) is kind


@pytest.mark.parametrize("read", [one_completion, raw_completion])
def test_a_completion_that_is_an_error(read: Any) -> None:
    """An error body is an error, even if it looks like a completion."""
    with pytest.raises(InternalServerError):
        read(answer({"id": NAME, "choices": []}, 500))


@pytest.mark.parametrize("read", [one_completion, raw_completion])
@pytest.mark.parametrize("came", ["chatcmpl-2", "chatcmpl-10", "other"])
def test_another_completions_answer(read: Any, came: str) -> None:
    """A completion with another id than the requested one is a response to another request."""
    with pytest.raises(APIConnectionError, match="another request"):
        read(answer({"id": came, "choices": []}))


@pytest.mark.parametrize("status", [200, 203])
@pytest.mark.parametrize(
    "encoding",
    [
        *("", "gzip", "GZIP", "x-gzip", "deflate", "identity", "identity, gzip", " gzip ,identity"),
        *("gzip, gzip", "utf-8", "UTF8", "none", ","),
    ],
)
def test_known_encodings(encoding: str, status: int) -> None:
    """A compression that the transport has undone does not matter; a 203 is a page like a 200."""
    assert read(answer(page(), status, {"Content-Encoding": encoding})).ids == []


@pytest.mark.parametrize("status", [201, 202, 204, 205, 206, 207, 226, 304])
def test_a_page_with_another_status(status: int) -> None:
    """A body with another status is no page, and no part of one."""
    assert isinstance(failure(answer(page(message()), status)), APIResponseError)


def test_an_error_with_status_203() -> None:
    """An error with status 203 has the class of its code, as with 200."""
    response = answer({"error": {"message": "wait", "code": "rate_limit_exceeded"}}, 203)
    assert isinstance(failure(response), RateLimitError)


def test_a_flaw_with_status_203() -> None:
    """The flaw of a body is raised with the status of its response."""
    flawed = answer(page(), 203, flaw=DecodeError("the body of the answer is cut short"))
    error = failure(flawed)
    assert isinstance(error, DecodeError)
    assert error.status == 203


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"data": [], "has_more": True}, "there are more"),
        ({"last_id": f"{NAME}-7", "has_more": True}, "last_id is not"),
        ({"last_id": f"{NAME}-7", "has_more": None}, "last_id is not"),
        ({"last_id": 5, "has_more": True}, "last_id is not"),
        ({"data": [message(0), message(1, id="")], "last_id": None}, "empty id"),
    ],
)
def test_pages_that_contradict_themselves(changes: dict[str, Any], problem: str) -> None:
    """A page by which a walk would lose or repeat messages is refused, and not retried."""
    error = failure(answer(page(message()) | changes, headers={"x-request-id": "r"}))
    assert isinstance(error, PaginationError)
    assert problem in str(error)
    assert (error.status, error.request_id, error.retryable) == (200, "r", False)


@pytest.mark.parametrize(
    "changes",
    [
        {"last_id": "last_id", "first_id": "first_id", "has_more": False},
        {"last_id": f"{NAME}-0", "has_more": False},
        {"last_id": 5, "first_id": 5, "has_more": False},
        {"last_id": ["m"], "first_id": {}, "has_more": False, "data": []},
        {"last_id": "last_id", "has_more": False, "data": []},
        {"first_id": f"{NAME}-7", "has_more": True},
    ],
)
def test_cursors_by_which_no_walk_goes(changes: dict[str, Any]) -> None:
    """last_id is ignored if no page follows, and first_id always."""
    got = read(answer(page(message(0), message(1)) | changes))
    assert got.ids == [item["id"] for item in changes.get("data", [message(0), message(1)])]
    assert got.next_cursor == (f"{NAME}-1" if changes["has_more"] else None)


@pytest.mark.parametrize(
    ("ids", "limit", "more"),
    [
        pytest.param([1], None, False, id="only the item at the cursor"),
        pytest.param([1], 100, False, id="of many that were asked for"),
        pytest.param([1], 1, True, id="no room for another one"),
        pytest.param([1, 2], 100, True, id="something new"),
        pytest.param([2], 100, True, id="only something new"),
        pytest.param([0, 1], 100, True, id="what is in front of the cursor"),
    ],
)
def test_an_end_without_has_more(*, ids: list[int], limit: int | None, more: bool) -> None:
    """Without has_more, a page with only the cursor's item is the end, if it had more room."""
    body = page(*map(message, ids)) | {"has_more": None}
    response = answer(body)
    got = read_page(
        response, codec=MESSAGES, completion_id=NAME, cursor=f"{NAME}-1", limit=limit, secret=KEY
    )
    assert (got.has_more, got.promised) == (more, False)
    response = answer(body | {"has_more": True})
    said = read_page(response, codec=MESSAGES, completion_id=NAME, cursor=f"{NAME}-1", secret=KEY)
    assert (said.has_more, said.promised) == (True, True)


def test_cursors_that_are_no_text_beside_a_key_in_an_id() -> None:
    """If a server puts the key into its ids, first_id and last_id may be any JSON, too."""
    ends = {"first_id": 5, "last_id": [5]}
    got = read(answer(page(message(0, id=f"m-{KEY}")) | ends), completion_id=None)
    assert (got.ids, got.first_id, got.last_id) == ([f"m-{KEY}"], None, None)


@pytest.mark.parametrize("last_id", [None, "", f"{NAME}-1"])
def test_cursors_that_do_not_contradict(last_id: str | None) -> None:
    """If last_id is null or empty, the walk continues after the last message."""
    got = read(answer(page(message(0), message(1), has_more=True) | {"last_id": last_id}))
    assert got.next_cursor == f"{NAME}-1"


def test_without_has_more() -> None:
    """A server that omits has_more is asked until a page is empty."""
    body = page(message())
    del body["has_more"]
    assert read(answer(body)).next_cursor == f"{NAME}-0"
    assert read(answer({"data": []})).next_cursor is None


@pytest.mark.parametrize(
    ("asked", "came", "foreign"),
    [
        ("chatcmpl-1", "chatcmpl-2-0", True),
        ("chatcmpl-1", "chatcmpl-11-0", True),
        ("chatcmpl-11", "chatcmpl-1-0", True),
        ("chatcmpl-1", "chatcmpl-1-0", False),
        ("chatcmpl-1", "chatcmpl-1-x-0", False),
        ("chatcmpl-1", "chatcmpl-2-x", False),
        ("chatcmpl-1", "chatcmpl-2", False),
        ("chatcmpl-1", "msg-0", False),
        ("run-1", "chatcmpl-2-0", False),
        (None, "chatcmpl-2-0", False),
    ],
)
def test_another_requests_answer(asked: str | None, came: str, foreign: bool) -> None:
    """A message that surely belongs to another completion is not delivered."""
    response = answer(page({"id": came, "role": "user", "content": "their text"}))
    if foreign:
        with pytest.raises(APIConnectionError) as caught:
            read(response, asked)
        assert caught.value.retryable
        assert came not in f"{caught.value}{caught.value!r}"
    else:
        assert read(response, asked).ids == [came]


# --- a body that cannot be used -------------------------------------------------------------------

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("response", "what", "again"),
    [
        (answer(b""), "is empty", True),
        (answer(b" \r\n"), "is empty", True),
        (answer(b"", 204), "status 204", True),
        (answer(page(), 206), "status 206", True),
        (answer(b"<html>", headers={"Content-Type": "text/html"}), "calls itself text/html", True),
        (answer(b"<html>"), "of no type, 6 bytes", True),
        (answer(b'{"data":[{"id":"m","role":"u","content":"\xff"}]}'), "not UTF-8", True),
        (answer(b'\xef\xbb\xbf{"data":[]}'), "not JSON", True),
        (answer(b'{"data":[{"id":"m","role":"u","content":NaN}]}'), "not JSON", True),
        (answer(b'{"data":[{"id":5}]'), "not JSON", True),
        (answer(b'{"data":[{"id":5,"x":"\xff"}]}'), "not UTF-8", True),
        (answer(page(), headers={"Content-Encoding": "br"}), "unknown compression", False),
        (answer(page(), headers={"Content-Encoding": "gzip, br"}), "unknown compression", False),
        (answer(page(), headers={"Content-Encoding": "gzip," * 3}), "unknown compression", False),
        (answer(page(), status=203, headers={"Content-Encoding": "br"}), "compression", False),
        (answer(b'{"data":' + DEEP + b"}"), "nested too deep", False),
        (answer(b'{"data":[{"id":"m","role":"u","x":%s}]}' % DEEP), "nested too deep", False),
    ],
    ids=named,
)
def test_bodies_that_cannot_be_decoded(response: Response, what: str, again: bool) -> None:
    """A body that is not JSON is a DecodeError that describes it; a transient one is retryable."""
    error = failure(response)
    assert isinstance(error, DecodeError)
    assert what in str(error)
    assert (error.status, error.retryable) == (response.status, again)


@pytest.mark.parametrize(
    ("body", "path", "what"),
    [
        ([], "$", "Expected `object`, got `array`"),
        ({}, "$", "missing required field `data`"),
        ({"data": {}}, "$.data", "Expected `array | null`, got `object`"),
        ({"data": [message(), {"role": "u"}]}, "$.data[1]", "missing required field `id`"),
        ({"data": [message(id=5)]}, "$.data[0].id", "Expected `str`, got `int`"),
        ({"data": [message(), "m"]}, "$.data[1]", "Expected `object`, got `str`"),
    ],
)
def test_bodies_of_another_shape(body: Any, path: str, what: str) -> None:
    """JSON of the wrong shape is a SchemaError with the place, and not retried."""
    error = failure(answer(body, headers={"x-request-id": "r"}))
    assert isinstance(error, SchemaError)
    assert (error.path, error.status, error.request_id) == (path, 200, "r")
    assert not error.retryable
    assert what in str(error)


def test_a_flaw_that_the_transport_saw() -> None:
    """A flaw of the body becomes the transport's error, with the response's headers."""
    flaw = ResponseTooLargeError("the body is larger than 5 bytes")
    error = failure(answer(b"", headers={"x-request-id": "r"}, flaw=flaw))
    assert isinstance(error, ResponseTooLargeError)
    assert (error.message, error.status, error.request_id) == (flaw.message, 200, "r")


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFoundError), (500, InternalServerError), (302, RedirectError)]
)
def test_a_flaw_of_an_error_answer(status: int, kind: type[APIResponseError]) -> None:
    """An error response has the error of its status, even with a broken body."""
    assert type(failure(answer(b"", status, flaw=DecodeError("cut short")))) is kind


def test_a_response_in_a_traceback() -> None:
    """The repr of a response shows its size, and none of its content."""
    response = answer(b"secret text", headers={"x-echo": KEY})
    assert repr(response) == "Response(status=200, 11 bytes)"


# --- redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://elsewhere.example/v1?x=1", "elsewhere.example"),
        ("https://user:pa55word@elsewhere.example:8443/", "elsewhere.example"),
        ("//elsewhere.example/v1", "elsewhere.example"),
        ("/v2", None),
        ("", None),
        ("https://[elsewhere", None),
    ],
)
def test_redirects(status: int, location: str, host: str | None) -> None:
    """Any redirect, even to no URL, is an error that names the host at most."""
    error = failure(answer(b"", status, {"Location": location}))
    assert isinstance(error, RedirectError)
    assert (error.status, error.location_host, error.retryable) == (status, host, False)
    assert "pa55word" not in str(error)
    assert (f"to {host}" in str(error)) is (host is not None)


def test_a_redirect_to_nowhere() -> None:
    """A redirect without a Location is an error as well."""
    error = failure(answer(b"", 302))
    assert isinstance(error, RedirectError)
    assert error.location_host is None


# --- error answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "again"),
    [
        (400, BadRequestError, False),
        (401, AuthenticationError, False),
        (402, APIStatusError, False),
        (403, PermissionDeniedError, False),
        (404, NotFoundError, False),
        (405, APIStatusError, False),
        (408, APIStatusError, True),
        (409, ConflictError, True),
        (418, APIStatusError, False),
        (422, UnprocessableEntityError, False),
        (425, APIStatusError, True),
        (429, RateLimitError, True),
        (499, APIStatusError, False),
        (500, InternalServerError, True),
        (502, InternalServerError, True),
        (503, InternalServerError, True),
        (504, InternalServerError, True),
        (529, InternalServerError, True),
        (599, InternalServerError, True),
    ],
)
@pytest.mark.parametrize("body", [{"error": {"message": "no"}}, b"<html>no</html>", b"", page()])
def test_statuses(status: int, kind: type[APIStatusError], again: bool, body: Any) -> None:
    """The status alone decides the class of an error, whatever its body."""
    error = status_failure(answer(body, status))
    assert type(error) is kind
    assert (error.status, error.status_code, error.retryable) == (status, status, again)


def test_an_error_of_the_live_api() -> None:
    """An error answer has the API's message, type, param, code, its body and its request id."""
    body = {
        "error": {
            "message": "Completion chatcmpl-9 not found",
            "type": "invalid_request_error",
            "param": "completion_id",
            "code": "not_found",
        }
    }
    response = answer(json.dumps(body, indent=2).encode(), 404, {"x-request-id": "req_7"})
    error = status_failure(response)
    assert (error.message, error.type) == (body["error"]["message"], "invalid_request_error")
    assert (error.param, error.code) == ("completion_id", "not_found")
    assert (error.body, error.request_id) == (response.body, "req_7")


@pytest.mark.parametrize(
    ("body", "text", "code"),
    [
        ({"error": {"message": "m", "code": None, "param": None}}, "m", None),
        ({"error": {"message": "m", "code": 1234}}, "m", "1234"),
        ({"error": {"code": "c"}}, "the server answered with status 400", "c"),
        ({"error": "m"}, "m", None),
        ({"detail": "d"}, "d", None),
        ({"message": "m"}, "m", None),
        ({"detail": [{"loc": ["query"]}], "message": "m"}, "m", None),
        ({"detail": [{"loc": ["query"]}]}, "the server answered with status 400", None),
        ({"detail": [{"loc": ["query", 3]}]}, "the server answered with status 400", None),
        ({"detail": []}, "the server answered with status 400", None),
        ({"error": {"message": '{"error":{"message":"m","code":"c"}}', "code": "429"}}, "m", "c"),
        ({"error": {"message": "{curly}", "code": "c"}}, "{curly}", "c"),
        ({"error": {"message": {"not": "text"}}}, "the server answered with status 400", None),
        (["m"], "m", None),
        (b"<html>", "the server answered with status 400", None),
        (b"\xff", "the server answered with status 400", None),
        (DEEP, "the server answered with status 400", None),
        (rb'{"error":{"message":"m \ud83d","code":"c"}}', "m \ufffd", "c"),
    ],
    ids=named,
)
def test_forms_of_error_bodies(body: Any, text: str, code: str | None) -> None:
    """The server's message is found in many forms; without one, the package writes it."""
    error = status_failure(answer(body, 400))
    assert (error.message, error.code) == (text, code)


NOT_FOUND = f"Completion {NAME} not found"


@pytest.mark.parametrize(
    ("status", "body", "own"),
    [
        # the API's own: by code, by param, or by a text that names the id
        (404, {"error": {"message": "no", "code": "not_found"}}, True),
        (404, {"error": {"message": "no", "param": "completion_id"}}, True),
        (404, {"error": {"message": NOT_FOUND}}, True),
        (404, {"error": NOT_FOUND}, True),
        (404, {"detail": f"Chat completion with id '{NAME}' does not exist."}, True),
        (404, {"message": f"No such completion: {NAME}."}, True),
        (404, {"error": {"message": json.dumps({"error": {"message": NOT_FOUND}})}}, True),
        (400, {"error": {"message": NOT_FOUND}}, True),
        (400, {"error": {"message": f"Chat completion '{NAME}' could not be found"}}, True),
        (400, {"detail": f"Invalid value: {NOT_FOUND.lower()}"}, True),
        (400, {"error": {"message": "no", "code": "not_found"}}, True),
        (200, {"error": {"message": "no", "code": "not_found"}}, True),
        # a gateway's
        (404, {"detail": "Not Found"}, False),
        (404, b"<html>404 Not Found</html>", False),
        (404, f"<html>{NOT_FOUND}</html>".encode(), False),
        (404, b"", False),
        (404, {}, False),
        (404, {"error": {"message": "Resource not found", "code": "404"}}, False),
        (404, {"error": {"message": f"POST {NAME} is not allowed"}}, False),
        (404, {"error": {"message": f"Completion {NAME}0 not found"}}, False),
        (404, {"error": {"message": f"Completion x-{NAME} not found"}}, False),
        (404, {"message": f"Route GET:/v1/chat/completions/{NAME}/messages not found"}, False),
        (404, {"detail": f"/v1/chat/completions/{NAME} does not exist here"}, False),
        (200, {"error": {"message": "no", "code": 404}}, False),
    ],
    ids=named,
)
def test_not_found_of_the_api_or_of_others(status: int, body: Any, own: bool) -> None:
    """A NotFoundError says whether the API itself did not find this completion."""
    error = status_failure(answer(body, status))
    assert isinstance(error, NotFoundError)
    assert (error.is_of_api, is_foreign_404(error)) == (own, not own)
    assert (error.status, error.retryable) == (status, False)
    assert ("base_url" in str(error)) is not own
    assert ("store=true" in str(error)) is own


@pytest.mark.parametrize(
    ("status", "facts"),
    [
        (400, {"message": "no", "param": "after", "code": "not_found"}),
        (400, {"message": NOT_FOUND, "param": "after"}),
        (404, {"message": NOT_FOUND, "param": "after", "code": "not_found"}),
        (400, {"message": f"Message {NAME}-3 not found"}),
        (404, {"message": f"Message {NAME}-3 not found in completion {NAME}"}),
        (400, {"message": f"Record with id='{NAME}-3' not found in table 'messages'"}),
        (422, {"detail": [{"loc": ["query", "after"], "msg": "no"}]}),
    ],
    ids=str,
)
def test_an_error_of_the_cursor(status: int, facts: dict[str, Any]) -> None:
    """An error about `after`, or one that names the cursor, is not about the completion."""
    body = facts if "detail" in facts else {"error": facts}
    with pytest.raises(APIStatusError) as caught:
        read_page(
            answer(body, status), codec=MESSAGES, completion_id=NAME, cursor=f"{NAME}-3", secret=KEY
        )
    assert is_about_cursor(caught.value)
    assert not is_foreign_404(caught.value)
    assert not getattr(caught.value, "is_of_api", False)


@pytest.mark.parametrize(
    ("status", "facts", "about"),
    [
        (400, {"message": "no", "param": "limit"}, True),
        (422, {"message": "no", "param": "limit"}, True),
        (400, {"message": "no", "param": None}, False),
        (500, {"message": "no", "param": "limit"}, False),
        (429, {"message": "the limit", "param": None}, False),
    ],
    ids=str,
)
def test_an_error_of_the_limit(status: int, facts: dict[str, Any], about: bool) -> None:
    """An error whose param is `limit` refuses the size of the page."""
    error = status_failure(answer({"error": facts}, status))
    assert is_about_limit(error) is about
    assert not is_about_cursor(error)


def test_errors_without_an_answer() -> None:
    """An error without a response is about no parameter, and no foreign 404."""
    for error in (APIConnectionError("no"), ValueError("no")):
        assert not is_about_cursor(error)
        assert not is_about_limit(error)
        assert not is_foreign_404(error)


def test_a_parameter_that_fastapi_refuses() -> None:
    """The parameter in FastAPI's `detail` is the error's `param`."""
    error = status_failure(answer({"detail": [{"loc": ["query", "limit"], "msg": "no"}]}, 422))
    assert error.param == "limit"


def test_a_talkative_gateway() -> None:
    """An error shows the beginning of a long text, and has all of it in its body."""
    response = answer({"error": "x" * 10_000}, 502)
    error = status_failure(response)
    assert error.message == "x" * 500
    assert error.body == response.body


@pytest.mark.parametrize("status", [429, 403, 200])
def test_no_quota_left(status: int) -> None:
    """insufficient_quota is not retried, whatever its status."""
    body = {"error": {"message": "no", "code": "insufficient_quota"}}
    error = status_failure(answer(body, status))
    assert type(error) is InsufficientQuotaError
    assert not error.retryable


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT"}, 60.0),
        ({"Retry-After-Ms": "20", "Retry-After": "7"}, 0.02),
        ({"Retry-After": "soon"}, None),
    ],
    ids=str,
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """An error response has the server's wait, counted from its arrival."""
    assert status_failure(answer(b"", 503, headers)).retry_after == seconds


@pytest.mark.parametrize(
    ("facts", "kind", "again"),
    [
        ({"code": "invalid_api_key"}, AuthenticationError, False),
        ({"code": "not_found", "type": "invalid_request_error"}, NotFoundError, False),
        ({"code": "rate_limit_exceeded"}, RateLimitError, True),
        ({"code": "insufficient_quota"}, InsufficientQuotaError, False),
        ({"code": "server_error"}, InternalServerError, True),
        ({"code": None, "type": "server_error"}, InternalServerError, True),
        ({"code": "odd", "type": "invalid_request_error"}, BadRequestError, False),
        ({"code": 429}, RateLimitError, True),
        ({"code": "503"}, InternalServerError, True),
        ({"code": 408}, APIStatusError, True),
        ({"code": 200}, APIStatusError, False),
        ({"code": "odd"}, APIStatusError, False),
        ({}, APIStatusError, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("frame", [{}, {"data": []}, {"data": None}])
def test_errors_that_come_with_200(
    facts: dict[str, Any], kind: type[APIStatusError], again: bool, frame: dict[str, Any]
) -> None:
    """A 200 with an error body is the error of its code or type."""
    error = status_failure(answer({"error": {"message": "no", **facts}, **frame}))
    assert type(error) is kind
    assert (error.message, error.status, error.retryable) == ("no", 200, again)


# --- the key --------------------------------------------------------------------------------------

ESCAPED = r"sk-c\/a\u002Bn\u002by\"\\"
HARD_KEY = 'sk-c/a+n+y"\\'

ECHOES = [
    answer(
        {"error": {"message": f"wrong key: {KEY}", "code": KEY, "type": KEY, "param": KEY}}, 401
    ),
    answer(f"<html>{KEY}".encode(), 502),
    answer(b"", 204),
    answer(b"", 302, {"Location": f"https://{KEY}.example/{KEY}"}),
    answer(b"", 302, {"Location": KEY}),
    answer(b"not JSON", headers={"Content-Type": KEY}),
    answer(b"\xff"),
    answer(DEEP),
    answer({"data": [{KEY: KEY}]}),
    answer({"data": [], "has_more": True}),
    answer({"error": {"message": KEY}}),
    answer({"error": {"message": KEY}, "data": []}),
    answer(page(), headers={"Content-Encoding": "br"}),
    answer(b"", flaw=ResponseTooLargeError("too large")),
    answer(page({"id": "chatcmpl-2-0", "role": "user", "content": KEY})),
    answer(page({"id": f"m-{KEY}", "role": "user"}), 500),
    answer({"data": [], "has_more": True}, headers={KEY: "1", f"x-{KEY.upper()}": "2"}),
    answer({"error": {"message": "".join(f"%{ord(char):02x}" for char in KEY)}}, 429),
    answer({"error": {"message": json.dumps({"error": {"message": KEY, "code": [KEY]}})}}, 400),
    answer(f"<title>{''.join(f'&#{ord(char)};' for char in KEY)}</title>".encode(), 403),
    answer(b"", 302, {"Location": f"https://{KEY.upper()}.example/"}),
    answer(b"", 302, {"Location": f"https://u:{KEY}@h.example/", "Date": KEY}),
]


@pytest.mark.parametrize("response", ECHOES, ids=named)
def test_a_server_that_repeats_the_key(response: Response) -> None:
    """However a server repeats the key, no error or cause shows it."""
    headers = CIMultiDict({**response.headers, "x-echo": f"Bearer {KEY}"})
    echo = Response(response.status, headers, response.body, NOW, response.flaw)
    error = failure(echo)
    shown = [str(error), repr(error), repr(error.args), repr(vars(error))]
    shown += traceback.format_exception(error)
    assert not any(KEY in text.lower() for text in shown)
    assert not any(KEY in html.unescape(unquote(text)) for text in shown)
    assert KEY.encode() not in pickle.dumps(error)
    assert error.__context__ is None or KEY not in repr(error.__context__)


def test_a_redirect_to_a_host_that_holds_the_key() -> None:
    """The host of a redirect is named without the key, which a URL writes in lower case."""
    redirect = answer(b"", 302, {"Location": f"https://{KEY.upper()}.example:8000/"})
    error = failure(redirect)
    assert isinstance(error, RedirectError)
    assert error.location_host == "[the API key].example"
    response = failure(answer(b"", 302, {"Location": f"https://u:{KEY}@h.example/"}))
    assert getattr(response, "location_host", None) == "h.example"


def test_a_key_that_json_escapes() -> None:
    """A key is found in every escape of a JSON string."""
    body = b'{"error":{"message":"wrong key: %s."}}' % ESCAPED.encode()
    assert json.loads(body)["error"]["message"] == f"wrong key: {HARD_KEY}."
    error = failure(answer(body, 401), secret=HARD_KEY)
    assert isinstance(error, AuthenticationError)
    assert error.message == "wrong key: [the API key]."
    assert ESCAPED.encode() not in error.body


def test_a_page_that_repeats_the_key() -> None:
    """The headers of a page, which errors of its stream carry, are without the key."""
    got = read(answer(page(), headers={"X-Echo": KEY, "X-Request-Id": "r"}))
    assert (got.headers["x-echo"], got.headers["x-request-id"]) == ("[the API key]", "r")
