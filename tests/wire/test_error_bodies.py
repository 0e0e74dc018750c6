"""The dialects of error bodies, as a table: the body and its facts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.wire.error_bodies import MAX_BODY, NOTHING, ErrorFacts, find_error, read_error

QUOTA = {
    "error": {
        "message": "You exceeded your current quota",
        "type": "insufficient_quota",
        "param": None,
        "code": "insufficient_quota",
    }
}
EXCEEDED = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
LITELLM = {"type": "None", "param": "None", "code": "429"}


def litellm(message: str) -> dict[str, Any]:
    """Return an error of LiteLLM with this message."""
    return {"error": {"message": message, **LITELLM}}


def json_text(value: Any) -> str:
    """Return JSON as the live API writes its errors."""
    return json.dumps(value, indent=2)


DIALECTS: list[tuple[Any, dict[str, Any]]] = [
    # OpenAI's, with every JSON type in the places of its facts
    (QUOTA, {**EXCEEDED, "type": "insufficient_quota"}),
    ({"error": {"message": "m", "code": None, "param": None, "type": None}}, {"message": "m"}),
    ({"error": {"message": "m", "code": 1234}}, {"message": "m", "code": "1234"}),
    ({"error": {"message": "m", "code": 1.5}}, {"message": "m", "code": "1.5"}),
    ({"error": {"message": "m", "code": True}}, {"message": "m", "code": "true"}),
    ({"error": {"message": "m", "code": ""}}, {"message": "m", "code": ""}),
    ({"error": {"message": "m", "code": ["a", 1]}}, {"message": "m", "code": '["a", 1]'}),
    ({"error": {"message": "m", "param": {"a": 1}}}, {"message": "m", "param": '{"a": 1}'}),
    ({"error": {"message": "m", "type": {"é": None}}}, {"message": "m", "type": '{"é": null}'}),
    ({"error": {"message": "m", "type": ["x" * 900]}}, {"message": "m", "type": f'["{"x" * 498}'}),
    ({"error": {"code": "c"}}, {"code": "c"}),
    ({"error": {"message": None, "code": 5}}, {"code": "5"}),
    ({"error": {"message": 5, "code": "c"}}, {"code": "c"}),
    ({"error": {"message": {"not": "text"}}}, {}),
    ({"error": {"message": ["a", {"message": "b"}, 5]}}, {"message": "a; b"}),
    # LiteLLM's, around another error: as JSON, between words, as a Python repr, and nested deeper
    (litellm(json_text(QUOTA)), {**EXCEEDED, "type": "insufficient_quota", "param": "None"}),
    (
        litellm(f"litellm.RateLimitError: RateLimitError: OpenAIException - {json_text(QUOTA)} !"),
        EXCEEDED,
    ),
    (litellm(f"{{model}} can't: Error code: 429 - {QUOTA!r}"), EXCEEDED),
    (litellm(repr(json_text(QUOTA).encode())), EXCEEDED),
    (litellm(json_text(litellm(json_text(litellm(json_text(QUOTA)))))), EXCEEDED),
    (litellm(f"a {json_text(litellm(f'b {QUOTA!r}'))}"), EXCEEDED),
    (litellm(json_text({"detail": json_text(QUOTA)})), EXCEEDED),
    (litellm(json_text({"error": {"message": "m"}})), {"message": "m", "code": "429"}),
    (litellm('{"error": {"message": "m"'), {"message": '{"error": {"message": "m"'}),
    (litellm(f"{{{json_text(QUOTA)}}}"), EXCEEDED),  # with one brace too many
    (litellm("{curly} {} {1}"), {"message": "{curly} {} {1}", "code": "429"}),
    (
        litellm("{'error': {'message': 'it\\'s \\x41\\u0042\\n', 'x': True}}"),
        {"message": "it's AB\n"},
    ),
    # an API's own text is no wrapper, whatever it quotes
    (
        {"error": {"message": f"Invalid value: {json_text(QUOTA)}.", "code": "invalid_value"}},
        {"code": "invalid_value"},
    ),
    # FastAPI's
    ({"detail": "d"}, {"message": "d"}),
    (
        {"detail": [{"loc": ["query", "limit"], "msg": "too large", "type": "less_than"}]},
        {"message": "query.limit: too large", "param": "limit", "type": "less_than"},
    ),
    (
        {"detail": [{"loc": ["path", "completion_id"], "msg": "a"}, {"loc": [], "msg": "b"}]},
        {"message": "path.completion_id: a; b", "param": "completion_id"},
    ),
    ({"detail": [{"loc": ["query"]}], "message": "m"}, {"message": "m"}),
    ({"detail": [{"loc": ["query", 3]}]}, {}),
    ({"detail": [{"loc": "query"}]}, {}),
    ({"detail": []}, {}),
    ({"detail": QUOTA}, EXCEEDED),
    ({"detail": json_text(QUOTA)}, EXCEEDED),
    ({"detail": {"message": "m", "code": "c"}}, {"message": "m", "code": "c"}),
    (
        {"error": {"detail": {"errors": [{"loc": ["query", "after"], "msg": "m"}]}}},
        {"param": "after"},
    ),
    # Azure's, and that of its API management
    ({"error": {"code": "429", "message": "m"}}, {"code": "429", "message": "m"}),
    (
        {"error": {"code": "429", "message": "m", "innererror": {"code": "Slow", "message": "n"}}},
        {"code": "Slow", "message": "m"},
    ),
    (
        {
            "error": {
                "code": "BadRequest",
                "message": "m",
                "target": "limit",
                "innererror": {"code": "x"},
            }
        },
        {"code": "BadRequest", "message": "m", "param": "limit"},
    ),
    ({"statusCode": 401, "message": "Access denied"}, {"message": "Access denied", "status": 401}),
    # gateways'
    ({"error": "text"}, {"message": "text", "code": None}),
    ({"error": "Not Found", "status": 404, "path": "/"}, {"message": "Not Found", "status": 404}),
    ({"error": "Bad", "message": "m"}, {"message": "m", "type": "Bad", "code": None}),
    (
        {"error": "invalid_token", "error_description": "d"},
        {"message": "d", "code": "invalid_token"},
    ),
    ({"error": 429, "message": "m"}, {"message": "m", "code": "429"}),
    ({"error": True, "message": "m"}, {"message": "m", "code": None}),
    ({"error": None, "message": "m"}, {"message": "m"}),
    ({"error": {}, "message": "m"}, {"message": "m"}),
    ({"Message": "m", "__type": "Throttling"}, {"message": "m", "type": "Throttling"}),
    ({"statusCode": 400, "message": ["a", "b"], "error": "Bad"}, {"message": "a; b"}),
    ({"message": QUOTA}, EXCEEDED),
    # Google's
    (
        {
            "error": {
                "code": 404,
                "message": "m",
                "status": "NOT_FOUND",
                "details": [{"reason": "r"}],
            }
        },
        {"code": "404", "message": "m", "type": "NOT_FOUND"},
    ),
    ([{"error": {"code": 404, "message": "m"}}], {"code": "404", "message": "m"}),
    # lists: JSON:API, GraphQL, Cloudflare, ASP.NET
    (
        {
            "errors": [
                {"status": "404", "title": "t", "detail": "d", "source": {"parameter": "limit"}}
            ]
        },
        {"message": "d", "param": "limit", "status": 404},
    ),
    ({"errors": [{"title": "t", "source": "x"}]}, {"message": "t", "param": None}),
    ({"errors": [{"message": "m", "extensions": {"code": "c"}}]}, {"message": "m", "code": "c"}),
    (
        {"success": False, "errors": [{"code": 1003, "message": "m"}]},
        {"message": "m", "code": "1003"},
    ),
    ({"title": "t", "errors": {"limit": ["a", "b"]}}, {"message": "a; b", "param": "limit"}),
    ({"errors": ["a", "b"]}, {"message": "a; b"}),
    ({"errors": ["x"] * 100}, {"message": "; ".join(["x"] * 5)}),
    ({"errors": []}, {}),
    # RFC 9457
    (
        {"type": "about:blank", "title": "t", "status": 429, "detail": "d"},
        {"message": "d", "type": "about:blank", "status": 429},
    ),
    ({"title": "t", "status": "oops"}, {"message": "t", "type": "oops"}),
    ({"title": "t", "status": 200}, {"message": "t", "status": None}),
    # no object at all
    (["a", "b"], {"message": "a; b"}),
    ("text", {"message": "text"}),
    (json_text(QUOTA), EXCEEDED),
    (5, {}),
    (True, {}),
    ({}, {}),
    ([], {}),
]


@pytest.mark.parametrize(("body", "facts"), DIALECTS, ids=lambda value: ascii(value)[:90])
def test_dialects(body: Any, facts: dict[str, Any]) -> None:
    """The facts of an error are found in its dialect, and none is lost."""
    found = read_error(json.dumps(body).encode())
    assert {name: getattr(found, name) for name in facts} == facts
    assert found.in_json
    assert bool(found) == any(facts.get(name) for name in ("message", "type", "param", "code"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html><head><title>\n 502 Bad\n&amp; Gateway </title>", "502 Bad & Gateway"),
        (b"<HTML><TITLE lang=en>No</TITLE>", "No"),
        (b"<title></title>", None),
        (b"<html>no</html>", None),
        (b"upstream connect error\n", "upstream connect error"),
        (b"error code: 1015", "error code: 1015"),
        ("Schlüssel ungültig".encode("latin-1"), "Schl\ufffdssel ung\ufffdltig"),
        (b"two\nlines", None),
        (b"\x1b[2Jboo", None),
        (b"long " * 50, None),
        (b'{"error": {"message": "cut', None),
        (b"[[[[" * 100_000, None),
        (b"null", None),
        (b"---", None),
        (b"\xff\xfe", None),
        (b"", None),
        (b'"' + b"x" * MAX_BODY + b'"', None),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_bodies_that_are_no_json(body: bytes, message: str | None) -> None:
    """The title of an HTML page is read, and a body of one text line; of others nothing."""
    assert read_error(body) == ErrorFacts(message=message, in_json=False)
    assert find_error(body) == NOTHING


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"error": "m"}',
        b'upstream said: {"error": "m"}',
        b'{"error": {"message": "m", "x": 1e400, "y": NaN, "z": %s}}' % (b"9" * 5000),
        b'{"error": {"message": "m", "x": "\xff"}}',
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_json_that_is_barely_json(body: bytes) -> None:
    """A byte order mark, words around, long numbers and bad UTF-8 hide no error."""
    assert read_error(body).message == "m"


def test_a_number_of_any_length() -> None:
    """A code of more digits than Python reads is kept as text, up to a limit."""
    body = b'{"error": {"message": "m", "code": %s}}' % (b"9" * 5000)
    assert read_error(body).code == "9" * 500


def test_half_an_emoji() -> None:
    """A lone surrogate becomes U+FFFD, in each fact."""
    body = rb'{"error": {"message": "m \ud83d", "code": "\udc00"}}'
    assert (read_error(body).message, read_error(body).code) == ("m \ufffd", "\ufffd")


def test_deep_errors() -> None:
    """An error nested more than fifty deep is not looked for, and breaks nothing."""
    said: Any = {"error": {"message": "m"}}
    for _ in range(50):
        said = {"error": said}
    assert read_error(json.dumps(said).encode()) == NOTHING


def test_nested_texts_of_braces() -> None:
    """The search for an error in a text is bounded, however many braces it has."""
    text = "{'" * 30_000
    assert read_error(json.dumps({"message": text}).encode()).message == text


@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        (QUOTA, True),
        ([QUOTA], True),
        ({"error": {"code": "c"}}, True),
        ({"errors": [{"code": "c"}]}, True),
        ({"detail": "d"}, True),
        ({"message": "m"}, True),
        ({"statusCode": 401, "message": "m"}, True),
        ({"error": "text", "data": None}, True),
        ({"type": "list", "items": []}, False),
        ({"code": 5}, False),
        ({"error": {}}, False),
        ({"error": None}, False),
        ({"errors": []}, False),
        ("text", False),
        (["text"], False),
        ([], False),
        (5, False),
    ],
    ids=str,
)
def test_errors_that_come_with_200(body: Any, *, is_error: bool) -> None:
    """A body with status 200 is an error only if it is an object with an error."""
    assert bool(find_error(json.dumps(body).encode())) is is_error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("error", "errors", "message", "detail", "loc", "msg", "type", "code"),
                    *("param", "status", "source", "innererror", "details", "title", "target"),
                ]
            ),
            inner,
            max_size=4,
        )
        | inner.map(json.dumps)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json(said: Any) -> None:
    """The facts of any JSON are texts that can be shown, or none."""
    for found in (read_error(json.dumps(said).encode()), find_error(json.dumps(said).encode())):
        for fact in (found.message, found.type, found.param, found.code):
            assert fact is None or fact.encode() is not None
        assert found.status is None or 400 <= found.status < 600


@given(st.binary() | st.text().map(str.encode))
def test_any_body(body: bytes) -> None:
    """Reading any bytes raises nothing."""
    assert isinstance(read_error(body), ErrorFacts)
