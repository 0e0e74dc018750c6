"""Requests as tables: the arguments of a call, and its URL."""

from enum import Enum
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages import ConfigurationError
from aiomessages.values.redaction import concealed
from aiomessages.wire.requests import (
    API,
    Resource,
    check_completion_id,
    check_page_options,
    page_limit,
)


def url_of(resource: Resource) -> str:
    """Return the URL of a request."""
    return resource.origin + resource.target()


@pytest.mark.parametrize(
    "name", ["chatcmpl-1", "run:é+1@x", "a.b", "...", "~", "日本", "a" * 256, "a." * 128, "a&b=c"]
)
def test_completion_ids(name: str) -> None:
    """An id is quoted into one segment of the path, whatever its characters are."""
    assert check_completion_id(name) == name
    url = urlsplit(url_of(API("https://h/v1").completion(name, {})))
    assert unquote(url.path) == f"/v1/chat/completions/{name}"
    assert url.path.count("/") == 4
    assert (url.query, url.fragment) == ("", "")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "a?b",
        "a#b",
        "a%2fb",
        "a\\b",
        "a b",
        "a\n",
        "a\r\nb",
        "a\0",
        "a\x7f",
        "a\x85",
        "a\ud800",
        "a" * 257,
        "a." * 128 + "b",
        None,
        5,
        b"chatcmpl-1",
        ["chatcmpl-1"],
    ],
    ids=lambda name: ascii(name)[:60],
)
def test_completion_ids_that_cannot_be_used(name: object) -> None:
    """An id that could lead elsewhere than to one completion is refused."""
    with pytest.raises(ConfigurationError, match="completion_id"):
        check_completion_id(name)


@given(st.text() | st.text(st.sampled_from("./%?#\\a \ud800é")))
def test_any_completion_id(name: str) -> None:
    """Any text is refused, or becomes one segment below the completions."""
    try:
        check_completion_id(name)
    except ConfigurationError:
        return
    path = urlsplit(url_of(API("https://h/v1").completion(name, {}))).path
    assert path.isascii()
    assert unquote(path.removeprefix("/v1/chat/completions/")) == name
    assert path.split("/")[4] not in ("", ".", "..")


OPTIONS = {"after": None, "limit": None, "order": None, "max_items": None}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"after": "m-1"},
        {"limit": 1},
        {"limit": 100_000},
        {"order": "asc"},
        {"order": "desc"},
        {"max_items": 1},
    ],
    ids=str,
)
def test_page_options(options: dict[str, object]) -> None:
    """Values that a server could accept are sent, even a large limit."""
    check_page_options(**{**OPTIONS, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"after": ""},
        {"after": 5},
        {"after": "m\ud800"},
        {"limit": 0},
        {"limit": -1},
        {"limit": True},
        {"limit": 1.0},
        {"limit": "5"},
        {"order": ""},
        {"order": "ASC"},
        {"order": 1},
        {"max_items": 0},
        {"max_items": False},
    ],
    ids=ascii,
)
def test_page_options_that_make_no_sense(options: dict[str, object]) -> None:
    """Values that no server would accept are refused by name."""
    (name,) = options
    with pytest.raises(ConfigurationError, match=f"^{name} must"):
        check_page_options(**{**OPTIONS, **options})


class Five(int, Enum):
    """An int that formats as another text."""

    FIVE = 5


class Asc(str, Enum):  # noqa: UP042 the older way, which formats otherwise
    """A str that formats as another text."""

    ASC = "asc"


def test_plain_page_options() -> None:
    """Options become plain values, whatever their class was."""
    given = check_page_options(after=Asc.ASC, limit=Five.FIVE, order=Asc.ASC, max_items=Five.FIVE)
    assert given == ("asc", 5, "asc", 5)
    assert [type(option) for option in given] == [str, int, str, int]
    assert type(check_completion_id(Asc.ASC)) is str


@pytest.mark.parametrize(
    ("limit", "remaining", "default", "asked"),
    [
        (None, None, 100, 100),
        (None, None, None, None),
        (None, 30, 100, 30),
        (None, 130, 100, 100),
        (None, 7, None, 7),
        (None, 20, None, None),
        (None, 30, None, None),
        (50, None, 100, 50),
        (50, 10, 100, 10),
        (50, 130, None, 50),
        (500, None, 100, 500),
    ],
)
def test_page_limits(
    limit: int | None, remaining: int | None, default: int | None, asked: int | None
) -> None:
    """A page has the requested size, and no more items than are still wanted."""
    assert page_limit(limit, remaining, default=default) == asked


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ({}, "/x"),
        ({"a": ""}, "/x?a="),
        ({"order": "asc", "v": "1"}, "/x?order=asc&v=1"),
        ({"metadata[k&]": "ü /?="}, "/x?metadata%5Bk%26%5D=%C3%BC%20%2F%3F%3D"),
    ],
    ids=str,
)
def test_queries(query: dict[str, str], target: str) -> None:
    """Every parameter is sent and quoted, an empty one as well."""
    assert Resource("https://h", "/x", query).target() == target


def test_other_parameters() -> None:
    """A resource with other parameters keeps the rest."""
    before = Resource("https://h", "/x", {"order": "asc", "v": "1"})
    assert before.with_query(order="desc").target() == "/x?order=desc&v=1"
    assert before.target() == "/x?order=asc&v=1"
    assert repr(before) == "Resource(https://h/x)"


@pytest.mark.parametrize(
    ("base_url", "origin", "path"),
    [
        ("https://h", "https://h", "/chat/completions"),
        ("https://h/v1", "https://h", "/v1/chat/completions"),
        ("http://[::1]:80/a/b", "http://[::1]:80", "/a/b/chat/completions"),
    ],
)
def test_resources(base_url: str, origin: str, path: str) -> None:
    """Each resource of the API is below the path of the base URL."""
    api = API(base_url)
    found = [api.completions({}), api.completion("c", {}), api.messages("c", {})]
    assert {resource.origin for resource in found} == {origin}
    assert [resource.path for resource in found] == [path, f"{path}/c", f"{path}/c/messages"]


@pytest.mark.parametrize(
    ("query", "after", "limit", "target"),
    [
        ({}, None, None, "/x"),
        ({}, None, 20, "/x?limit=20"),
        ({}, "m-1", None, "/x?after=m-1"),
        ({}, "m-1", 20, "/x?limit=20&after=m-1"),
        ({"order": "asc"}, "m-1", 20, "/x?order=asc&limit=20&after=m-1"),
    ],
)
def test_pages(query: dict[str, str], after: str | None, limit: int | None, target: str) -> None:
    """The cursor and the size of a page follow the parameters of the list."""
    assert Resource("https://h", "/x", query).target(limit=limit, after=after) == target


@pytest.mark.unmeasured
@given(st.text(min_size=1))
def test_any_cursor(after: str) -> None:
    """A server reads exactly the cursor that it sent."""
    query = urlsplit(Resource("https://h", "/x", {}).target(limit=5, after=after)).query
    assert parse_qs(query, strict_parsing=True) == {"limit": ["5"], "after": [after]}


def test_a_cursor_that_holds_the_key() -> None:
    """A cursor that holds the key is sent unchanged, and not shown in the target."""
    target = Resource("https://h", "/x", {}).target(after=concealed("m-sk-canary-0", "sk-canary"))
    assert target == "/x?after=m-sk-canary-0"
    assert repr(target) == "'/x'"
