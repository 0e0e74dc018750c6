"""Projects and keys by name: what cannot be used, or could show a secret, is refused at once."""

from __future__ import annotations

import pickle
import socket
import sys
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aiomessages.errors import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    MessagesError,
)
from aiomessages.keys import KeyFile
from aiomessages.ray import Project, Selection
from aiomessages.ray.errors import ClusterError, Problem, node_name
from aiomessages.ray.keys import key_of
from aiomessages.ray.projects import access_of, checked_ids
from aiomessages.settings import UnusableKeyError

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "sk-secret-0123456789"


async def provide() -> str:
    """Return a key, for the tests that name this function."""
    return SECRET


# --- keys -----------------------------------------------------------------------------------------


async def test_the_three_kinds_of_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key is in the environment, in a file, or comes from a callable."""
    monkeypatch.setenv("KEY_A", f" {SECRET}\n")
    assert key_of("env:KEY_A") == SECRET
    (tmp_path / "key").write_text(SECRET)
    found = key_of(f"file:{tmp_path}/key")
    assert isinstance(found, KeyFile)
    assert await found() == SECRET
    monkeypatch.setitem(sys.modules, "provider", sys.modules[__name__])
    imported = key_of("import:provider:provide")
    assert callable(imported)
    assert await imported() == SECRET


async def test_a_callable_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is named without its text, which may quote a key; the client's own ones pass."""

    async def fail(error: Exception) -> str:
        raise error

    errors = [RuntimeError(SECRET), OSError(SECRET), UnusableKeyError("no API key"), TimeoutError()]
    says = ["m:f raised RuntimeError", "m:f raised OSError", "no API key", "^$"]
    for error, said in zip(errors, says, strict=True):
        monkeypatch.setitem(sys.modules, "m", SimpleNamespace(f=partial(fail, error)))
        key = key_of("import:m:f")
        assert callable(key)
        with pytest.raises((ConfigurationError, TimeoutError), match=said) as raised:
            await key()
        assert SECRET not in str(raised.value)
    monkeypatch.setitem(sys.modules, "m", SimpleNamespace(f=lambda: SECRET))
    with pytest.raises(ConfigurationError, match="must be an async function"):
        await key_of("import:m:f")()  # type: ignore[operator]


def test_a_callable_that_keeps_keys_is_told_of_a_refused_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The client tells it as without the name, and only one that listens."""
    (tmp_path / "key").write_text(SECRET)
    kept = KeyFile(tmp_path / "key")
    monkeypatch.setitem(sys.modules, "m", SimpleNamespace(kept=kept, plain=provide))
    assert key_of("import:m:kept").refused == kept.refused  # type: ignore[union-attr]
    assert not hasattr(key_of("import:m:plain"), "refused")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("env:NOT_SET", "NOT_SET is not set"),
        ("file:/nowhere/key", "cannot be read"),
        ("import:no.such.module:name", "cannot be imported: ModuleNotFoundError"),
        ("import:sys:no_such_name", "cannot be imported: AttributeError"),
        ("import:sys:path", "sys:path is not callable"),
    ],
)
def test_a_key_that_is_not_there(name: str, said: str) -> None:
    """The error says which name has no key."""
    with pytest.raises(ConfigurationError, match=said):
        key_of(name)


@pytest.mark.parametrize(
    "name", [SECRET, "", "env:", f"env:{SECRET}", "file:relative", "import:module", None, 7]
)
def test_a_text_that_names_no_key(name: Any) -> None:
    """It is refused without being repeated, for it may be the key."""
    with pytest.raises(ConfigurationError, match="does not name a key") as raised:
        Project("a", key=name).access()
    assert SECRET not in str(raised.value)
    assert "file:/ABSOLUTE/PATH" in raised.value.hint


def test_an_access_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent to the nodes has the name of the key alone."""
    monkeypatch.setenv("KEY_A", SECRET)
    access = Project("a", key="env:KEY_A").access()
    assert SECRET.encode() not in pickle.dumps(access)
    assert SECRET not in repr(access)
    assert pickle.loads(pickle.dumps(access)).client().base_url == access.base_url  # noqa: S301 ours


# --- projects -------------------------------------------------------------------------------------


def test_the_address_is_that_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without base_url it is the environment's; the nodes do not look it up again."""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.test/v1/")
    assert Project("a").access().base_url == "https://gateway.test/v1"
    assert Project("a", base_url="https://own.test/v1").access().base_url == "https://own.test/v1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"api_key": SECRET}, "api_key is no option here: name it in key="),
        ({"base_url": "https://x.test"}, "give it as base_url="),
        ({"default_headers": {"x": SECRET}}, "OPENAI_CUSTOM_HEADERS"),
        ({"default_query": {"key": SECRET}}, "a query may hold a secret"),
        ({"session": None}, "a session belongs to one process"),
        ({"ssl_context": None}, "a context belongs to one process"),
        ({"no_such": 1}, "no_such is no option here: the options are allow_http"),
        ({"proxy": f"http://me:{SECRET}@proxy.test:3128"}, "HTTPS_PROXY"),
        ({"client_cert": ("a.pem", "b.pem", SECRET)}, "client_cert holds a password"),
        ({"timeout": -1}, "timeout"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_options_that_are_refused(options: dict[str, Any], said: str) -> None:
    """They would show a secret, or cannot be sent to another process."""
    with pytest.raises(ConfigurationError, match=said) as raised:
        Project("a", options=options).access()
    assert str(raised.value).startswith("project a: ")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "a/b"}, "'a/b' cannot name a project"),
        ({"name": "a-b"}, "use letters, digits, '_' and '.'"),
        ({"name": ""}, "cannot name a project"),
        ({"name": 7}, "cannot name a project"),
        ({"source": "chatcmpl-1"}, "source must be a Selection or ids, not str"),
        ({"source": 7}, "source must be a Selection or ids, not int"),
        ({"source": Selection(since=2, until=1)}, "since must be earlier than until"),
        ({"source": Selection(until=float("inf"))}, "must be finite, not inf: leave out an open"),
        ({"source": Selection(model=7)}, "model must be a str, not int"),  # type: ignore[arg-type]
        ({"source": Selection(metadata="sea")}, "project a: metadata must be a mapping"),  # type: ignore[arg-type]
        ({"source": Selection(metadata={"a": 7})}, "of str, not int"),  # type: ignore[dict-item]
        ({"max_rps": 0}, "max_rps must be a number above 0, not 0"),
        ({"max_rps": True}, "max_rps must be a number above 0, not True"),
        ({"base_url": "http://far.test/v1"}, "project a: "),
        ({"options": None}, "options must be a mapping, not NoneType"),
    ],
    ids=lambda given: str(given) if isinstance(given, dict) else "",
)
def test_projects_that_are_refused(changes: dict[str, Any], said: str) -> None:
    """The error names the project, and says what to write."""
    with pytest.raises(ConfigurationError, match=said):
        Project(**{"name": "a", **changes}).access()


def test_a_selection_becomes_plain() -> None:
    """A plan has it as JSON, and a later call is compared with that."""

    class Text(str):
        __slots__ = ()

    class Seconds(float):
        pass

    odd = Selection(Text("gpt-4o"), MappingProxyType({"a": Text("b")}), Seconds(1), 2)  # type: ignore[arg-type]
    assert msgspec.json.encode(odd.checked()) == (
        b'{"model":"gpt-4o","metadata":{"a":"b"},"since":1.0,"until":2}'
    )


def test_ids_are_a_source() -> None:
    """A project may name its completions."""
    assert Project("a", source=["chatcmpl-1"]).access().key == "env:OPENAI_API_KEY"


def test_plain_options_are_taken() -> None:
    """Those without a secret reach the client of each worker."""
    options = {"trust_env": True, "proxy": "http://proxy.test:3128", "client_cert": None}
    access = access_of("env:KEY_A", "https://x.test/v1", options)
    assert access.options == options


def test_ids() -> None:
    """Ids are text that can be sent; the error gives the number of another one."""
    assert [*checked_ids(["a", "b"])] == ["a", "b"]
    with pytest.raises(ConfigurationError, match="number 2 is int"):
        [*checked_ids(["a", 7])]
    with pytest.raises(ConfigurationError, match="number 1 holds a lone surrogate"):
        [*checked_ids(["\ud800"])]


# --- problems -------------------------------------------------------------------------------------


def test_a_problem_says_what_its_error_says() -> None:
    """A worker returns an error as plain text; the driver raises it with the node's name."""
    problem = Problem.of(ConfigurationError("no key", hint="set it"), "project a")
    error = pickle.loads(pickle.dumps(problem)).error()  # noqa: S301 ours
    assert isinstance(error, ClusterError)
    assert str(error) == f"on node {node_name()}: project a: no key: set it"
    assert (error.node, error.hint) == (node_name(), "set it")
    full = Problem.of(OSError(28, "No space left on device"))
    assert (full.said, "TMPDIR" in full.hint) == ("[Errno 28] No space left on device", True)
    assert Problem.of(KeyError("x")).said == "KeyError('x')"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (AuthenticationError("no", status=401), "check the key, and whether"),
        (APIConnectionError("no connection"), "check the network and base_url"),
    ],
    ids=["key", "network"],
)
def test_the_hint_of_a_problem_is_one_for_a_cluster(error: MessagesError, hint: str) -> None:
    """A hint that names the client's variable or its stream is in the words of a run."""
    found = Problem.of(error, "project a").error()
    assert found.hint.startswith(hint)
    assert "OPENAI_API_KEY" not in str(found)
    assert "delivered" not in str(found)


def test_the_name_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cluster, it has the beginning of the node's id there."""
    context = SimpleNamespace(get_node_id=lambda: "0123456789abcdef")
    ray = SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: context)
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert node_name() == f"{socket.gethostname()} (01234567)"
    ray.is_initialized = lambda: False
    assert node_name() == socket.gethostname()
