"""A conversation laid out for reading: every part is there, none floods the screen."""

import json
from typing import Any

import pytest

from aiomessages.cli import pretty
from aiomessages.cli.output import Screen


def shown(*, color: bool = False, width: int = 60, **fields: Any) -> str:
    """Return the display of a user's message with these fields."""
    screen = Screen(terminal=True, color=color, width=width)
    return pretty.message(screen)({"id": "c-0", "role": "user", "content": None} | fields)


def part(kind: str, **fields: Any) -> str:
    """Return the display of a message with one content part, without the heading."""
    return shown(content_parts=[{"type": kind, **fields}]).split("\n", 1)[1].strip()


def test_heading() -> None:
    """The heading names the role, and who spoke where that is known."""
    assert shown(role="tool", name="search", tool_call_id="call_1").startswith(
        "tool · search · call_1 ─"
    )


def test_unknown_role() -> None:
    """A role of the future is shown as it is."""
    assert shown(role="critic", content="x").startswith("critic ─")


def test_long_text() -> None:
    """Text is wrapped between its words at the width of the screen."""
    lines = shown(content="word " * 40, width=30).splitlines()[1:]
    assert {len(line) for line in lines[:-1]} == {29}
    assert {word for line in lines for word in line.split()} == {"word"}


def test_a_wide_screen() -> None:
    """Text stays readable on a screen wider than a page."""
    assert max(map(len, shown(content="word " * 99, width=300).splitlines())) <= 100


def test_parts_beside_content() -> None:
    """If a message has parts, its content is their text joined and is not shown again."""
    parts = [{"type": "text", "text": "hello"}]
    assert shown(content="hello", content_parts=parts).count("hello") == 1


@pytest.mark.parametrize(
    ("kind", "fields", "label"),
    [
        (
            "image_url",
            {"image_url": {"url": "data:image/png;base64," + "A" * 43_000, "detail": "high"}},
            "[image: image/png, 32.2 kB, high]",
        ),
        ("image_url", {"image_url": {"url": "data:,"}}, "[image: text/plain]"),
        (
            "image_url",
            {"image_url": {"url": "https://x.example/a.png", "detail": None}},
            "[image: https://x.example/a.png]",
        ),
        ("image_url", {"image_url": None}, "[image: without a URL]"),
        ("input_audio", {"input_audio": {"data": "AAA=", "format": "wav"}}, "[audio: wav, 2 B]"),
        ("file", {"file": {"filename": "a.pdf", "file_id": "file-1"}}, "[file: a.pdf, file-1]"),
        (
            "file",
            {"file": {"filename": "a", "file_data": "data:text/csv;base64," + "A" * 4_000_000}},
            "[file: a, 3.0 MB]",
        ),
        ("file", {"file": {"file_data": "AAAA"}}, "[file: 3 B]"),
        ("file", {}, "[file]"),
        ("refusal", {"refusal": "I can't"}, "refusal: I can't"),
        ("hologram", {"depth": 3}, "[hologram: 29 B of JSON]"),
        ("te\x1bxt", {}, r"[te\x1bxt: 21 B of JSON]"),
    ],
)
def test_parts(kind: str, fields: dict[str, Any], label: str) -> None:
    """A part that cannot be shown becomes a short label, with its size if that is known."""
    assert part(kind, **fields) == label


@pytest.mark.parametrize("kind", [["x"], {"a": 1}, 5, True])
@pytest.mark.parametrize("name", ["content", "content_parts", "tool_calls"])
def test_a_type_that_is_no_text(name: str, kind: Any) -> None:
    """A part or a call whose type is any other JSON is one of no type, and costs nothing else."""
    fields = {name: [{"type": kind}], "refusal": "I can't"}
    assert "[part of no type: " in shown(**fields)
    assert "I can't" in shown(**fields)


def test_a_long_url() -> None:
    """A URL of thousands of characters is cut short."""
    assert len(part("image_url", image_url={"url": "https://x/" + "a" * 9000})) < 250


def test_a_part_that_is_no_object() -> None:
    """A part of a wrong type is shown as well."""
    assert "[part of no type: 3 B of JSON]" in shown(content_parts=["x"])


def test_a_tool_call() -> None:
    """A tool call has its name, its id and its arguments laid out."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "find", "arguments": '{"to":"Köln","n":[1]}'},
    }
    assert shown(tool_calls=[call]).splitlines()[1:] == [
        "→ find · call_1",
        "  {",
        '    "to": "Köln",',
        '    "n": [',
        "      1",
        "    ]",
        "  }",
    ]


@pytest.mark.parametrize("arguments", ["{broken", "17", ""])
def test_arguments_that_are_no_object(arguments: str) -> None:
    """Models write broken JSON; it is shown as it came."""
    call = {"id": None, "type": "function", "function": {"name": "f", "arguments": arguments}}
    assert shown(tool_calls=[call]).splitlines()[1:3] == ["→ f", f"  {arguments}".rstrip()]


def test_a_custom_call() -> None:
    """A custom tool's input is text."""
    call = {"id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls -l"}}
    assert shown(tool_calls=[call]).splitlines()[1:] == ["→ sh · c", "  ls -l"]


def test_an_unknown_call() -> None:
    """A call of the future is a label."""
    assert "[mcp: 14 B of JSON]" in shown(tool_calls=[{"type": "mcp"}])


def test_a_legacy_call() -> None:
    """The function_call of old completions is shown like a tool call."""
    assert "→ f" in shown(function_call={"name": "f", "arguments": "{}"})


def test_a_tools_answer() -> None:
    """JSON that a tool answered is laid out, other text is not touched."""
    assert '\n  "a": 1\n' in shown(role="tool", content='{"a":1}')
    assert "\nplain\n" in shown(role="tool", content="plain")
    assert '{"a":1}' in shown(role="user", content='{"a":1}')


def test_an_answer_nested_too_deep() -> None:
    """JSON that is nested too deep for a parser is shown as text."""
    assert "[[[[" in shown(role="tool", content="[" * 100_000)


def test_a_refusal_and_audio_and_annotations() -> None:
    """Refusal, audio and annotations of an assistant's message are shown too."""
    text = shown(
        refusal="no",
        audio={"id": "a1", "data": "AAAA", "transcript": "spoken"},
        annotations=[{"type": "url_citation"}],
    )
    assert "refusal: no" in text
    assert "[audio: a1, 3 B]\nspoken" in text
    assert 'annotation: {"type":"url_citation"}' in text


def test_audio_without_a_transcript() -> None:
    """Audio alone is a label."""
    assert shown(audio={"id": "a1"}).endswith("[audio: a1]\n")


def test_color() -> None:
    """Colour comes from us alone: the sequence in the text is shown, not obeyed."""
    text = shown(color=True, content="\x1b[5m")
    assert "\x1b[1;32muser" in text
    assert "\x1b[5m" not in text
    assert "\x1b[7m\\x1b\x1b[0m[5m" in text


def test_no_color() -> None:
    """Without colour there is no escape sequence at all."""
    assert "\x1b" not in shown(content='a\x1b "b"', role="tool")


def test_markup_in_text() -> None:
    """Brackets and colons of the text are no markup."""
    assert "[bold]x[/bold] :smile:" in shown(content="[bold]x[/bold] :smile:")


def test_rows() -> None:
    """A row is one line of the screen's width with number, role, size and the beginning."""
    row = pretty.row(Screen(width=60))
    text = row({"id": "c-12", "role": "user", "content": "line\nline " * 50})
    assert text.startswith("   12  user          590 B  line line")
    assert text.endswith("…\n")
    assert len(text) == 61


def test_rows_of_wide_characters() -> None:
    """A row counts cells, not characters."""
    text = pretty.row(Screen(width=40))({"id": "c-0", "role": "user", "content": "漢" * 99})
    assert len(text.rstrip("\n…")) < 35


def test_rows_without_numbered_ids() -> None:
    """Other servers number otherwise: then the rows are counted from 0."""
    row = pretty.row(Screen(width=60))
    assert [row({"id": "x", "role": "user"}).split()[0] for _ in range(2)] == ["0", "1"]


def test_a_row_of_calls() -> None:
    """Tool calls stand in a row as well."""
    call = {"type": "function", "function": {"name": "f", "arguments": json.dumps({"a": 1})}}
    text = pretty.row(Screen(width=80))({"id": "x", "role": "assistant", "tool_calls": [call]})
    assert text.rstrip().endswith('→ f { "a": 1 }')


# --- what does not fit ----------------------------------------------------------------------------

ODD = [5, 1.5, True, "text", {}, {"a": 1}, [5, None, "x", {}, {"type": 5}, {"type": "function"}]]


@pytest.mark.parametrize("value", [None, False, [], *ODD], ids=str)
@pytest.mark.parametrize(
    "name",
    [
        *("id", "role", "content", "name", "content_parts", "refusal", "tool_calls"),
        *("function_call", "annotations", "audio", "tool_call_id"),
    ],
)
def test_a_field_of_another_type(name: str, value: object) -> None:
    """A message is shown whatever a field of it holds, as a whole and as a row."""
    found = {"id": "c-0", "role": "user", "content": "Hi", name: value}
    assert shown(**found).startswith("no role" if name == "role" and value != "text" else "")
    row = pretty.row(Screen(terminal=True, width=80))(found)
    assert name in ("content", "content_parts") or "Hi" in row


def test_content_that_is_a_list_of_parts() -> None:
    """A list as content is shown as parts are; content of any other type as unknown JSON."""
    parts = [{"type": "text", "text": "hello"}, {"type": "text", "text": "there"}]
    assert "hello\nthere" in shown(content=parts)
    assert "7 B of JSON" in shown(content={"a": 1})
