"""Claims about the fixtures, checked by whole suites that use them as a user's suite would.

Warnings are errors in all of them, so that an unclosed resource fails its suite.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

# A suite in this process gets modules that are loaded already, and forgets those it loads itself.
import openai  # noqa: F401
import pytest

import aiomessages.testing.client  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable

    Suite = Callable[..., pytest.RunResult]

pytest_plugins = ["pytester"]

AUTO = "asyncio_mode = auto"
STRICT = "asyncio_mode = strict"

APP = """
from aiomessages import AsyncMessagesClient

async def transcript(completion_id):
    async with AsyncMessagesClient() as client:
        return [message.content async for message in client.list(completion_id)]
"""

# The backend has the scope of its loop, while a coroutine fixture uses it.
ANYIO = """
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="{scope}")
def anyio_backend():
    return "asyncio"

@pytest.fixture(scope="{scope}", autouse=True)
async def loop(anyio_backend):
    yield
"""

# How a suite marks its coroutines, for each plugin that may run them, and what it configures.
PLUGINS = {
    "pytest-asyncio, auto": (AUTO, ["-p", "no:anyio"], ""),
    "pytest-asyncio beside anyio": (AUTO, [], ""),
    "pytest-asyncio, strict": (STRICT, [], "pytestmark = pytest.mark.asyncio"),
    "pytest-asyncio, one loop for all": (
        STRICT,
        [],
        "pytestmark = pytest.mark.asyncio(loop_scope='session')",
    ),
    "anyio": ("", ["-p", "no:asyncio"], ANYIO.format(scope="function")),
    "anyio, one loop for all": ("", ["-p", "no:asyncio"], ANYIO.format(scope="module")),
}
COROUTINES = """
import gc
import pytest
from aiomessages import NotFoundError
from transcripts import transcript

{head}

@pytest.fixture(scope="module", autouse=True)
def collect():
    yield
    gc.collect()

async def test_the_client(messages_client, stored_completion):
    id = stored_completion(["Hi!", "Hello."])
    assert [item.content async for item in messages_client.list(id)] == ["Hi!", "Hello."]

async def test_the_app(messages_environment, stored_completion):
    assert await transcript(stored_completion(["Hi!", "Hello."])) == ["Hi!", "Hello."]

async def test_a_fault(messages_client, messages_server, stored_completion):
    id = stored_completion(250)
    messages_server.fail(500, times=2)
    assert len([item async for item in messages_client.list(id)]) == 250
    assert len(messages_server.requests) == 5

async def test_leaving_early(messages_client, stored_completion):
    async with messages_client.list(stored_completion(250)) as stream:
        async for item in stream:
            break

@pytest.mark.parametrize("time", range(2))
async def test_each_test_has_a_server_of_its_own(messages_client, stored_completion, time):
    assert stored_completion() == "chatcmpl-1"
    with pytest.raises(NotFoundError):
        await messages_client.list("chatcmpl-2")
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    """Return a function that runs a suite of one file, with the app beside it."""

    def run(
        tests: str, *options: str, ini: str = AUTO, own_process: bool = False
    ) -> pytest.RunResult:
        loop_scope = "asyncio_default_fixture_loop_scope = function" if ini else ""
        pytester.makeini(f"[pytest]\nfilterwarnings = error\n{ini}\n{loop_scope}\n")
        # Modules of this name must not be among our own, which are loaded in the same process.
        pytester.makepyfile(transcripts=APP, test_transcripts=tests)
        pytester.syspathinsert()
        for plugin in ("cacheprovider", "hypothesispytest", "randomly"):
            options = (*options, "-p", f"no:{plugin}")
        start = pytester.runpytest_subprocess if own_process else pytester.runpytest_inprocess
        return start(*options)

    return run


@pytest.mark.parametrize("plugin", PLUGINS)
def test_coroutines(suite: Suite, plugin: str) -> None:
    """The fixtures serve tests that are coroutines, whichever plugin runs them."""
    ini, options, head = PLUGINS[plugin]
    suite(COROUTINES.replace("{head}", head), *options, ini=ini).assert_outcomes(passed=6)


def test_workers(suite: Suite) -> None:
    """The workers of xdist have servers of their own."""
    tests = COROUTINES.replace("{head}", "")
    suite(tests, "--numprocesses", "2", own_process=True).assert_outcomes(passed=6)


def test_plain_functions(suite: Suite) -> None:
    """The fixtures serve tests without a loop: the app may run its own, or be blocking."""
    suite(
        """
        import asyncio, os, subprocess, sys, unittest, urllib.request

        import openai
        from transcripts import transcript

        def test_an_app_with_a_loop_of_its_own(messages_environment, stored_completion):
            id = stored_completion(["Hi!", "Hello."])
            assert asyncio.run(transcript(id)) == ["Hi!", "Hello."]

        def test_the_official_client(messages_environment, messages_server, stored_completion):
            id = stored_completion(50)
            messages_server.fail(429, times=1, retry_after=0.001)
            with openai.OpenAI() as client:
                said = [item.content for item in client.chat.completions.messages.list(id)]
            assert said == [f"message {n}" for n in range(50)]
            assert len(messages_server.requests) == 4

        def test_the_client_in_one_loop(messages_client, stored_completion):
            async def read():
                return (await messages_client.list(stored_completion(3))).data
            assert len(asyncio.run(read())) == 3

        def test_a_process(messages_environment, stored_completion):
            code = "import asyncio, sys, transcripts as app;" \\
                "print(asyncio.run(app.transcript(sys.argv[1])))"
            command = [sys.executable, "-c", code, stored_completion("Hi!")]
            assert subprocess.run(command, stdout=-1, text=True).stdout == "['Hi!']\\n"
        """,
        "-p",
        "no:asyncio",
        ini="",
    ).assert_outcomes(passed=4)


def test_the_environment(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment overrides earlier settings and proxies, and is restored afterwards."""
    before = {
        "OPENAI_API_KEY": "sk-real",
        "OPENAI_ORG_ID": "org-real",
        "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer sk-real",
        "OPENAI_BASE_URL": "https://example.org",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "NO_PROXY": "example.org",
    }
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    suite(
        """
        import os
        import openai
        from transcripts import transcript

        async def test_ours(messages_environment, messages_server, stored_completion):
            assert await transcript(stored_completion("Hi!")) == ["Hi!"]
            headers = messages_server.requests[0].headers
            assert headers["authorization"] == f"Bearer {messages_server.api_key}"
            assert "openai-organization" not in headers

        def test_one_that_heeds_proxies(messages_environment, stored_completion):
            with openai.OpenAI() as client:
                assert client.chat.completions.retrieve(stored_completion()).id == "chatcmpl-1"

        def test_no_proxy_for_others(messages_environment):
            assert os.environ["NO_PROXY"] == "127.0.0.1,example.org"

        def test_without_it(messages_server):
            assert os.environ["OPENAI_API_KEY"] == "sk-real"
        """
    ).assert_outcomes(passed=4)
    assert before.items() <= os.environ.items()


def test_a_server_of_a_suites_own(suite: Suite) -> None:
    """A fixture of the same name replaces the package's, also for the client and environment."""
    suite(
        """
        import pytest
        from aiomessages.testing import MessagesServer
        from transcripts import transcript

        @pytest.fixture(scope="module")
        def messages_server():
            with MessagesServer(sample=True) as server:
                yield server

        async def test_the_client(messages_client):
            assert (await messages_client.list("chatcmpl-tides")).data

        async def test_the_app(messages_environment):
            assert await transcript("chatcmpl-tides")
        """
    ).assert_outcomes(passed=2)


def test_a_test_that_fails(suite: Suite) -> None:
    """The report shows the failure alone, although a request was still running."""
    result = suite(
        """
        async def test_it(messages_client, messages_server, stored_completion):
            messages_server.slow_down(3600, first=2)
            async with messages_client.list(stored_completion(9), limit=3) as stream:
                async for item in stream:
                    assert item.role == "nobody"
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 'user' == 'nobody'*"])
    assert "messages_client.list" in result.stdout.str()


def test_the_fixtures_are_listed(suite: Suite) -> None:
    """`pytest --fixtures` shows the docstring of each."""
    listed = suite("", "--fixtures").stdout
    for name in ("messages_server", "messages_client", "messages_environment", "stored_completion"):
        listed.fnmatch_lines([f"{name}*-- *aiomessages/pytest_plugin.py*", "    [A-Z]*"])


def test_a_project_that_uses_none_of_it() -> None:
    """The start of pytest imports neither the test kit nor its dependencies."""
    code = (
        "import sys, pytest; before = set(sys.modules);"
        "import aiomessages.pytest_plugin; print(*sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = [name for name in ran.stdout.split() if not name.startswith("encodings")]
    assert loaded == ["aiomessages"] + [
        f"aiomessages.{name}" for name in ("_lazy", "pytest_plugin")
    ]
