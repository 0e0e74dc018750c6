"""Values of the package in FastAPI routes and Pydantic models: each is written as it was sent."""

import inspect
import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import aiohttp
import pytest
from fastapi import Body, FastAPI
from pydantic import BaseModel, TypeAdapter, ValidationError
from web import serving

import aiomessages.fastapi  # noqa: F401 - it teaches FastAPI to encode pages
from aiomessages import (
    Choice,
    CompletionUsage,
    Conversation,
    FunctionCall,
    FunctionToolCall,
    ImagePart,
    ImageURL,
    Message,
    MessagePage,
    NotFoundError,
    OddMessage,
    Reply,
    StoredCompletion,
    TextPart,
    UnknownPart,
)
from aiomessages.blocking.streams import Page as BlockingPage
from aiomessages.models import ContentPart, keep
from aiomessages.pages import CompletionPage, RawPage

HI = Message("m-1", "user", "hi")
HI_SENT = {"id": "m-1", "role": "user", "content": "hi", "name": None, "content_parts": None}
NEWER = {"id": "m-2", "role": "critic", "content": "no", "mood": {"calm": True}}
ODD = keep(OddMessage("m-2", "critic", "no"), NEWER)
COMPLETION = keep(StoredCompletion("c-1", []), {"id": "c-1", "choices": [], "new": 1})
PAGE = MessagePage([HI, ODD], ["m-1", "m-2"], first_id="m-1", last_id="m-2")
PAGE_SENT = {
    "object": "list",
    "data": [HI_SENT, NEWER],
    "first_id": "m-1",
    "last_id": "m-2",
    "has_more": False,
}
FOUND = Conversation("c-1", [HI, ODD], keep(Reply(content="yes"), {"content": "yes", "new": 1}))
CALL = FunctionToolCall("call-1", FunctionCall("f", "{}"))
CALL_SENT = {"type": "function", "id": "call-1", "function": {"name": "f", "arguments": "{}"}}
MISSED = Conversation("c-2", [], error=NotFoundError("not here"))

VALUES: dict[str, tuple[Any, Any]] = {
    "a message": (HI, HI_SENT),
    "an odd message": (ODD, NEWER),
    "a list of messages": ([HI, ODD], [HI_SENT, NEWER]),
    "a completion": (COMPLETION, {"id": "c-1", "choices": [], "new": 1}),
    "a page of messages": (PAGE, PAGE_SENT),
    "a page of completions": (
        CompletionPage([COMPLETION], ["c-1"], has_more=True),
        {
            "object": "list",
            "data": [{"id": "c-1", "choices": [], "new": 1}],
            "first_id": None,
            "last_id": None,
            "has_more": True,
        },
    ),
    "a content part": (TextPart("hi"), {"type": "text", "text": "hi"}),
    "a tool call": (CALL, CALL_SENT),
    "a choice": (
        Choice(0, FOUND.reply or Reply()),
        {"index": 0, "message": {"content": "yes", "new": 1}}
        | {"finish_reason": None, "logprobs": None},
    ),
    "a page of bytes": (
        RawPage([json.dumps(NEWER).encode()], ["m-2"]),
        {"object": "list", "data": [NEWER], "first_id": None, "last_id": None, "has_more": False},
    ),
    "a conversation": (
        FOUND,
        {
            "completion_id": "c-1",
            "messages": [HI_SENT, NEWER],
            "reply": {"content": "yes", "new": 1},
            "error": None,
            "completion": None,
        },
    ),
    "a conversation with an error": (
        MISSED,
        {
            "completion_id": "c-2",
            "messages": [],
            "reply": None,
            "error": {"type": "NotFoundError", "message": str(MISSED.error)},
            "completion": None,
        },
    ),
}
each_value = pytest.mark.parametrize(("value", "sent"), VALUES.values(), ids=VALUES)


async def answer(route: Callable[..., Any], **options: Any) -> Any:
    """Return the response to a reader of a route with these options."""
    app = FastAPI()
    app.add_api_route("/", route, **options)
    async with serving(app) as url, aiohttp.ClientSession(url) as reader, reader.get("/") as got:
        assert got.status == 200
        return await got.json()


@each_value
async def test_a_route_without_an_annotation_may_return_it(value: Any, sent: Any) -> None:
    """A route without an annotation may return a value, with every field that was sent."""
    assert await answer(lambda: value) == sent


@each_value
async def test_a_route_may_name_its_class(value: Any, sent: Any) -> None:
    """FastAPI checks the class that is annotated, and writes the same JSON."""
    kind = Message if isinstance(value, Message) else type(value)
    assert (
        await answer(lambda: value, response_model=list[Message] if kind is list else kind) == sent
    )


@each_value
async def test_a_route_may_return_it_as_any(value: Any, sent: Any) -> None:
    """A value inside an untyped field is written as well."""
    assert await answer(lambda: {"held": value}, response_model=dict[str, Any]) == {"held": sent}


async def test_a_route_may_return_a_page_of_the_blocking_client() -> None:
    """It is written like the async client's page."""
    assert await answer(lambda: BlockingPage(None, PAGE)) == PAGE_SENT


async def test_a_route_may_name_the_kinds_of_parts() -> None:
    """Each part is written as its kind, and one of a kind that is not known as it was sent."""
    parts = [TextPart("hi"), ImagePart(ImageURL("u")), UnknownPart({"type": "new", "x": [1]})]
    assert await answer(lambda: parts, response_model=list[ContentPart]) == [
        {"type": "text", "text": "hi"},
        {"type": "image_url", "image_url": {"url": "u"}},
        {"type": "new", "x": [1]},
    ]


async def test_a_route_may_return_the_usage() -> None:
    """The dict keeps the keys that its type does not name."""
    usage: Any = {"total_tokens": 3, "new_tokens": 1}
    assert await answer(lambda: usage, response_model=CompletionUsage | None) == usage


def test_a_message_is_no_sequence() -> None:
    """What asks a message for its items gets a TypeError that says so."""
    for ask in (list, iter, lambda value: "role" in value):
        with pytest.raises(TypeError, match=r"not (iterable|a container)"):
            ask(HI)


@pytest.mark.parametrize("value", [HI, ODD, COMPLETION, FOUND, CALL, Choice(0, Reply())])
def test_dict_equals_to_dict(value: Any) -> None:
    """`dict(message)` and `{**message}` have the fields under the names of the API."""
    assert dict(value) == {**value} == value.to_dict()


async def test_a_message_comes_out_of_a_request_as_it_went_in() -> None:
    """A route may take a message as its body; one that does not fit is refused."""
    app = FastAPI()

    @app.post("/")
    def echo(sent: Annotated[Message, Body()]) -> Message:
        return sent

    async with serving(app) as url, aiohttp.ClientSession(url) as reader:
        async with reader.post("/", json=HI_SENT) as taken:
            assert await taken.json() == HI_SENT
        async with reader.post("/", json={"id": 1}) as refused:
            assert refused.status == 422
            assert "Expected `str`, got `int`" in (await refused.json())["detail"][0]["msg"]


def test_a_model_holds_messages_and_reads_them_again() -> None:
    """A Pydantic model's JSON brings a message and a completion back with all of their fields."""

    class Held(BaseModel):
        message: Message
        completion: StoredCompletion

    held = Held(message=HI, completion=COMPLETION)
    assert Held.model_validate_json(held.model_dump_json()) == held


def test_a_model_refuses_a_dict_as_a_page() -> None:
    """A dict is not accepted as a page, since only a client makes pages."""
    with pytest.raises(ValidationError, match="Expected `MessagePage`"):
        TypeAdapter(MessagePage).validate_python(PAGE_SENT)


def schemas() -> dict[str, Any]:
    """Return the named schemas of an app that returns each kind of value."""
    app = FastAPI()
    for kind in (Message, StoredCompletion, MessagePage, CompletionPage, RawPage, Conversation):
        app.add_api_route(f"/{kind.__name__}", lambda: None, response_model=kind)
        app.add_api_route(f"/more/{kind.__name__}", lambda: None, response_model=list[kind])  # type: ignore[valid-type]
    document = app.openapi()
    one = document["paths"]["/Message"]["get"]["responses"]["200"]["content"]["application/json"]
    assert one == {"schema": {"$ref": "#/components/schemas/Message"}}
    found: dict[str, Any] = document["components"]["schemas"]
    return found


def test_openapi_describes_each_value_by_name() -> None:
    """Each class has one schema of its name, which refers to no place outside of it."""
    found = schemas()
    kinds = {"Message", "StoredCompletion", "MessagePage", "CompletionPage", "RawPage"}
    assert set(found) == kinds | {"Conversation"}
    assert "$ref" not in json.dumps(found)
    assert found["Message"]["description"] == "One message of a stored completion."
    assert found["Message"]["required"] == ["id", "role"]
    assert found["MessagePage"]["required"] == list(PAGE_SENT)
    assert found["MessagePage"]["title"] == "MessagePage"
    assert found["MessagePage"]["description"] == "One page of a completion's messages."
    assert found["MessagePage"]["properties"]["data"]["items"] == found["Message"]
    assert found["Conversation"]["properties"]["error"]["anyOf"][0] == {"type": "object"}


def test_openapi_promises_nothing_that_a_newer_api_breaks() -> None:
    """The schema allows other fields, roles and kinds, and null for absent fields."""
    found = schemas()
    assert '"additionalProperties": false' not in json.dumps(found)
    fields = found["Message"]["properties"]
    assert fields["role"]["type"] == "string"
    assert "user" in fields["role"]["examples"]
    parts = fields["content_parts"]["anyOf"][0]["items"]["anyOf"]
    assert parts[0]["title"] == "TextPart"
    assert parts[-1] == {"type": "object"}
    assert fields["refusal"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert found["StoredCompletion"]["properties"]["object"]["default"] == "chat.completion"


def test_a_message_can_be_inspected_where_pydantic_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pydantic is no dependency, and nothing asks for it but Pydantic."""
    monkeypatch.setitem(sys.modules, "pydantic_core", None)
    assert dict(inspect.getmembers(HI))["content"] == "hi"
    assert not hasattr(HI, "__pydantic_serializer__")
