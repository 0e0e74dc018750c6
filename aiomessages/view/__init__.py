"""The reading room: pages that show an archive in a browser, and change nothing.

`aiomessages view ARCHIVE` opens it. Everything in an archive is hostile here: no text of it becomes
markup that runs, and nothing is loaded from elsewhere. It needs the extra `view`.

app = create_app("archive.db", access=Access(port))
"""

from typing import TYPE_CHECKING

from aiomessages._lazy import lazily

if TYPE_CHECKING:
    from .access import Access
    from .app import create_app
    from .rendering.turns import render_message

_MODULES = {"access": "Access", "app": "create_app", "rendering.turns": "render_message"}

__all__ = ["Access", "create_app", "render_message"]


# Hidden from type checkers, which would accept any name.
if not TYPE_CHECKING:  # pragma: no branch  # at run time it is false
    __getattr__ = lazily(__name__, _MODULES, globals())


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
