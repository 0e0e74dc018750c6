"""A loopback server that lists the stored completions of a project, in its own process.

Each completion has ten messages. It keeps none of them: a text is cut from a fixed run of words,
which occur as unequally as in a language, and some have a word or a phrase to search for. The
completions are spread over 29 days and the newest is some hours old, so that a list of what is new
has an end. Requests ask for ascending order; another one is ignored. As in most servers, answers
have a Date, without which a sync lists the last hour before the newest completion again.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from email.utils import formatdate
from itertools import accumulate
from typing import TYPE_CHECKING

from benchmarks.server import HEADERS, PageProtocol, compact, listen, place

if TYPE_CHECKING:
    from collections.abc import Iterator

EACH = 10  # messages of a conversation
DAYS, HOURS_SINCE = 29, 12
MESSAGES = re.compile(rb"/chat/completions/chatcmpl-(\d+)/messages")

WORDS_OF_A_TEXT, LETTERS_OF_A_TEXT = 60, 80
COMMON, PHRASE, RARE = "invoice", "purchase order", "quokka"
CHINESE, JAPAN = 20, 3  # one in so many is in Chinese letters; of these, one has the word 日本語


class Texts:
    """The texts of all messages, by their number."""

    def __init__(self) -> None:
        fixed = random.Random(1)  # noqa: S311 it keeps no secret
        syllables = [a + b for a in "bcdfghjklmnprstvwz" for b in "aeiou"]
        words = ["".join(fixed.choices(syllables, k=fixed.randint(1, 4))) for _ in range(40_000)]
        self._words = fixed.choices(words, cum_weights=_unequal(len(words)), k=200_000)
        letters = [chr(0x4E00 + number) for number in range(3000)]
        chosen = fixed.choices(letters, cum_weights=_unequal(len(letters)), k=200_000)
        self._letters = "".join(chosen)

    def text(self, number: int) -> str:
        """Return the text of a message."""
        mixed = number * 2_654_435_761 % 2**32
        if mixed % CHINESE == 0:
            start = mixed % (len(self._letters) - LETTERS_OF_A_TEXT)
            text = self._letters[start : start + LETTERS_OF_A_TEXT]
            return f"{text[:30]}日本語{text[30:]}" if mixed % JAPAN == 1 else text
        start = mixed % (len(self._words) - WORDS_OF_A_TEXT)
        words = self._words[start : start + WORDS_OF_A_TEXT]
        for mark in self._marks(number, mixed):
            words.insert(number % WORDS_OF_A_TEXT, mark)
        return " ".join(words)

    def _marks(self, number: int, mixed: int) -> Iterator[str]:
        if mixed % 10 == 1:
            yield COMMON
        if mixed % 100 == 1:
            yield PHRASE
        if number % 20_000 == 1:
            yield RARE


def _unequal(count: int) -> list[float]:
    return list(accumulate(1 / (rank + 5) for rank in range(count)))


class Project:
    """The completions of a project, as pages."""

    def __init__(self, messages: int) -> None:
        self._count = messages // EACH
        self._texts = Texts()
        self._step = DAYS * 86_400 / max(self._count, 1)
        date = f"Date: {formatdate(usegmt=True)}"  # of the start, which is exact enough
        self._headers = HEADERS.replace("\r\n\r\n", f"\r\n{date}\r\n\r\n")
        self._first = time.time() - HOURS_SINCE * 3600 - DAYS * 86_400

    def respond(self, request: bytes) -> bytes:
        """Answer a request for messages, or else for completions."""
        if found := MESSAGES.search(request):
            number = int(found[1])
            return self._page([self._message(number, n) for n in range(EACH)], more=False)
        after, limit = place(request)
        start = 0 if after is None else after + 1
        end = min(start + limit, self._count)
        shown = list(map(self._completion, range(start, end)))
        return self._page(shown, more=end < self._count)

    def _message(self, completion: int, n: int) -> tuple[str, bytes]:
        id, role = f"{_id(completion)}-{n}", ("user", "assistant")[n % 2]
        text = json.dumps(self._texts.text(completion * EACH + n), ensure_ascii=False)
        rest = '"content_parts":null,"name":null'
        return id, f'{{"id":"{id}","role":"{role}","content":{text},{rest}}}'.encode()

    def _completion(self, number: int) -> tuple[str, bytes]:
        id = _id(number)
        reply = {"role": "assistant", "content": f"That was number {number}.", "refusal": None}
        completion = {
            "id": id,
            "object": "chat.completion",
            "created": int(self._first + number * self._step),
            "model": "gpt-4o-mini" if number % 5 else "gpt-4o",
            "metadata": {"team": str(number % 50)},
            "choices": [{"index": 0, "message": reply, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 900, "completion_tokens": 9, "total_tokens": 909},
        }
        return id, compact(completion)

    def _page(self, items: list[tuple[str, bytes]], *, more: bool) -> bytes:
        first, last = (f'"{items[n][0]}"' if items else "null" for n in (0, -1))
        tail = f'],"first_id":{first},"last_id":{last},"has_more":{str(more).lower()}}}'
        data = b",".join(each for _, each in items)
        body = b'{"object":"list","data":[' + data + tail.encode()
        return self._headers.format(length=len(body), start=0).encode() + body


def _id(number: int) -> str:
    return f"chatcmpl-{number:08}"


if __name__ == "__main__":
    project = Project(int(sys.argv[1]))
    asyncio.run(listen(lambda: PageProtocol(project.respond)))
