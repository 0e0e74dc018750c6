"""The public names of the package: users may import them, and the reference documents them."""

from collections.abc import Iterator
from importlib import import_module
from types import FunctionType
from typing import Final

MODULES: Final = (
    "aiomessages",
    "aiomessages.archive",
    "aiomessages.export",
    "aiomessages.fastapi",
    "aiomessages.blocking",
    "aiomessages.keys",
    "aiomessages.otel",
    "aiomessages.ray",
    "aiomessages.server",
    "aiomessages.testing",
    "aiomessages.view",
)


def public_names() -> Iterator[tuple[str, str]]:
    """Yield each public name, and its module."""
    for module in MODULES:
        for name in names_of(module):
            yield name, module


def names_of(module: str) -> list[str]:
    """Return a module's `__all__`, else the names that it defines without an underscore."""
    found = vars(import_module(module))
    made = (name for name, value in found.items() if isinstance(value, type | FunctionType))
    own = (name for name in made if found[name].__module__ == module)
    return found.get("__all__") or [name for name in own if not name.startswith("_")]
