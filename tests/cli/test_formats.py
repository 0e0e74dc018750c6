"""Each format over messages in memory: its output can be read back, or read by a person."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import yaml as yaml_reader

from aiomessages.cli import formats
from aiomessages.cli.exits import UsageError
from aiomessages.cli.output import Screen
from aiomessages.cli.safe_text import UNSAFE

PIPE = Screen()
TERMINAL = Screen(terminal=True)
MESSAGES: list[dict[str, Any]] = [
    {"id": "c-0", "role": "user", "content": "Grüße \x1b[31m\u202e 😀"},
    {"id": "c-1", "role": "assistant", "content": None, "odd": [1, {"x": None}]},
]
RAW = [json.dumps(message, ensure_ascii=False).encode() for message in MESSAGES]
NAMES: list[formats.Name] = ["pretty", "table", "json", "jsonl", "yaml", "raw"]


def written(format_: formats.Format, items: Sequence[Any]) -> bytes:
    """Return the output of a format for the items."""
    if not items:
        return format_.empty
    return format_.head + format_.between.join(map(format_.item, items)) + format_.tail


def of(name: formats.Name, screen: Screen, messages: Sequence[Any] = MESSAGES) -> bytes:
    """Return the output of the named format for the messages."""
    format_ = formats.named(name, screen)
    items = [json.dumps(m, ensure_ascii=False).encode() for m in messages]
    return written(format_, items if format_.reads_raw else messages)


@pytest.mark.parametrize("screen", [PIPE, TERMINAL])
def test_json(screen: Screen) -> None:
    """Json is one valid array with every field."""
    assert json.loads(of("json", screen)) == MESSAGES


def test_json_of_nothing() -> None:
    """Json of no messages is still an array."""
    assert json.loads(of("json", PIPE, [])) == []


@pytest.mark.parametrize("screen", [PIPE, TERMINAL])
def test_jsonl(screen: Screen) -> None:
    """Jsonl is one message a line."""
    assert [json.loads(line) for line in of("jsonl", screen).splitlines()] == MESSAGES


def test_jsonl_of_an_indenting_server() -> None:
    """A message that the server spread over lines is brought to one."""
    indented = json.dumps(MESSAGES[1], indent=2).replace("\n", "\r\n").encode()
    line = formats.named("jsonl", PIPE).item(indented)
    assert line.count(b"\n") == 1
    assert json.loads(line) == MESSAGES[1]


def test_jsonl_of_carriage_returns() -> None:
    """A server whose lines end in a carriage return alone gets them to one line, too."""
    line = formats.named("jsonl", PIPE).item(b'{\r  "a": 1,\r  "b": 2\r}')
    assert line == b'{"a": 1,"b": 2}\n'


def test_jsonl_of_odd_json() -> None:
    """Nothing is decoded on the way: a lone surrogate and a long number stay unchanged."""
    odd = rb'{"id":"c-0","content":"\ud83d","n":1.00000000000000000000000000000000001}'
    assert formats.named("jsonl", PIPE).item(odd) == odd + b"\n"


@pytest.mark.parametrize("screen", [PIPE, TERMINAL])
def test_yaml(screen: Screen) -> None:
    """Yaml is one list with every field."""
    assert yaml_reader.safe_load(of("yaml", screen)) == MESSAGES


def test_yaml_of_nothing() -> None:
    """Yaml of no messages is still a list."""
    assert yaml_reader.safe_load(of("yaml", PIPE, [])) == []


def test_raw_in_a_pipe() -> None:
    """Raw gives the server's bytes, whatever they are."""
    odd = [b'{"a" : 1.0}', b'{\n  "a": "\xff"\n}']
    assert written(formats.named("raw", PIPE), odd) == b"".join(item + b"\n" for item in odd)


@pytest.mark.parametrize("name", NAMES)
def test_at_a_terminal(name: formats.Name) -> None:
    """No format lets a control character or a bidi mark of a message reach a terminal."""
    shown = of(name, TERMINAL).decode()
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "Grüße" in shown
    assert "😀" in shown


HOSTILE = [
    "\x1b[2J",
    "\x07",
    "\r",
    "\x7f",
    "\x85",
    "\x9b31m",
    "\u061c",
    "\u200f",
    "\u202e",
    "\u2028",
]
HOSTILE += ["\u2066", "\u206f", "\ufeff", "\U000e0041", "\ufff9"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_everything_hostile_at_a_terminal(name: formats.Name, hostile: str) -> None:
    """Text that acts on a terminal is escaped in a key, a name and a part."""
    odd = f"a{hostile}b"
    call = {"id": odd, "type": "function", "function": {"name": odd, "arguments": odd}}
    message = {
        "id": odd,
        "role": odd,
        "name": odd,
        "content": odd,
        "content_parts": [{"type": odd, odd: odd}, {"type": "text", "text": odd}],
        "tool_calls": [call, {"id": odd, "type": odd, odd: odd}],
        "annotations": [{odd: odd}],
        "refusal": odd,
        odd: odd,
    }
    reply = {"index": 0, "message": message}
    completion = {"id": odd, "model": odd, "metadata": {odd: odd}, "choices": [reply], odd: odd}
    format_ = formats.of_completions(name, TERMINAL)
    item = json.dumps(completion, ensure_ascii=False).encode() if format_.reads_raw else completion
    shown = [of(name, TERMINAL, [message]), written(format_, [item])]
    if name != "raw":
        transformed = formats.named(name, TERMINAL, transformed=True)
        shown += [written(transformed, [message, odd, {odd: [odd]}])]
    assert not any(UNSAFE.search(text.decode()) for text in shown)
    if name in ("json", "jsonl", "raw"):
        (found,) = json.loads(shown[0]) if name == "json" else [json.loads(shown[0])]
        assert found == message


@pytest.mark.parametrize("name", ["json", "jsonl", "raw"])
def test_in_a_pipe(name: formats.Name) -> None:
    """A program gets the characters as the server sent them."""
    assert "\u202e" in of(name, PIPE).decode()


@pytest.mark.parametrize(("screen", "chosen"), [(PIPE, "jsonl"), (TERMINAL, "pretty")])
def test_auto(screen: Screen, chosen: formats.Name) -> None:
    """Auto is pretty at a terminal and jsonl elsewhere."""
    assert of("auto", screen) == of(chosen, screen)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("json", '[\n"é",\n{"a":[1]},\nnull\n]\n'),
        ("jsonl", '"é"\n{"a":[1]}\nnull\n'),
        ("yaml", '- "é"\n- a:\n    - 1\n- null\n'),
        ("pretty", 'é\n{\n  "a": [\n    1\n  ]\n}\nnull\n'),
        ("table", 'é\n{\n  "a": [\n    1\n  ]\n}\nnull\n'),
    ],
)
def test_values_of_a_transform(name: formats.Name, shown: str) -> None:
    """A transform may return any JSON type, in every format."""
    format_ = formats.named(name, PIPE, transformed=True)
    assert written(format_, ["é", {"a": [1]}, None]).decode() == shown


def test_raw_of_a_transform() -> None:
    """A transform and the server's bytes exclude each other."""
    with pytest.raises(UsageError, match="--transform"):
        formats.named("raw", PIPE, transformed=True)


def test_a_terminal_without_unicode() -> None:
    """A terminal without Unicode gets an escape in place of a character that it cannot show."""
    shown = of("pretty", Screen(terminal=True, encoding="ascii"))
    assert rb"Gr\xfc\xdfe" in shown
    assert b"user -----" in shown
