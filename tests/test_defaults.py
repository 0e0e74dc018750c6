"""Defaults that users rely on: those of the signatures, and those in the documentation."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from aiomessages import AsyncMessagesClient, RetryPolicy, Timeout
from aiomessages.blocking import MessagesClient
from aiomessages.export import export
from aiomessages.server import LocalServer

ROOT = Path(__file__).parents[1]
MIB = 1024 * 1024

DEFAULTS: list[tuple[Callable[..., object], dict[str, object]]] = [
    (Timeout, {"total": 60.0, "connect": 5.0, "read": None}),
    (
        RetryPolicy,
        {
            "max_retries": 2,
            "initial_backoff": 0.5,
            "max_backoff": 8.0,
            "jitter": 0.25,
            "max_retry_after": 60.0,
        },
    ),
    *(
        (
            client,
            {
                "timeout": Timeout(total=60.0, connect=5.0, read=None),
                "deadline": None,
                "retry": RetryPolicy(2, 0.5, 8.0, 0.25, 60.0),
                "max_response_bytes": 64 * MIB,
                "allow_http": False,
                "proxy": None,
                "trust_env": False,
                "ssl_context": None,
                "ca_file": None,
                "client_cert": None,
            },
        )
        for client in (AsyncMessagesClient, MessagesClient)
    ),
    *(
        (
            client.list,
            {
                "limit": None,
                "order": None,
                "max_items": None,
                "prefetch": True,
                "lookahead": None,
                "lookahead_window": 32,
                "wait_until_visible": 0,
            },
        )
        for client in (AsyncMessagesClient, MessagesClient)
    ),
    *(
        (
            client.conversations,
            {
                "concurrency": 64,
                "ordered": False,
                "include_reply": False,
                "on_error": "raise",
                "limit": None,
            },
        )
        for client in (AsyncMessagesClient, MessagesClient)
    ),
    (
        export,
        {
            "layout": "messages",
            "include_reply": True,
            "media": None,
            "part_bytes": 256 * MIB,
            "limit": None,
            "concurrency": 64,
            "max_rps": None,
            "on_error": "raise",
            "refresh": True,
        },
    ),
    (
        LocalServer,
        {
            "database": ":memory:",
            "sample": False,
            "host": "127.0.0.1",
            "port": 0,
            "api_key": None,
            "latency": 0.0,
            "rate": None,
            "visibility_delay": 0.0,
            "faults": (),
        },
    ),
]


@pytest.mark.parametrize(
    ("documented", "defaults"),
    DEFAULTS,
    ids=[f"{one.__module__}.{one.__qualname__}" for one, _ in DEFAULTS],
)
def test_defaults(documented: Callable[..., object], defaults: dict[str, object]) -> None:
    """Each default has the value that users rely on."""
    parameters = inspect.signature(documented).parameters
    assert {name: parameters[name].default for name in defaults} == defaults


@pytest.mark.parametrize(
    ("page", "saying"),
    [
        ("README.md", "Timeout(total=60, connect=5, read=None)"),
        ("README.md", "max_retries=2, initial_backoff=0.5, max_backoff=8.0, jitter=0.25"),
        ("README.md", "max_response_bytes=64 * 1024 * 1024"),
        ("docs/client.md", "Timeout(total=60, connect=5, read=None)"),
        (
            "docs/client.md",
            "max_retries=2, initial_backoff=0.5, max_backoff=8.0, max_retry_after=60",
        ),
        ("docs/client.md", "max_response_bytes=64 * 1024 * 1024"),
        ("docs/completions.md", "`concurrency=64`"),
        ("docs/lookahead.md", "`lookahead_window=32`"),
        ("docs/reliability.md", "`max_retry_after` (60 s)"),
        ("docs/reliability.md", "`max_response_bytes` (64 MiB"),
        ("docs/export.md", "`--concurrency` (64 "),
        ("docs/export.md", "`--limit` is the number of messages a page (100)"),
    ],
)
def test_documented_defaults(page: str, saying: str) -> None:
    """The documentation names the defaults of the table above."""
    assert saying in " ".join((ROOT / page).read_text().split())
