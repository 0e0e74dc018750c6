"""Names of a package that load their module when they are first used."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # type checkers take it for true; importing it from typing takes 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def lazily(package: str, modules: dict[str, str], names: dict[str, Any]) -> Callable[[str], object]:
    """Return the `__getattr__` of a package, which imports a module when a name needs it.

    `modules` maps each module to its names, separated by spaces; `names` are the package's globals.
    """
    module_of = {name: module for module, own in modules.items() for name in own.split()}

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f".{module_of[name]}", package), name)
        names[name] = value  # the next access finds it without this function
        return value

    return get


def listed(modules: dict[str, str]) -> list[str]:
    """Return all names of the modules, sorted."""
    return sorted(name for names in modules.values() for name in names.split())
