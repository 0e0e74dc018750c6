"""Claims about replies: those that a server lists among the messages are stored once."""

from __future__ import annotations

import json
from typing import Any

from aiomessages.archive.replies import unlisted_replies
from aiomessages.archive.rows import replies_of

QUESTION = {"id": "m", "role": "user", "content": "Will it rain?"}
REPLIES = [{"role": "assistant", "content": text} for text in ("Yes.", "No.")]


def unlisted(replies: Any, *messages: Any, **fields: Any) -> list[int]:
    """Return the choices whose replies are to be stored beside these messages."""
    completion = {"id": "c", "choices": [{"message": reply} for reply in replies], **fields}
    sent = json.dumps(completion).encode()
    listed = [json.dumps(message).encode() for message in messages]
    end = listed[-len(replies) :] if replies else []
    found = unlisted_replies(replies_of(sent), end, len(listed), sent)
    for choice, message in found:
        assert json.loads(message) == replies[choice]
    return [choice for choice, _ in found]


def test_the_live_api_lists_no_reply() -> None:
    """All replies stand beside the messages."""
    assert unlisted(REPLIES, QUESTION) == [0, 1]
    assert unlisted(REPLIES) == [0, 1]
    assert unlisted([], QUESTION) == []


def test_a_server_that_lists_its_replies() -> None:
    """None of them is stored a second time."""
    assert unlisted(REPLIES[:1], QUESTION, {"id": "r", **REPLIES[0]}) == []
    assert unlisted(REPLIES, QUESTION, *REPLIES) == []


def test_a_server_that_lists_one_of_its_replies() -> None:
    """The others are stored beside the messages; of equal replies one is listed."""
    assert unlisted(REPLIES, QUESTION, {"id": "r", **REPLIES[0]}) == [1]
    assert unlisted(REPLIES, QUESTION, REPLIES[1]) == [0]
    assert unlisted([None, *REPLIES], QUESTION, REPLIES[1]) == [1]
    assert unlisted([REPLIES[0]] * 3, QUESTION, REPLIES[0]) == [1, 2]


def test_an_input_that_only_looks_like_a_reply() -> None:
    """OGX stores its inputs with the completion, which tells the two apart."""
    assert unlisted(REPLIES[:1], QUESTION, REPLIES[0], input_messages=[{}, {}]) == [0]


def test_a_completion_that_cannot_be_compared() -> None:
    """One that is nested too deeply has all of its replies."""
    deep = b'{"x":%b,"choices":[{"message":{"role":"assistant"}}]}' % (b"[" * 2000 + b"]" * 2000)
    reply = b'{"role":"assistant"}'
    assert unlisted_replies([(0, reply)], [reply], 1, deep) == [(0, reply)]
