"""Read the body of an error, in the dialects of many servers, gateways and proxies.

`DIALECTS` is the table: each entry reads one form of JSON object, and a form may contain another.
Bytes come in and facts come out. Nothing here raises an error; `errors` decides what the facts mean
for a call.
"""

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

from msgspec import Struct

Json = Any
Object = Mapping[str, Json]

MAX_BODY: Final = 1024 * 1024  # bytes; no error is that long, and a longer body is not read
MAX_FACT: Final = 500  # characters
MAX_DEPTH: Final = 24  # each error within an error takes three levels, and each proxy may add one
MAX_ITEMS: Final = 5  # of a list of errors
_MAX_SEARCHED: Final = 65_536  # characters of a text that may contain a JSON error
_MAX_LINE: Final = 200  # characters of a body that is one line of text


class ErrorFacts(Struct, frozen=True):
    """The facts in an error body. `status` is a status in it; `in_json` is False for text."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | None = None
    status: int | None = None
    in_json: bool = True

    def __bool__(self) -> bool:
        return any((self.message, self.type, self.param, self.code))


NOTHING: Final = ErrorFacts()


def read_error(body: bytes) -> ErrorFacts:
    """Return the facts in the body of a response with an error status."""
    text, value = _decoded(body)
    if value is None:
        return _embedded(text, MAX_DEPTH, around=True) or _from_text(text)
    return _facts_of(value, MAX_DEPTH)


def find_error(body: bytes) -> ErrorFacts:
    """Return the facts in a body with status 200; none unless it is an object with an error."""
    _, value = _decoded(body)
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, dict):
        return NOTHING
    facts = _facts_of(value, MAX_DEPTH)
    return facts if facts.message or not _ERROR_KEYS.isdisjoint(first) else NOTHING


def _decoded(body: bytes) -> tuple[str, Json]:
    """Return a body as text, and as JSON if it is valid."""
    text = body.decode("utf-8-sig", "replace") if len(body) <= MAX_BODY else ""
    try:
        return text, json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError):
        return text, None


def _integer(digits: str) -> int | str:
    """Return an integer; one with more digits than Python reads stays a text."""
    try:
        return int(digits)
    except ValueError:
        return digits


# --- the table ------------------------------------------------------------------------------------


def _nested(value: Object, depth: int) -> ErrorFacts:
    """Read `{"error": {…}}` of OpenAI, Azure, Google and LiteLLM, and a gateway's `{"error": "…"}`.

    A word beside a message is a code in OAuth (`invalid_token`), and a type elsewhere.
    """
    error, flat = value["error"], _flat(value, depth)
    if not isinstance(error, str):
        return _merged(_facts_of(error, depth), ErrorFacts(code=_status_code(error)), flat)
    named = ErrorFacts(code=error) if _WORD.fullmatch(error) else ErrorFacts(type=_text(error))
    text = named if flat.message else _facts_of(error, depth, flat)
    return _merged(text, flat)


def _listed(value: Object, depth: int) -> ErrorFacts:
    """Read `{"errors": […]}` of JSON:API, GraphQL and Cloudflare; ASP.NET's is by parameter."""
    errors, flat = value["errors"], _flat(value, depth)
    if isinstance(errors, dict):
        items = islice(errors.items(), MAX_ITEMS)
        errors = [{"param": name, "message": problems} for name, problems in items]
    return _merged(_facts_of(errors, depth), flat)


def _located(value: Object, _: int) -> ErrorFacts:
    """Read `{"loc": ["query", "limit"], "msg": …, "type": …}`: an item of FastAPI's `detail`."""
    steps = value["loc"] if isinstance(value["loc"], list) else []
    where, problem = ".".join(map(str, steps[:MAX_ITEMS])), _text(value.get("msg"))
    match steps:
        case ["query" | "path", str(name)]:
            param = _text(name)
        case _:
            param = None
    message = f"{where}: {problem}" if where and problem else problem
    return ErrorFacts(message=message, type=_text(value.get("type")), param=param)


def _flat(value: Object, depth: int) -> ErrorFacts:
    """Read `{"message": …, "code": …}` and its like.

    FastAPI's `{"detail": …}`, problem details (RFC 9457), Azure's API management, AWS, Spring.
    """
    own = ErrorFacts(
        type=_text(_one_of(value, "type", "__type")),
        param=_text(_one_of(value, "param", "target")) or _parameter(value.get("source")),
        code=_text(value.get("code")),
        status=_status(_one_of(value, "statusCode", "status_code", "status")),
    )
    status = value.get("status")
    word = _text(status) if isinstance(status, str) and not own.status else None
    texts = [_facts_of(value.get(name), depth, own) for name in _TEXTS]
    details = [_facts_of(value.get(name), depth) for name in _DETAILS]
    texts = [facts for facts in texts if facts]
    return _merged(*texts[:1], own, *texts[1:], *details, ErrorFacts(type=word))


_TEXTS: Final = ("message", "Message", "error_description", "detail", "msg", "title", "reason")
_DETAILS: Final = ("innererror", "extensions", "details")  # Azure, GraphQL, Google

# The key by which a form is recognised → the function that reads it. The first key that the object
# has counts; an object with none of them is flat.
DIALECTS: Final[dict[str, Callable[[Object, int], ErrorFacts]]] = {
    "error": _nested,
    "errors": _listed,
    "loc": _located,
}
_ERROR_KEYS: Final = frozenset({"error", "errors"})


def _facts_of(value: Json, depth: int, own: ErrorFacts = NOTHING) -> ErrorFacts:
    """Return the facts in a value: an object in its dialect, a list, or a text.

    `own` are the facts beside a text. If they have a code of the API's, the text is the API's too,
    and not an error that a proxy has wrapped in words.
    """
    if depth == 0 or not value:
        return NOTHING
    if isinstance(value, dict):
        read = next((DIALECTS[key] for key in DIALECTS if value.get(key) is not None), _flat)
        return read(value, depth - 1)
    if isinstance(value, list):
        found = [facts for item in value[:MAX_ITEMS] if (facts := _facts_of(item, depth - 1))]
        text = "; ".join(facts.message for facts in found if facts.message)
        return _merged(ErrorFacts(message=text or None), *found)
    if not isinstance(value, str):
        return NOTHING
    wrapped = own.code is None or _is_status(own.code)
    return _embedded(value, depth - 1, around=wrapped) or ErrorFacts(message=_encodable(value))


# --- an error in a text ---------------------------------------------------------------------------

_DECODER: Final = json.JSONDecoder(parse_int=_integer)


def _embedded(text: str, depth: int, *, around: bool) -> ErrorFacts:
    """Return the facts of a JSON error in a text; with `around`, also with words around it.

    Proxies forward errors like that: LiteLLM as `litellm.RateLimitError: … {"error": …}`.
    """
    text = text[:_MAX_SEARCHED]
    start = text.find("{")
    for _ in range(MAX_ITEMS):
        if start < 0:
            break
        found, end = _object_at(text, start)
        is_whole = not text[:start].strip() and not text[end:].strip()
        if found and (is_whole or (around and "error" in found)):
            return _facts_of(found, depth)
        start = text.find("{", end)
    return NOTHING


def _object_at(text: str, start: int) -> tuple[Object, int]:
    """Return the object that begins at a brace, and its end; an empty object if there is none."""
    for spelled in (str, _from_python):
        written = spelled(text[start:])
        try:
            found, end = _DECODER.raw_decode(written)
        except (ValueError, RecursionError):
            continue
        return found, start + end if written == text[start:] else len(text)
    return {}, start + 1


def _from_python(text: str) -> str:
    """Return a Python repr as JSON: `{'error': {'code': None}}` becomes `{"error": …}`."""
    return _PYTHON.sub(_as_json, text)


_PYTHON: Final = re.compile(r"""'((?:[^'\\]|\\.)*)'|"(?:[^"\\]|\\.)*"|\\[nrt]|None|True|False""")
_CONSTANTS: Final = {"None": "null", "True": "true", "False": "false"}
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}


def _as_json(found: re.Match[str]) -> str:
    if found[1] is not None:
        return json.dumps(_ESCAPE.sub(_character, found[1]))
    return _CONSTANTS.get(found[0], " " if found[0].startswith("\\") else found[0])


def _character(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2]
    return chr(int(code, 16)) if code else _ESCAPED.get(escape[3], escape[3])


# --- values ---------------------------------------------------------------------------------------

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_WORD: Final = re.compile(r"[a-z]+(_[a-z]+)+")
_STATUS: Final = re.compile(r"[1-5][0-9][0-9]|None")  # Python's None, as LiteLLM writes it
_TITLE: Final = re.compile(r"<title[^<>]*>([^<]{1,500})", re.IGNORECASE)
_NO_MESSAGE: Final = re.compile(r"[<{\[]|null$|\W*$")


def _merged(*facts: ErrorFacts) -> ErrorFacts:
    """Return the first value of each fact; a code that is a status counts last."""
    codes = [one.code for one in facts if one.code is not None]
    return ErrorFacts(
        message=_first(one.message for one in facts),
        type=_first(one.type for one in facts),
        param=_first(one.param for one in facts),
        code=_first([*(code for code in codes if not _is_status(code)), *codes]),
        status=_first(one.status for one in facts),
    )


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _is_status(code: str) -> bool:
    return _STATUS.fullmatch(code) is not None


def _status_code(value: Json) -> str | None:
    """Return the code in `{"error": 429}`."""
    return str(value) if isinstance(value, int) and _is_status(str(value)) else None


def _status(value: Json) -> int | None:
    """Return the error status in a value, a number or a text of digits; None without one."""
    number = str(value)
    return int(number) if _is_status(number) and number[0] in "45" else None


def _parameter(source: Json) -> str | None:
    """Return the parameter in JSON:API's `{"source": {"parameter": …}}`."""
    return _text(source.get("parameter")) if isinstance(source, dict) else None


def _one_of(value: Object, *names: str) -> Json:
    return _first(value.get(name) for name in names)


def _text(value: Json) -> str | None:
    """Return any JSON value as text, so that no fact is lost; None for null."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _encodable(text[:MAX_FACT])


def _encodable(text: str) -> str:
    """Return the text with U+FFFD for each lone surrogate, so that it can be encoded."""
    return _SURROGATE.sub("\ufffd", text)


def _from_text(text: str) -> ErrorFacts:
    """Return the facts of a body that is not JSON: the title of an HTML page, or its only line."""
    title = _TITLE.search(text)
    line = " ".join(html.unescape(title[1]).split()) if title else text.strip()
    if _NO_MESSAGE.match(line) or len(line) > _MAX_LINE or not line.isprintable():
        return ErrorFacts(in_json=False)
    return ErrorFacts(message=line, in_json=False)
