"""Usage that a type checker must accept: the promises of the public annotations."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple, assert_type

import aiohttp

from aiomessages import (
    APIStatusError,
    AsyncMessagesClient,
    CompletionUsage,
    Conversation,
    Message,
    MessagePage,
    MessagesError,
    MessageStream,
    RateLimitError,
    Reply,
    RetryPolicy,
    StoredCompletion,
    Timeout,
)
from aiomessages.archive import Archive, ArchiveStatus, Snippet
from aiomessages.blocking import MessagesClient, Page, export
from aiomessages.export import ExportReport
from aiomessages.keys import EntraToken, KeyCommand, KeyFile
from aiomessages.otel import instrument
from aiomessages.testing import MessagesServer, ReceivedRequest


async def key_from_a_vault() -> str:
    """Stand for a caller's provider of keys."""
    return "sk-from-a-vault"


class Token(NamedTuple):
    """As azure.core.credentials.AccessToken."""

    token: str
    expires_on: int


class Credential:
    """As a credential of azure-identity."""

    def get_token(self, *scopes: str, claims: str | None = None, **_: object) -> Token:
        """Stand for a request to Azure."""
        return Token(f"{scopes}{claims}", 0)


class AsyncCredential:
    """As a credential of azure-identity.aio."""

    async def get_token(self, *scopes: str, claims: str | None = None, **_: object) -> Token:
        """Stand for a request to Azure."""
        return Token(f"{scopes}{claims}", 0)


def changing_keys() -> None:
    """Ready callables are keys of both clients."""
    AsyncMessagesClient(KeyFile("key"))
    AsyncMessagesClient(api_key=KeyCommand(["pass", "show", "openai"], ttl=60, timeout=5))
    MessagesClient(EntraToken(Credential()))
    AsyncMessagesClient(EntraToken(AsyncCredential())).with_options(api_key=EntraToken())
    assert_type(KeyFile("key").read(), str)


async def an_archive() -> None:
    """An archive gives the values of the client, and hits with theirs."""
    async with Archive("archive.db") as archive:
        async for completion in archive.completions(model="gpt-4o", since=1.5, state="gone"):
            assert_type(completion, StoredCompletion)
        async for message in archive.messages("chatcmpl-1"):
            assert_type(message, Message)
        assert_type(await archive.conversation("chatcmpl-1"), Conversation)
        assert_type(await archive.status(), ArchiveStatus)
        async for hit in archive.search("words", role="user", limit=20, best=True):
            assert_type(hit.message, Message | Reply)
            assert_type(hit.snippet, Snippet)
            assert_type(list(hit.snippet.pieces()), list[tuple[str, bool]])


def the_way_there() -> None:
    """Name the proxy and the certificates, by paths of both kinds."""
    AsyncMessagesClient(proxy="http://proxy.example:3128", ca_file=Path("ca.pem"))
    AsyncMessagesClient(trust_env=True, client_cert="client.pem", ca_file="system")
    MessagesClient(client_cert=(Path("client.pem"), "key.pem", "password"))
    AsyncMessagesClient(ssl_context=ssl.create_default_context())


async def one_page(client: AsyncMessagesClient) -> None:
    """Await a stream: it gives one page, and pages give messages and further pages."""
    page = await client.list("chatcmpl-1", limit=20, order="desc", after="chatcmpl-1-3")
    assert_type(page, MessagePage)
    assert_type(page.data[0], Message)
    assert_type(page.has_next_page(), bool)
    assert_type(await page.get_next_page(), MessagePage)
    assert_type(page.body, bytes)
    first_id: str | None = page.first_id
    request_id: str | None = page.request_id
    assert_type(page[0], Message)
    assert_type(page[:2], list[Message])
    assert_type([message for message in page], list[Message])  # noqa: C416 the loop is typed
    print(first_id, request_id)


async def every_message(client: AsyncMessagesClient) -> None:
    """Iterate a stream: as messages, as pages, as bytes."""
    stream = client.list("chatcmpl-1", max_items=500, prefetch=False, wait_until_visible=10)
    assert_type(stream, MessageStream)
    async for message in stream:
        assert_type(message, Message)
        assert_type(message.role, str)
        assert_type(message.content, str | None)
    cursor: str | None = stream.cursor
    async for page in client.list("chatcmpl-1", after=cursor).pages():
        assert_type(page, MessagePage)
    assert_type(await client.list("chatcmpl-1").collect(), list[Message])
    async with client.list("chatcmpl-1") as closing:
        async for raw in closing.raw():
            assert_type(raw, bytes)


async def what_was_asked(client: AsyncMessagesClient) -> None:
    """Read a message as text and as JSON, and its completion."""
    async for found in client.conversations(["chatcmpl-1"], include_reply=True):
        assert_type([message.text for message in found.messages], list[str])
        assert_type(found.to_json(), str)
        if found.completion is not None:
            assert_type(found.completion.usage, CompletionUsage | None)
            usage = found.completion.usage or {}
            assert_type(usage.get("total_tokens"), int | None)
            assert_type(found.completion.choices[0].message.text, str)


async def ways_to_build_a_client() -> None:
    """Build clients with every kind of argument in the documentation."""
    async with (
        aiohttp.ClientSession() as session,
        AsyncMessagesClient(
            key_from_a_vault,
            base_url="https://gateway.example/v1",
            session=session,
            timeout=Timeout(total=30, connect=2),
            deadline=120,
            retry=RetryPolicy(max_retries=5, initial_backoff=0.1),
            default_headers={"x-team": "archive"},
        ) as client,
    ):
        assert_type(client.with_options(timeout=5.0), AsyncMessagesClient)


def what_an_error_tells(error: MessagesError) -> float | None:
    """Read the facts of an error after narrowing its type."""
    if isinstance(error, RateLimitError):
        return error.retry_after
    if isinstance(error, APIStatusError):
        assert_type(error.status, int)
        assert_type(error.attempts, int)
    return None


def a_script(client: MessagesClient) -> None:
    """Read without `async`: the same arguments, and types of the blocking names."""
    for message in client.list("chatcmpl-1", after="chatcmpl-1-3", max_items=500):
        assert_type(message, Message)
    page = client.list("chatcmpl-1", limit=20).page()
    assert_type(page, Page[Message])
    assert_type(page.get_next_page().data, list[Message])
    for raw in client.list("chatcmpl-1").raw():
        assert_type(raw, bytes)
    for found in client.conversations(item.id for item in client.completions(model="gpt-4o")):
        assert_type(found, Conversation)
    report = export(client, client.completions(), "all.jsonl", max_rps=20, on_error="continue")
    assert_type(report, ExportReport)


def observed_clients() -> None:
    """Instrument either client, and get the same client back."""
    assert_type(instrument(AsyncMessagesClient()), AsyncMessagesClient)
    assert_type(instrument(MessagesClient(timeout=5)), MessagesClient)


def a_test(message: Message) -> None:
    """Store texts, dicts and Messages, and read the received requests."""
    with MessagesServer(sample=True) as server:
        turn = {"role": "user", "content": "Hi!"}
        assert_type(server.store(["Hi!", turn, message], metadata={"user": "ann"}), str)
        server.store([turn])
        server.store(250, reply=None, created=1_767_225_600)
        server.fail(429, times=2, retry_after=0.01)
        with server.unreachable():
            pass
        assert_type(server.requests, list[ReceivedRequest])
