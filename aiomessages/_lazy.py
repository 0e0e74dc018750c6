"""Names of a package that load their module when they are first used, and not before."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # for type checkers it is true; importing it from typing takes 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def lazily(package: str, modules: dict[str, str], names: dict[str, Any]) -> Callable[[str], object]:
    """Return a package's `__getattr__`, for what its modules define.

    `modules` has the names that each of them is asked for, `names` is what the package has already.
    """
    module_of = {name: module for module, listed in modules.items() for name in listed.split()}

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f".{module_of[name]}", package), name)
        names[name] = value  # the next look-up finds it without this function
        return value

    return get
