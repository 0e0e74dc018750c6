"""The dialects of error bodies: what a server, or whatever stands before it, says went wrong.

`DIALECTS` is the table: each entry reads one form of JSON object, and a form may hold another one.
Bytes come in and facts go out. Nothing here raises, or knows what an error means to a call: see
`wire_errors`.
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

MAX_BODY: Final = 1024 * 1024  # bytes: no error is that long, and what is longer is not looked into
MAX_FACT: Final = 500  # characters
MAX_DEPTH: Final = 24  # an error within an error takes three steps, and each proxy may add one
MAX_ITEMS: Final = 5  # of a list of errors
_MAX_SEARCHED: Final = 65_536  # characters of a text that may hold an error as JSON
_MAX_LINE: Final = 200  # characters of a body that is a line of text


class ErrorFacts(Struct, frozen=True):
    """What an error body says. `status` is one that it names; `in_json` is false for bare text."""

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
    """Return what the body of an answer says that is an error by its status."""
    text, said = _decoded(body)
    if said is None:
        return _inside(text, MAX_DEPTH, around=True) or _in_words(text)
    return _error_in(said, MAX_DEPTH)


def find_error(body: bytes) -> ErrorFacts:
    """Return what a body says that came with status 200: an error only if it is an object."""
    _, said = _decoded(body)
    first = said[0] if isinstance(said, list) and said else said
    if not isinstance(first, dict):
        return NOTHING
    facts = _error_in(said, MAX_DEPTH)
    return facts if facts.message or not _ERROR_KEYS.isdisjoint(first) else NOTHING


def _decoded(body: bytes) -> tuple[str, Json]:
    """Return a body as text, and as JSON where it is some."""
    text = body.decode("utf-8-sig", "replace") if len(body) <= MAX_BODY else ""
    try:
        return text, json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError):
        return text, None


def _integer(digits: str) -> int | str:
    """Return an integer; one with more digits than Python reads stays as it was written."""
    try:
        return int(digits)
    except ValueError:
        return digits


# --- the table ------------------------------------------------------------------------------------


def _nested(said: Object, depth: int) -> ErrorFacts:
    """Read `{"error": {…}}` of OpenAI, Azure, Google and LiteLLM, and a gateway's `{"error": "…"}`.

    A word beside a text is a code with OAuth (`invalid_token`), and elsewhere a type.
    """
    error, beside = said["error"], _flat(said, depth)
    if not isinstance(error, str):
        return _merged(_error_in(error, depth), ErrorFacts(code=_status_code(error)), beside)
    named = ErrorFacts(code=error) if _WORD.fullmatch(error) else ErrorFacts(type=_text(error))
    text = named if beside.message else _error_in(error, depth, beside)
    return _merged(text, beside)


def _listed(said: Object, depth: int) -> ErrorFacts:
    """Read `{"errors": […]}` of JSON:API, GraphQL and Cloudflare; ASP.NET's is by parameter."""
    errors, beside = said["errors"], _flat(said, depth)
    if isinstance(errors, dict):
        items = islice(errors.items(), MAX_ITEMS)
        errors = [{"param": name, "message": problems} for name, problems in items]
    return _merged(_error_in(errors, depth), beside)


def _located(said: Object, _: int) -> ErrorFacts:
    """Read `{"loc": ["query", "limit"], "msg": …, "type": …}`: an item of FastAPI's `detail`."""
    steps = said["loc"] if isinstance(said["loc"], list) else []
    where, problem = ".".join(map(str, steps[:MAX_ITEMS])), _text(said.get("msg"))
    match steps:
        case ["query" | "path", str(name)]:
            param = _text(name)
        case _:
            param = None
    message = f"{where}: {problem}" if where and problem else problem
    return ErrorFacts(message=message, type=_text(said.get("type")), param=param)


def _flat(said: Object, depth: int) -> ErrorFacts:
    """Read `{"message": …, "code": …}` and its like.

    FastAPI's `{"detail": …}`, problem details (RFC 9457), Azure's API management, AWS, Spring.
    """
    own = ErrorFacts(
        type=_text(_one_of(said, "type", "__type")),
        param=_text(_one_of(said, "param", "target")) or _parameter(said.get("source")),
        code=_text(said.get("code")),
        status=_status(_one_of(said, "statusCode", "status_code", "status")),
    )
    status = said.get("status")
    word = _text(status) if isinstance(status, str) and not own.status else None
    texts = [_error_in(said.get(name), depth, own) for name in _TEXTS]
    behind = [_error_in(said.get(name), depth) for name in _BEHIND]
    texts = [facts for facts in texts if facts]
    return _merged(*texts[:1], own, *texts[1:], *behind, ErrorFacts(type=word))


_TEXTS: Final = ("message", "Message", "error_description", "detail", "msg", "title", "reason")
_BEHIND: Final = ("innererror", "extensions", "details")  # Azure, GraphQL, Google

# The key that tells a form of object → what reads it; the first one that is there. Others are flat.
DIALECTS: Final[dict[str, Callable[[Object, int], ErrorFacts]]] = {
    "error": _nested,
    "errors": _listed,
    "loc": _located,
}
_ERROR_KEYS: Final = frozenset({"error", "errors"})


def _error_in(said: Json, depth: int, own: ErrorFacts = NOTHING) -> ErrorFacts:
    """Return what a value says: an object by its dialect, a list, or a text.

    `own` is what stands beside a text. With a code of the API's in it, the text is the API's own as
    well, and no error that a proxy wraps in words.
    """
    if depth == 0 or not said:
        return NOTHING
    if isinstance(said, dict):
        read = next((DIALECTS[key] for key in DIALECTS if said.get(key) is not None), _flat)
        return read(said, depth - 1)
    if isinstance(said, list):
        found = [facts for item in said[:MAX_ITEMS] if (facts := _error_in(item, depth - 1))]
        told = "; ".join(facts.message for facts in found if facts.message)
        return _merged(ErrorFacts(message=told or None), *found)
    if not isinstance(said, str):
        return NOTHING
    wrapped = own.code is None or _is_status(own.code)
    return _inside(said, depth - 1, around=wrapped) or ErrorFacts(message=_whole(said))


# --- an error in a text ---------------------------------------------------------------------------

_DECODER: Final = json.JSONDecoder(parse_int=_integer)


def _inside(text: str, depth: int, *, around: bool) -> ErrorFacts:
    """Return the error that a text holds as JSON; with `around`, also amid other words.

    Proxies pass one on like that: LiteLLM as `litellm.RateLimitError: … {"error": …}`.
    """
    text = text[:_MAX_SEARCHED]
    start = text.find("{")
    for _ in range(MAX_ITEMS):
        if start < 0:
            break
        found, end = _object_at(text, start)
        is_whole = not text[:start].strip() and not text[end:].strip()
        if found and (is_whole or (around and "error" in found)):
            return _error_in(found, depth)
        start = text.find("{", end)
    return NOTHING


def _object_at(text: str, start: int) -> tuple[Object, int]:
    """Return the object that begins at a brace, and where it ends; an empty one if none does."""
    for spelled in (str, _from_python):
        written = spelled(text[start:])
        try:
            found, end = _DECODER.raw_decode(written)
        except (ValueError, RecursionError):
            continue
        return found, start + end if written == text[start:] else len(text)
    return {}, start + 1


def _from_python(text: str) -> str:
    """Return as JSON what Python shows of it: `{'error': {'code': None}}`."""
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
_SAYS_NOTHING: Final = re.compile(r"[<{\[]|null$|\W*$")


def _merged(*facts: ErrorFacts) -> ErrorFacts:
    """Return of each fact the first; a code that is a mere status gives way to another."""
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
    """Return the status of an error that a value names, as a number or as digits."""
    number = str(value)
    return int(number) if _is_status(number) and number[0] in "45" else None


def _parameter(source: Json) -> str | None:
    """Return the parameter in JSON:API's `{"source": {"parameter": …}}`."""
    return _text(source.get("parameter")) if isinstance(source, dict) else None


def _one_of(said: Object, *names: str) -> Json:
    return _first(said.get(name) for name in names)


def _text(value: Json) -> str | None:
    """Return a fact as text, whatever JSON it is, so that none is lost; None for null."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _whole(text[:MAX_FACT])


def _whole(text: str) -> str:
    """Return the text with U+FFFD for half an emoji, so that it can be written anywhere."""
    return _SURROGATE.sub("\ufffd", text)


def _in_words(text: str) -> ErrorFacts:
    """Return what a body says that is no JSON: the title of a page of HTML, or its only line."""
    title = _TITLE.search(text)
    line = " ".join(html.unescape(title[1]).split()) if title else text.strip()
    if _SAYS_NOTHING.match(line) or len(line) > _MAX_LINE or not line.isprintable():
        return ErrorFacts(in_json=False)
    return ErrorFacts(message=line, in_json=False)
