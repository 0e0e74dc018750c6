"""The names that a prompt or an editor offers on each public object: the documented ones."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import aiomessages
from aiomessages import (
    AsyncMessagesClient,
    Choice,
    Conversation,
    Message,
    MessagePage,
    OddMessage,
    Reply,
    StoredCompletion,
    TextPart,
)
from aiomessages.blocking.streams import Page as BlockingPage
from aiomessages.export import ExportReport
from aiomessages.export.report import Progress
from aiomessages.models import keep

CLIENT = AsyncMessagesClient("sk-canary-0123456789")
STREAM = "aclose asend athrow collect cursor pages raw"
MESSAGE = (
    "annotations audio content content_parts function_call id name refusal role text to_dict"
    " to_json tool_call_id tool_calls"
)
PAGE = (
    "attempts body completion_id count data first_id get_next_page has_more has_next_page headers"
    " ids index last_id next_cursor object request_id to_dict to_json"
)
REPORT = (
    "complete destination failed failed_ids finished gone layout lost pending progress removed rows"
    " sha256 skipped was_finished"
)
REPLY = "annotations audio content function_call mismatches refusal role text to_dict to_json"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (
            CLIENT,
            "aclose base_url completion completions conversations list raw_completion with_options",
        ),
        (CLIENT.list("c"), STREAM),
        (CLIENT.completions(), f"{STREAM} selection"),
        (CLIENT.list("c").raw(), STREAM),
        (CLIENT.list("c").pages(), "aclose asend athrow cursor"),
        (CLIENT.conversations([]), "aclose asend athrow collect"),
        (MessagePage([], []), PAGE),
        (BlockingPage(None, MessagePage([], [])), PAGE),
        (Message("m", "user"), MESSAGE),
        (
            TextPart("hi"),
            "file image_url input_audio prompt_cache_breakpoint text to_dict to_json type",
        ),
        (Choice(0, Reply()), "finish_reason index logprobs message to_dict to_json"),
        (keep(OddMessage("m", "user"), {"id": "m"}), f"{MESSAGE} mismatches"),
        (keep(Reply(), {}), f"{REPLY} tool_calls"),
        (
            keep(StoredCompletion("c", []), {"id": "c"}),
            f"{' '.join(StoredCompletion.__struct_fields__)} mismatches to_dict to_json",
        ),
        (
            Conversation("c", []),
            "completion completion_id error messages reply to_dict to_json",
        ),
        (
            ExportReport(Path("x"), "messages", Progress(), True, 0, {}, {}, {}),
            REPORT,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_names_on_an_object(value: Any, names: str) -> None:
    """An object offers its documented names, and no internal ones."""
    assert [name for name in dir(value) if not name.startswith("_")] == sorted(names.split())


def test_names_of_the_package() -> None:
    """The package offers its public names, also those that were not loaded yet, and no others."""
    assert dir(aiomessages) == sorted([*aiomessages.__all__, "__version__"])


@pytest.mark.parametrize(
    "name", ["blocking", "export", "fastapi", "keys", "models", "server", "testing"], ids=str
)
def test_names_of_a_module(name: str) -> None:
    """A public module offers its public names, and neither its imports nor its files."""
    module = import_module(f"aiomessages.{name}")
    assert dir(module) == sorted(module.__all__)


def test_names_of_the_package_for_type_checkers() -> None:
    """Type checkers and users get each name from the same module."""
    tree = ast.parse(Path(aiomessages.__file__).read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    typed = {alias.asname: node.module for node in imports for alias in node.names if alias.asname}
    assert typed.keys() == {*aiomessages.__all__, "__version__"}
    for name in aiomessages.__all__:
        module = import_module(f"aiomessages.{typed[name]}")
        assert getattr(aiomessages, name) is getattr(module, name)
