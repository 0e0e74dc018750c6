"""Usage that a type checker must refuse, with the error code that each marked line must get."""

from __future__ import annotations

import aiomessages
from aiomessages import AsyncMessagesClient, Message, RetryPolicy, Timeout
from aiomessages.blocking import MessagesClient, export
from aiomessages.otel import instrument

print(aiomessages.MesagePage)  # error: attr-defined

client = AsyncMessagesClient("sk-key", "https://gateway.example/v1")  # error: call-arg
client = AsyncMessagesClient(api_key=42)  # error: arg-type
client = AsyncMessagesClient(api_key=lambda: "not awaitable")  # error: arg-type
client = AsyncMessagesClient(timeout="30")  # error: arg-type
client = AsyncMessagesClient(retries=3)  # error: call-arg
client = AsyncMessagesClient(ssl_context=False)  # error: arg-type
client.with_options(retry=3)  # error: arg-type

Timeout(total="30")  # error: arg-type
RetryPolicy(max_retries="many")  # error: arg-type

client.list()  # error: call-arg
client.list("chatcmpl-1", "chatcmpl-1-3")  # error: call-arg
client.list("chatcmpl-1", limit="20")  # error: arg-type
client.list("chatcmpl-1", order="newest")  # error: arg-type
client.list("chatcmpl-1", page_size=20)  # error: call-arg

for _ in client.list("chatcmpl-1"):  # error: attr-defined
    pass

waiting = MessagesClient(timeout="30")  # error: arg-type
waiting.list("chatcmpl-1", page_size=20)  # error: call-arg
waiting.with_options(retry=3)  # error: arg-type
export(waiting, "chatcmpl-1", "all.jsonl", speed=20)  # error: call-arg
export(client, [], "all.jsonl")  # error: arg-type
instrument(42)  # error: type-var


async def reading(message: Message) -> None:
    """Read a message with wrong types."""
    message.content.upper()  # error: union-attr
    message.content = "changed"  # error: misc
    print(message["content"])  # error: index
    message.text.append("more")  # error: attr-defined
    print(client.list("chatcmpl-1").data)  # error: attr-defined
    async for page in client.list("chatcmpl-1").pages():
        print(page.role)  # error: attr-defined
    usage = (await client.completion("chatcmpl-1")).usage or {}
    print(usage["tokens"])  # error: typeddict-item
