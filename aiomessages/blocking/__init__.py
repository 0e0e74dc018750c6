"""The client for scripts: the same calls, and they wait.

    from aiomessages.blocking import MessagesClient

    with MessagesClient() as client:
        for message in client.list("chatcmpl-1"):
            print(message.role, message.content)

It is the async client, in an event loop that runs in one thread of its own. A walk crosses over
once a page, and the next page is fetched while the script works on this one.
"""

from .client import MessagesClient, export
from .streams import Page, Results, Stream

__all__ = ["MessagesClient", "Page", "Results", "Stream", "export"]
