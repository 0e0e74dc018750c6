"""The client for scripts: the calls of the async client, without `await`.

    from aiomessages.blocking import MessagesClient

    with MessagesClient() as client:
        for message in client.list("chatcmpl-1"):
            print(message.role, message.content)

It runs the async client in an event loop in one thread of its own. The loop fetches the next page
while the script works on the items of this one.
"""

from .client import MessagesClient, export
from .streams import Page, Results, Stream

__all__ = ["MessagesClient", "Page", "Results", "Stream", "export"]


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
