"""A credential in a header: hidden like the key, and enough without one."""

import logging
from typing import Any

import pytest
from faults.canary import shown_by_error, shown_by_log
from loopback import Answer, Asked, Loopback, conversation, message, page

from aiomessages import APIError, AsyncMessagesClient, ConfigurationError, RetryPolicy
from aiomessages.client import caller_of

KEY = "sk-canary-0123456789"
GATEWAY = "canary-of-the-gateway-1"
EXTRA = "canary-of-the-call-2"
SECRETS = (KEY, GATEWAY, EXTRA)


def in_a_message(asked: Asked) -> Answer:
    """Repeat the headers of the request in the body, the headers and the id of the request."""
    sent = repr(asked.headers)
    echo = {"x-echo": sent, "x-request-id": asked.headers["x-gateway-token"]}
    return Answer({"error": {"message": sent, "code": "invalid_api_key"}}, 401, echo)


def in_the_location(asked: Asked) -> Answer:
    """Redirect to a host with the credential in its name."""
    return Answer(b"", 302, {"location": f"http://{asked.headers['x-gateway-token']}.example/"})


def in_the_ids(asked: Asked) -> Answer:
    """Send the same page again and again, with the credential in the ids."""
    items = [message(n, id=f"m-{asked.headers['x-gateway-token']}-{n}") for n in range(2)]
    return Answer(page(items, has_more=True))


@pytest.mark.parametrize("script", [in_a_message, in_the_location, in_the_ids])
async def test_a_server_that_repeats_the_headers(
    script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """No error, log line or traceback has a credential of `default_headers` or `extra_headers`."""
    caplog.set_level(logging.DEBUG)
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(
            KEY,
            base_url=server.base_url,
            default_headers={"X-Gateway-Token": GATEWAY},
            retry=RetryPolicy(max_retries=0),
        ) as client,
    ):
        with pytest.raises(APIError) as caught:
            await client.list("chatcmpl-1", extra_headers={"X-Secret": EXTRA}).collect()
    texts = [*shown_by_error(caught.value), *shown_by_log(caplog.records)]
    assert [place for place, text in texts if any(secret in text for secret in SECRETS)] == []
    assert server.asked[0].headers["x-secret"] == EXTRA


async def test_the_headers_of_a_page() -> None:
    """A credential that a server repeats in the headers of a page is not in the page."""
    echo = {"x-echo": GATEWAY}
    async with (
        Loopback(lambda _: Answer(page([message(0)]), headers=echo)) as server,
        AsyncMessagesClient(
            KEY, base_url=server.base_url, default_headers={"api-key": GATEWAY}
        ) as client,
    ):
        received = await client.list("chatcmpl-1")
    assert GATEWAY not in repr(received.headers)


# --- without a key --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default_headers", "variable", "sent"),
    [
        ({"api-key": GATEWAY}, "", {"api-key": GATEWAY}),
        ({"Authorization": f"Basic {GATEWAY}"}, "", {"authorization": f"basic {GATEWAY}"}),
        (None, f"Ocp-Apim-Subscription-Key: {GATEWAY}", {"ocp-apim-subscription-key": GATEWAY}),
        (None, f"Authorization: Bearer {GATEWAY}", {"authorization": f"bearer {GATEWAY}"}),
    ],
    ids=["api-key", "basic", "a gateway's, in the environment", "bearer, in the environment"],
)
async def test_a_credential_in_a_header(
    monkeypatch: pytest.MonkeyPatch,
    default_headers: dict[str, str] | None,
    variable: str,
    sent: dict[str, str],
) -> None:
    """Where a header carries the credential, a client needs no key, and sends none."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", variable)
    async with (
        Loopback(conversation([message(n) for n in range(3)])) as server,
        AsyncMessagesClient(base_url=server.base_url, default_headers=default_headers) as client,
    ):
        assert len(await client.list("chatcmpl-1", limit=1).collect()) == 3
        monkeypatch.delenv("OPENAI_CUSTOM_HEADERS")
        assert len(await client.with_options(timeout=5).list("chatcmpl-1")) == 3
    credentials = ("authorization", "api-key", "ocp-apim-subscription-key")
    for asked in server.asked:
        assert {name: asked.headers[name] for name in credentials if name in asked.headers} == sent


@pytest.mark.parametrize(
    ("key", "headers"), [(None, {"X-Team": "search"}), ("", {"api-key": GATEWAY})]
)
def test_a_missing_key(
    monkeypatch: pytest.MonkeyPatch, key: str | None, headers: dict[str, str]
) -> None:
    """Without a key and a credential in a header, or with an empty key, no client is made."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="no API key"):
        AsyncMessagesClient(key, default_headers=headers)


async def test_a_key_and_a_credential() -> None:
    """A key is sent beside a header of a gateway."""
    async with AsyncMessagesClient(KEY, default_headers={"api-key": GATEWAY}) as client:
        key = caller_of(client).attempts.rules.api_key
        assert key.headers == {"authorization": f"Bearer {KEY}"}
