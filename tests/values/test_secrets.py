"""Secrets in what rich, and others that show objects, make of them."""

import contextlib
import importlib
import pkgutil
from collections.abc import Iterator

import msgspec
from rich.pretty import pretty_repr

import aiomessages
from aiomessages.http.shortcut.sender import SecretBytes
from aiomessages.values.secrets import SecretStr
from aiomessages.wire.responses import Response

LONG = "sk-canary-" * 20


def test_a_long_secret_in_rich() -> None:
    """Rich cuts long strings, and the beginning of a secret is a secret as well."""
    shown = pretty_repr([SecretStr(LONG), SecretBytes(LONG.encode())], max_string=80)
    assert "canary" not in shown
    assert SecretStr(LONG)[:9] == "sk-canary"
    assert (SecretStr(LONG)[0], SecretBytes(b"a")[0]) == ("s", 97)


def test_a_response_in_rich() -> None:
    """Rich shows the repr of a response, which has neither its headers nor its body."""
    response = Response(401, {"x-echo": LONG}, LONG.encode(), 0.0)
    assert pretty_repr(response) == "Response(status=401, 200 bytes)"


def structs(base: type[msgspec.Struct] = msgspec.Struct) -> Iterator[type[msgspec.Struct]]:
    """Yield the Structs of the package."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("aiomessages."):
            yield kind
        yield from structs(kind)


@contextlib.contextmanager
def missing(package: str) -> Iterator[None]:
    """Go on without a module that needs a package which is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise


def test_reprs_that_rich_would_bypass() -> None:
    """Each Struct with a repr of its own has it in rich as well."""
    for module in pkgutil.walk_packages(aiomessages.__path__, "aiomessages."):
        if not module.name.endswith("__main__"):
            with missing("ray"):  # an extra that the session `ray` alone installs
                importlib.import_module(module.name)
    bypassed = {
        kind.__qualname__
        for kind in structs()
        if kind.__repr__ is not msgspec.Struct.__repr__
        and kind.__rich_repr__ is msgspec.Struct.__rich_repr__
    }
    assert bypassed == set()
