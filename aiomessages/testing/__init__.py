"""A test kit for code that uses this package: a real local server in a thread.

With pytest there is nothing to import: `aiomessages.pytest_plugin` wraps the kit in fixtures.
docs/testing.md is the guide.
"""

from .received import ReceivedRequest
from .server import MessagesServer

__all__ = ["MessagesServer", "ReceivedRequest"]


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
