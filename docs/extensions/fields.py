"""The public fields of the classes in the reference: a user reads them, and it describes each.

A field is an annotation in the body of a class, a property, or an attribute that `__init__` sets.
"""

import ast
import inspect
import pkgutil
import textwrap
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final

OF_PYDANTIC: Final = {"model_config"}
# The attributes of a class that has those of another are described there.
DESCRIBED_AS: Final = {"aiomessages.blocking.Page": "aiomessages.MessagePage"}


def public_fields(names: Iterable[str]) -> Iterator[str]:
    """Yield the whole name of each field of the classes among these names, in order."""
    for name in sorted(names):
        if isinstance(cls := _found(name), type):
            yield from (f"{DESCRIBED_AS.get(name, name)}.{field}" for field in fields_of(cls))


def _found(name: str) -> object:
    """Return what a whole name stands for; None for an anchor of another kind."""
    try:
        return pkgutil.resolve_name(name) if name.startswith("aiomessages.") else None
    except AttributeError:  # of an instance alone
        return None
    except ModuleNotFoundError:  # a function that needs an extra
        return None


def fields_of(cls: type) -> list[str]:
    """Return the public fields that a class defines itself, sorted."""
    annotated = set(vars(cls).get("__annotations__", ()))
    properties = {n for n, v in vars(cls).items() if isinstance(v, property | cached_property)}
    found = annotated | properties | _set_by_init(cls)
    return sorted(name for name in found - OF_PYDANTIC if not name.startswith("_"))


def _set_by_init(cls: type) -> set[str]:
    if (init := vars(cls).get("__init__")) is None or not inspect.isfunction(init):
        return set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }
