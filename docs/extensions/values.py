"""Show a Struct's fields as a type checker sees them, and its signature if users build one.

At run time the annotations name the types that the strict decoder accepts. The values that a reader
may get have wider types, which only type checkers see.
"""

import importlib.util
import re
import typing
from typing import Any, Final

import msgspec
from sphinx.application import Sphinx

import aiomessages
import aiomessages.models

BUILT_BY_USERS: Final = {"RetryPolicy", "Timeout"}


def as_type_checkers_see_it(module: Any) -> dict[str, Any]:
    """Return the names of a module, executed as type checkers read it."""
    spec = importlib.util.spec_from_file_location(module.__name__, module.__file__)
    copy = importlib.util.module_from_spec(spec)
    typing.TYPE_CHECKING = True
    try:
        spec.loader.exec_module(copy)
    finally:
        typing.TYPE_CHECKING = False
    return vars(copy)


def widen_annotations() -> None:
    """Give each model the annotations that a type checker sees."""
    for name, seen in as_type_checkers_see_it(aiomessages.models).items():
        if isinstance(seen, type) and issubclass(seen, msgspec.Struct):
            getattr(aiomessages.models, name).__annotations__ = seen.__annotations__


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
