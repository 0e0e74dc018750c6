"""A test kit: a real local server in a thread, for the tests of whatever uses this package.

With pytest there is nothing to import: the fixtures of `aiomessages.pytest_plugin` are made of
this. docs/testing.md is the guide.
"""

from .received import ReceivedRequest
from .server import MessagesServer

__all__ = ["MessagesServer", "ReceivedRequest"]
