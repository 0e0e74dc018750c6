"""Show a Struct's fields as a type checker sees them, and its signature if users build one.

At run time the annotations name the types that the strict decoder accepts. The values that a reader
may get have wider types, which only type checkers see.
"""

import importlib
import re
import sys
import typing
from types import ModuleType
from typing import Any, Final

import msgspec
from sphinx.application import Sphinx

import aiomessages
import aiomessages.models

BUILT_BY_USERS: Final = {"Project", "RetryPolicy", "Selection", "Timeout"}


def as_type_checkers_see_it(package: str) -> dict[str, ModuleType]:
    """Return the modules of a package, imported once more as type checkers read them."""
    modules = {name: sys.modules[name] for name in sys.modules if _is_in(name, package)}
    try:
        typing.TYPE_CHECKING = True
        for name in modules:
            del sys.modules[name]
        return {name: importlib.import_module(name) for name in modules}
    finally:
        typing.TYPE_CHECKING = False
        sys.modules.update(modules)


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _is_struct_of(value: Any, module: str) -> bool:
    is_struct = isinstance(value, type) and issubclass(value, msgspec.Struct)
    return is_struct and value.__module__ == module


def widen_annotations() -> None:
    """Give each model the annotations that a type checker sees."""
    for name, seen in as_type_checkers_see_it(aiomessages.models.__name__).items():
        for value in vars(sys.modules[name]).values():
            if _is_struct_of(value, name):
                value.__annotations__ = getattr(seen, value.__qualname__).__annotations__


def signature(
    _: Sphinx, what: str, __: str, obj: Any, ___: object, shown: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Return the signature to show: empty for a Struct that users only read."""
    if what == "class" and issubclass(obj, msgspec.Struct) and obj.__name__ not in BUILT_BY_USERS:
        return "", None
    # A default without a literal, such as a function, would make the signature unparsable.
    return shown and re.sub(r"<[^<>]+>", "...", shown), returns


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hooks with Sphinx."""
    widen_annotations()
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True}
