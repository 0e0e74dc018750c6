"""An archive of many conversations to read: `view` builds it once, without a server or a sync.

Most conversations have ten messages; one has 200 and one 10,000, or fewer in a small archive. The
texts are those of the project of `archive`; some have Markdown around them. Models, tools and
metadata are as unequal as people use them, and the days go back more than a year.
"""

from __future__ import annotations

import random
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from aiomessages.archive.database import open_to_write
from aiomessages.archive.insert import insert_conversation
from benchmarks.project_server import EACH, Texts
from benchmarks.server import compact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHORT, LONG = "chatcmpl-short", "chatcmpl-long"
SHORT_LENGTH, LONG_LENGTH = 200, 10_000
RARE_TOOL, RARE_ROLE = "file_a_complaint", "developer"
MOST_FREQUENT = ("gi", "neti")  # words of the texts
# The first is that of half of all, the next of a quarter, and so on.
MODELS = [
    "gpt-4o-mini",
    "gpt-4o",
    "o3-mini",
    "gpt-4.1",
    "o3",
    "gpt-4.1-nano",
    "gpt-3.5-turbo",
    "o1",
]
TOOLS = [f"look_up_{name}" for name in ("order", "customer", "price", "route", "weather", "page")]
DAYS = 400
_IN_A_TRANSACTION = 5000  # conversations
_MARKDOWN = """\
## Summary

{text}

- **first**: it is `done`
- second, see [the manual](https://example.com/manual)

| step | result |
|---|---|
| 1 | good |
| 2 | better |

```python
def answer(question: str) -> int:
    return 42 if question else len("{word}")  # {word}
```
"""


def build_once(path: Path, messages: int) -> None:
    """Build an archive, if there is none so far."""
    if not path.exists():
        build(path, messages)


def build(path: Path, messages: int) -> None:
    """Build an archive of so many messages and a reply for each ten of them."""
    conversations = list(_lengths(messages))
    texts, chance = Texts(), random.Random(1)  # noqa: S311 it keeps no secret
    step = DAYS * 86_400 / len(conversations)
    now, first = time.time(), 0
    with closing(open_to_write(path)) as db:
        for number, (name, length) in enumerate(conversations):
            if number % _IN_A_TRANSACTION == 0:
                db.execute("COMMIT" if number else "SELECT 1")
                db.execute("BEGIN IMMEDIATE")
            sent = _messages(name, number, range(first, first + length), texts)
            created = int(now - (len(conversations) - number) * step)
            body = compact(_completion(name, number, created, chance))
            state = chance.choices(("complete", "gone", "expired", "lost"), (94, 2, 3, 1))[0]
            insert_conversation(db, body, map(compact, sent), seen=now, state=state)
            first += length
        db.execute("COMMIT")


def sizes(messages: int) -> tuple[int, int]:
    """Return how many messages the two long conversations of an archive have."""
    return min(SHORT_LENGTH, messages // 10), min(LONG_LENGTH, messages // 4)


def _lengths(messages: int) -> Iterator[tuple[str, int]]:
    """Yield the ids of all conversations, the oldest first, with their messages."""
    short, long = sizes(messages)
    others = (messages - short - long) // EACH
    for number in range(others):
        if number == others // 2:
            yield LONG, long
            yield SHORT, short
        yield f"chatcmpl-{number:08}", EACH


def _messages(name: str, number: int, places: range, texts: Texts) -> Iterator[dict[str, Any]]:
    """Yield messages: a question and an answer in turn, and in each fifth conversation a tool."""
    calls_a_tool = number % 5 == 0
    for n, place in enumerate(places):
        message: dict[str, Any] = {"id": f"{name}-{n}", "role": ("user", "assistant")[n % 2]}
        text: str | None = texts.text(place)
        if n == 0 and number % 3 == 0:
            message["role"] = "system"
            if number % 3000 == 0:
                message["role"], text = RARE_ROLE, f"{MOST_FREQUENT[0]} {text}"
        elif calls_a_tool and n % EACH == 3:
            message["tool_calls"] = [_call(number, n, texts.text(place))]
            text = None
        elif calls_a_tool and n % EACH == 4:
            message |= {"role": "tool", "tool_call_id": f"call_{n - 1}"}
            text = compact({"found": text, "count": n}).decode()
        elif n % EACH == 5:
            text = _MARKDOWN.format(text=text, word=f"{text}".partition(" ")[0])
        yield {**message, "content": text, "content_parts": None, "name": None}


def _call(number: int, n: int, text: str) -> dict[str, Any]:
    name = RARE_TOOL if number % 5000 == 0 else TOOLS[number // 5 % len(TOOLS)]
    given = compact({"query": text[:100], "limit": 10}).decode()
    return {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": given}}


def _completion(name: str, number: int, created: int, chance: random.Random) -> dict[str, Any]:
    reply = {"role": "assistant", "content": f"That was number {number}.", "refusal": None}
    reason = chance.choices(("stop", "length", "tool_calls"), (90, 8, 2))[0]
    prompt, replied = chance.randint(100, 4000), chance.randint(5, 900)
    return {
        "id": name,
        "object": "chat.completion",
        "created": created,
        "model": chance.choices(MODELS, [2.0**-n for n in range(len(MODELS))])[0],
        "metadata": {
            "team": str(number % 50),
            "user": str(chance.randrange(5000)),
            "environment": "production" if number % 10 else "test",
        },
        "choices": [{"index": 0, "message": reply, "finish_reason": reason}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": replied,
            "total_tokens": prompt + replied,
        },
    }
