"""The client and the program against a server that answers as Azure's /openai/v1 does.

The bodies are those in public reports: azure-sdk-for-python issue 43687, and those of the projects
that quote `Resource not found`, `Access denied …` and `Please retry after 86400 seconds`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from loopback import Answer, Asked, Loopback, conversation, message, page

from aiomessages import (
    AsyncMessagesClient,
    AuthenticationError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
)
from aiomessages.export import export
from aiomessages.keys import EntraToken

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE = RetryPolicy(initial_backoff=0, max_backoff=0)
KEY = "canary0azure0key0canary0azure0key0"
TOKEN = "eyJhbGciOi.canary-token.signature"
STORED = "chatcmpl-stored"
WITH_IMAGE = "chatcmpl-image"  # with an image as base64, so that Azure has not stored it
REQUEST_ID = {"apim-request-id": "c85f3b15-cf66-4482-a190-82ac6e287aad"}
QUOTA = (
    "Requests to the Get stored chat completions Operation under Azure OpenAI API version v1 have"
    " exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after 86400"
    " seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further"
    " increase the default rate limit."
)
DENIED = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a"
    " valid key for an active subscription and use a correct regional API endpoint for your"
    " resource."
)
FIREWALL = "Access denied due to Virtual Network/Firewall rules."


def refusal(status: int, text: str, **headers: str) -> Answer:
    """Answer with an error in Azure's form: a code that repeats the status, and a message."""
    sent = REQUEST_ID | {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer({"error": {"code": str(status), "message": text}}, status, sent)


def completion(name: str, created: int) -> dict[str, Any]:
    """Return a stored completion."""
    reply = {"role": "assistant", "content": f"reply of {name}"}
    choice = {"index": 0, "message": reply, "finish_reason": "stop"}
    listed = {"object": "chat.completion", "id": name, "created": created, "choices": [choice]}
    return listed | {"model": "gpt-4o", "metadata": {}}


class Azure:
    """The script of the server; `instead` answers every request with a good key, if it is set."""

    def __init__(self) -> None:
        self.instead: Answer | None = None
        self.repeats = False
        self._messages = conversation(message(n, completion_id=STORED) for n in range(150))

    def __call__(self, asked: Asked) -> Answer:
        """Answer a request."""
        path = asked.path.removeprefix("/openai/v1")
        keys = {asked.headers.get("authorization"), asked.headers.get("api-key")}
        if path == asked.path:  # before it looks at the key
            return refusal(404, "Resource not found")
        if not keys & {f"bearer {KEY}", KEY, f"bearer {TOKEN}".lower()}:
            return refusal(401, DENIED)
        return self.instead or self._found(path, asked)

    def _found(self, path: str, asked: Asked) -> Answer:
        if path == "/chat/completions":
            return self._completions(asked)
        if path == f"/chat/completions/{STORED}/messages":
            return self._messages(asked)
        if path == f"/chat/completions/{STORED}":
            return Answer(completion(STORED, 1_700_000_000))
        return refusal(404, "Resource not found")

    def _completions(self, asked: Asked) -> Answer:
        if self.repeats:  # the server does not look at `after`
            return Answer(page([completion(STORED, 1_700_000_000)], has_more=True))
        return Answer(page([] if "after" in asked.query else [completion(STORED, 1_700_000_000)]))


@contextlib.asynccontextmanager
async def serving(azure: Azure, key: Any = KEY, **options: Any) -> Any:
    """Serve as Azure does, and open a client."""
    async with Loopback(azure) as server:
        base_url = server.base_url.replace("/v1", "/openai/v1")
        async with AsyncMessagesClient(key, base_url=base_url, **options) as client:
            client.server = server
            yield client


async def run(base_url: str, *words: str) -> tuple[int | None, str]:
    """Run the program as a process, and return its exit code and its standard error."""
    environment = os.environ | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": base_url}
    program = [sys.executable, "-W", "error", "-m", "aiomessages"]
    process = await asyncio.create_subprocess_exec(
        *program, *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, error = await process.communicate()
    return process.returncode, error.decode()


async def test_a_conversation() -> None:
    """A conversation is read with the key as a bearer token, whatever the slash of base_url."""
    async with serving(Azure()) as client:
        assert len(await client.list(STORED).collect()) == 150
        other = client.with_options(base_url=f"{client.base_url}/")
        assert (await other.completion(STORED)).choices[0].message.text == f"reply of {STORED}"


async def test_the_header_of_a_gateway() -> None:
    """A gateway that wants the key in `api-key` gets it there, without or beside an `api_key`."""
    for api_key in (None, "placeholder"):
        async with serving(Azure(), api_key, default_headers={"api-key": KEY}) as client:
            assert len(await client.list(STORED)) == 20


async def test_a_token_of_entra() -> None:
    """A token of Entra is sent as a bearer token."""

    class Credential:
        async def get_token(self, *_: str) -> Any:
            return type("AccessToken", (), {"token": TOKEN, "expires_on": 4_000_000_000})()

    async with serving(Azure(), EntraToken(Credential())) as client:
        assert len(await client.list(STORED)) == 20


@pytest.mark.parametrize("path", ["/v1", "/openai", "/openai/deployments/gpt-4o"])
async def test_a_wrong_base_url(path: str) -> None:
    """A path that is not Azure's v1 is a NotFoundError that names the right one."""
    async with Loopback(Azure()) as server:
        base_url = server.base_url.replace("/v1", path)
        async with AsyncMessagesClient(KEY, base_url=base_url) as client:
            with pytest.raises(NotFoundError, match="ends with /openai/v1") as caught:
                await client.completions().collect()
    assert (caught.value.code, caught.value.is_of_api) == ("404", False)


async def test_a_completion_that_was_not_stored() -> None:
    """A completion with an image as base64 is a 404, which says that Azure stores none."""
    async with serving(Azure()) as client:
        for call in (client.list(WITH_IMAGE).collect(), client.completion(WITH_IMAGE)):
            with pytest.raises(NotFoundError, match="image as base64 are not stored"):
                await call


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (refusal(401, DENIED), AuthenticationError, 4),
        (refusal(403, FIREWALL), PermissionDeniedError, 4),
    ],
    ids=["401", "403"],
)
async def test_refusals(answer: Answer, kind: type[Exception], code: int) -> None:
    """A refused key, and a network that is not allowed, are told in Azure's words."""
    azure = Azure()
    azure.instead = answer
    async with serving(azure) as client:
        with pytest.raises(kind, match="Access denied due to"):
            await client.list(STORED)
        ended, error = await run(client.base_url, "list", STORED)
    assert ended == code
    assert "Access denied due to" in error


async def test_a_wrong_key() -> None:
    """A wrong key is an AuthenticationError, and Azure's request id is among the headers."""
    async with serving(Azure(), "another-key-0123456789") as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.list(STORED)
    assert caught.value.headers["apim-request-id"] == REQUEST_ID["apim-request-id"]


@pytest.mark.parametrize(
    "words",
    [
        ["list", STORED],
        ["show", STORED],
        ["completions"],
        ["export", "--all", "-o", "all.jsonl"],
        ["sync", "archive.db"],
    ],
    ids=lambda words: words[0],
)
async def test_a_spent_quota(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str]
) -> None:
    """A quota that is used up for a day ends a command at once, with exit code 5 and the reason."""
    azure = Azure()
    azure.instead = refusal(429, QUOTA, retry_after="86400")
    monkeypatch.chdir(tmp_path)
    async with serving(azure) as client:
        code, error = await run(client.base_url, *words)
        assert (code, len(client.server.asked)) == (5, 1)
    assert "pricing tier. Please retry after 86400 seconds" in error
    assert "The server asks to wait for 24 hours, as for a quota that is used up." in error


async def test_a_spent_quota_in_the_client(tmp_path: Path) -> None:
    """A wait of a day is an error at once, in a call and in an export."""
    azure = Azure()
    azure.instead = refusal(429, QUOTA, retry_after="86400")
    async with serving(azure) as client:
        with pytest.raises(RateLimitError) as caught:
            await client.list(STORED)
        assert (caught.value.retry_after, caught.value.attempts) == (86_400, 1)
        with pytest.raises(RateLimitError):
            await export(client, [STORED, "chatcmpl-2"], tmp_path / "a.jsonl", on_error="continue")


async def test_a_quota_of_a_minute() -> None:
    """A wait within the policy is waited for."""
    azure, answers = Azure(), []

    def script(asked: Asked) -> Answer:
        answers.append(asked)
        return azure(asked) if len(answers) > 1 else refusal(429, QUOTA, retry_after="0")

    async with serving(script) as client:  # type: ignore[arg-type]
        assert len(await client.list(STORED)) == 20
    assert len(answers) == 2


async def test_a_cursor_that_repeats() -> None:
    """A server that ignores the cursor ends a list with an error, and not never."""
    azure = Azure()
    azure.repeats = True
    async with serving(azure) as client:
        with pytest.raises(PaginationError):
            await client.completions().collect()
        assert len(client.server.asked) <= 3
        code, error = await run(client.base_url, "completions")
    assert code == 1
    assert re.search("cursor|repeat", error)


async def test_an_export(tmp_path: Path) -> None:
    """An export has what Azure stored; an id that it did not store fails alone."""
    async with serving(Azure(), retry=AT_ONCE) as client:
        report = await export(
            client, [STORED, WITH_IMAGE], tmp_path / "a.jsonl", on_error="continue"
        )
    assert report.rows == 151
    assert {*report.failed_ids, *report.gone, *report.lost, *report.pending} == {WITH_IMAGE}
