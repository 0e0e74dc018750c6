"""Chat examples: their form, and what chat templates of two families of models make of them."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import jinja2.sandbox
import pytest

from aiomessages.export.chat import chat_layout
from aiomessages.export.finetune import Reason
from aiomessages.export.stored import Fetched, SkipError
from aiomessages.server.sample import sample_records

if TYPE_CHECKING:
    from pathlib import Path

JSON = dict[str, Any]
QUESTION = {"role": "user", "content": "Is it raining?"}
REPLY = {"role": "assistant", "content": "It is.", "refusal": None}
PNG = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
TOOL = {
    "type": "function",
    "function": {"name": "rain", "description": "Ask a gauge.", "parameters": SCHEMA},
}


def fetched(messages: list[JSON], *replies: JSON, **more: Any) -> Fetched:
    """Return a conversation with the replies of its completion."""
    choices = [{"index": n, "message": reply} for n, reply in enumerate(replies)]
    said = [json.dumps(message).encode() for message in messages]
    return Fetched("c", [said], json.dumps({"choices": choices, **more}).encode())


def lines_of(conversation: Fetched) -> list[JSON]:
    """Return the lines of a conversation."""
    lines = chat_layout(conversation)
    found = [json.loads(line) for line in bytes(lines.text).splitlines()]
    assert lines.number == len(found)
    return found


def example(*messages: JSON, reply: JSON = REPLY) -> list[JSON]:
    """Return the messages of a conversation's example."""
    (line,) = lines_of(fetched([*messages], reply))
    assert list(line) == ["messages"]
    said: list[JSON] = line["messages"]
    return said


def calls(*arguments: str, content: str | None = None) -> JSON:
    """Return a message that calls a function, once for each of the arguments."""
    functions = [{"name": "rain", "arguments": text} for text in arguments]
    listed = [
        {"id": f"call_{n}", "type": "function", "function": called}
        for n, called in enumerate(functions)
    ]
    return {"role": "assistant", "content": content, "tool_calls": listed}


def answer(number: int, content: str = "wet") -> JSON:
    """Return the answer to a call."""
    return {"role": "tool", "content": content, "tool_call_id": f"call_{number}"}


# --- the form -------------------------------------------------------------------------------------


def test_a_line_for_each_reply() -> None:
    """Each reply ends a line of its own; ids and nulls are left out."""
    conversation = fetched([{"id": "m", **QUESTION, "name": None}], REPLY, {**REPLY, "content": ""})
    assert lines_of(conversation) == [
        {"messages": [QUESTION, {"role": "assistant", "content": text}]} for text in ("It is.", "")
    ]


def test_instructions_are_the_systems() -> None:
    """A template knows no developer, so that its message becomes the system's; a name stays."""
    said = example({"role": "developer", "content": "Be brief.", "name": "boss"}, QUESTION)
    assert said[0] == {"role": "system", "content": "Be brief.", "name": "boss"}


def test_calls_and_their_answers() -> None:
    """Arguments are an object, content is never null, and an answer names its call."""
    said = example(QUESTION, calls('{\n "place": "Ulm",\r\n "n": 1e400}', ""), answer(1), answer(0))
    first, second = said[1]["tool_calls"]
    assert said[1]["content"] == ""
    assert first == {
        "id": "call_0",
        "type": "function",
        "function": {"name": "rain", "arguments": {"place": "Ulm", "n": float("inf")}},
    }
    assert second["function"]["arguments"] == {}
    assert said[2] == {"role": "tool", "content": "wet", "tool_call_id": "call_1"}


def test_a_line_break_in_the_arguments_breaks_no_line() -> None:
    """The arguments are the model's own JSON, on one line."""
    lines = chat_layout(fetched([QUESTION], calls('{\n  "x": "a\\n b",\n  "y": 1.50\n}')))
    assert b'"arguments":{"x": "a\\n b","y": 1.50}' in lines.text
    assert bytes(lines.text).count(b"\n") == 1


def test_half_an_emoji_in_the_arguments() -> None:
    """A lone surrogate, which no UTF-8 text can hold, is replaced."""
    (line,) = lines_of(fetched([QUESTION], calls(r'{"x":"\ud83d"}')))
    assert line["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"x": "\ufffd"}


@pytest.mark.parametrize(
    "arguments", ["[]", "7", "null", "{", '{"a":}', "place=Ulm", '{"a":' * 9999, " "]
)
def test_arguments_that_are_no_object(arguments: str) -> None:
    """A template writes the arguments as an object, so that others skip the conversation."""
    with pytest.raises(SkipError, match=f"^{Reason.ARGUMENTS}$"):
        chat_layout(fetched([QUESTION], calls(arguments)))


def test_one_of_two_replies_with_such_arguments() -> None:
    """A reply that can be an example is written, and the other one counted with its reason."""
    lines = chat_layout(fetched([QUESTION], calls("[]"), REPLY))
    assert (lines.number, lines.left_out) == (1, (Reason.ARGUMENTS,))


def test_functions_as_they_once_were() -> None:
    """The deprecated call becomes a tool call without an id, and its answer a tool's."""
    called = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}
    said = example(QUESTION, called, {"role": "function", "name": "f", "content": "1"})
    function = {"name": "f", "arguments": {}}
    assert said[1]["tool_calls"] == [{"type": "function", "function": function}]
    assert said[2] == {"role": "tool", "content": "1", "name": "f"}


def test_a_refusal_is_what_was_said() -> None:
    """The form has no field for a refusal; its text is the content."""
    said = example(QUESTION, reply={"role": "assistant", "content": None, "refusal": "No."})
    assert said[1] == {"role": "assistant", "content": "No."}


def test_text_in_parts_is_one_text() -> None:
    """Parts without an image are joined, so that content has one type wherever it can."""
    parts = [{"type": "text", "text": "Look"}, {"type": "text", "text": " here."}]
    said = example({"role": "user", "content": None, "content_parts": parts})
    assert said[0]["content"] == "Look here."


def test_an_image_keeps_its_parts() -> None:
    """A message with an image has parts, as the processors of Hugging Face read them."""
    image = {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}
    said = example({"role": "user", "content": [{"type": "text", "text": "Look."}, image]})
    assert said[0]["content"] == [
        {"type": "text", "text": "Look."},
        {"type": "image", "url": PNG},
    ]


def test_tools() -> None:
    """Tools have their name, description and schema; without tools there is no key."""
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}  # type: ignore[dict-item]
    (line,) = lines_of(fetched([QUESTION], REPLY, tools=[strict]))
    assert line["tools"] == [TOOL]
    for none in ([], None):
        (line,) = lines_of(fetched([QUESTION], REPLY, tools=none))
        assert list(line) == ["messages"]


def test_reasons_are_those_of_finetune() -> None:
    """What a fine-tuning example cannot hold, a chat example cannot either."""
    with pytest.raises(SkipError, match=Reason.UNANSWERED):
        chat_layout(fetched([QUESTION, calls("{}"), QUESTION], REPLY))
    with pytest.raises(SkipError, match=Reason.NO_REPLY):
        chat_layout(fetched([QUESTION]))


# --- templates ------------------------------------------------------------------------------------
# Written for these tests in the manner of two families: each writes a role, the tools and the calls
# in its own way, and fails or writes nonsense for null content and for arguments that are text.

CHATML = """\
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}<tools>
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}</tools><|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content + '\n</tool_response><|im_end|>\n' }}
{%- elif not (tools and loop.first and message.role == 'system') %}
{{- '<|im_start|>' + message.role + '\n' + message.content }}
{%- for call in message.tool_calls or [] %}
{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}
{{- '}\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}"""

LLAMA = """\
{{- '<|begin_of_text|>' }}
{%- if messages[0].role == 'system' %}
{%- set system, said = messages[0].content | trim, messages[1:] %}
{%- else %}
{%- set system, said = '', messages %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}
{%- if tools is defined and tools is not none %}{{- 'Environment: ipython\n' }}{% endif %}
{{- 'Today: ' + strftime_now('%d %b %Y') + '\n\n' + system + '<|eot_id|>' }}
{%- for message in said %}
{%- if message.role == 'tool' %}
{{- '<|start_header_id|>ipython<|end_header_id|>\n\n' + message.content + '<|eot_id|>' }}
{%- elif message.tool_calls %}
{%- if message.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}
{%- set function = message.tool_calls[0].function %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "' + function.name }}
{{- '", "parameters": ' + function.arguments | tojson + '}<|eot_id|>' }}
{%- else %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}
{%- if message.content is string %}
{{- message.content | trim }}
{%- else %}
{%- for part in message.content %}
{{- '<|image|>' if part.type == 'image' else part.text | trim }}
{%- endfor %}
{%- endif %}
{{- '<|eot_id|>' }}
{%- endif %}
{%- endfor %}"""


def rendered(template: str, line: JSON) -> str:
    """Render a line as `apply_chat_template` of transformers does."""

    def tojson(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = date(2026, 1, 2).strftime
    # A message without a key has none in Jinja2, and null in a table of `datasets`.
    messages = [{"tool_calls": None, **message} for message in line["messages"]]
    return environment.from_string(template).render(messages=messages, tools=line.get("tools"))


WITH_TOOLS = fetched(
    [
        {"role": "system", "content": "Be brief."},
        QUESTION,
        calls('{"place": "Köln"}'),
        answer(0, "3 mm"),
    ],
    REPLY,
    tools=[TOOL],
)


def test_chatml_with_tools() -> None:
    """A template of the ChatML family writes the tools, the call and its answer once each."""
    (line,) = lines_of(WITH_TOOLS)
    assert rendered(CHATML, line) == (
        "<|im_start|>system\nBe brief.\n\n<tools>\n"
        f"{json.dumps(TOOL)}\n</tools><|im_end|>\n"
        "<|im_start|>user\nIs it raining?<|im_end|>\n"
        '<|im_start|>assistant\n\n<tool_call>\n{"name": "rain", "arguments": {"place": "Köln"}}\n'
        "</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n3 mm\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nIt is.<|im_end|>\n"
    )


def test_llama_with_tools() -> None:
    """A template of the Llama 3 family writes the call with its arguments as an object."""
    (line,) = lines_of(WITH_TOOLS)
    assert rendered(LLAMA, line) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "Environment: ipython\nToday: 02 Jan 2026\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nIs it raining?<|eot_id|>"
        '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "rain", "parameters": '
        '{"place": "Köln"}}<|eot_id|>'
        "<|start_header_id|>ipython<|end_header_id|>\n\n3 mm<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nIt is.<|eot_id|>"
    )


@pytest.mark.parametrize("template", [CHATML, LLAMA], ids=["ChatML", "Llama 3"])
def test_without_tools(template: str) -> None:
    """Without tools a template announces none."""
    (line,) = lines_of(fetched([QUESTION], REPLY))
    text = rendered(template, line)
    assert text.count("Is it raining?") == text.count("It is.") == 1
    assert not any(word in text for word in ("<tools>", "ipython", "tool_call"))


def test_an_image_in_a_template() -> None:
    """A template for images finds the part's type."""
    image = {"type": "image_url", "image_url": {"url": PNG}}
    said = [{"role": "user", "content": [{"type": "text", "text": "Look."}, image]}]
    (line,) = lines_of(fetched(said, REPLY))
    assert "Look.<|image|><|eot_id|>" in rendered(LLAMA, line)


# --- loading --------------------------------------------------------------------------------------


def sample_lines() -> list[JSON]:
    """Return the lines of the sample, and of a conversation with tools."""
    lines = lines_of(WITH_TOOLS)
    for record in sample_records():
        said = [json.dumps(message).encode() for message in record["messages"]]
        completion = json.dumps(record["completion"]).encode()
        try:
            lines += lines_of(Fetched(record["completion"]["id"], [said], completion))
        except SkipError:
            continue
    return lines


def shapes(value: Any, path: tuple[str, ...] = ()) -> set[tuple[tuple[str, ...], type]]:
    """Return the path and type of each value, down to those that are JSON of their own."""
    found = {(path, type(value))}
    if path[-1:] == ("arguments",) or path[-1:] == ("parameters",):
        return found
    for key, inner in value.items() if isinstance(value, dict) else ():
        found |= shapes(inner, (*path, key))
    for inner in value if isinstance(value, list) else ():
        found |= shapes(inner, (*path, "*"))
    return found


def test_each_key_has_one_type() -> None:
    """On every line a key has the same type, except content, which has parts with an image."""
    lines = sample_lines()
    types = [shape for line in lines for shape in shapes(line)]
    several = {path for path, _ in types if len({kind for at, kind in types if at == path}) > 1}
    assert len(lines) > 5
    assert several <= {("messages", "*", "content")}
    assert type(None) not in {kind for _, kind in types}


def test_datasets_loads_every_line(tmp_path: Path) -> None:
    """`datasets` reads a file as it was written; a key that is missing in a line is None there."""
    datasets = pytest.importorskip("datasets", reason="the session `trainers` installs it")
    lines = sample_lines()
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [without_none(row) for row in loaded] == lines
    assert [rendered(CHATML, without_none(row)) for row in loaded if is_text(row)] == [
        rendered(CHATML, line) for line in lines if is_text(line)
    ]


def is_text(line: JSON) -> bool:
    """Return whether all content of a line is text."""
    return all(isinstance(said["content"], str) for said in line["messages"])


def without_none(value: Any) -> Any:
    """Remove the keys that `datasets` adds, as TRL does."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value
