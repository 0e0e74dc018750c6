"""A conversation as turns: messages with their parts, and calls of tools with their answers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from markupsafe import Markup

from aiomessages.view.templating import environment

from .allowance import Allowance
from .blocks import Blocks
from .documents import read
from .parts import Call, Left, answered_by, parts_of
from .source import as_markdown, size_of

# The roles that have a look of their own.
_KINDS: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_MOST_SOURCE: Final = 20_000  # characters of a message that can be copied from the page


@dataclass
class ShownCall:
    """A call as it is shown: with its answer, or the address of it, or a sentence about it."""

    call: Call
    given: Markup
    answer: "Turn | None" = None
    elsewhere: str | None = None
    note: str = ""


@dataclass
class Turn:
    """A message as it is shown. `n` is its number in the conversation, if it has one.

    `kind` chooses the look. `source` and `json` are what can be copied; None if it is too long.
    """

    kind: str
    role: str
    name: str = ""
    n: int | None = None
    blocks: list[Markup] = field(default_factory=list)
    calls: list[ShownCall] = field(default_factory=list)
    answers: tuple[str, str] | None = None
    source: str | None = None
    json: str | None = None
    notes: list[str] = field(default_factory=list)
    address: str = ""
    link: str = ""
    time: str = ""
    iso: str = ""
    is_reply: bool = False
    choice: str = ""
    is_marked: bool = False


def render_message(
    message: Mapping[str, Any] | bytes,
    *,
    is_reply: bool = False,
    medium: Callable[[int], str] | None = None,
) -> Markup:
    """Return a message in the API's wire shape, or its JSON, as HTML for a page of your own.

    It is an element `article`, and nothing in it runs: no script, style or address of another host
    is loaded. The page needs `static/colours.css` and `static/conversation.css`. `medium` returns
    the address of the k-th image or sound in the message; without it they are data: URIs.
    """
    fields = read(message) if isinstance(message, bytes) else message
    return written(turn_of(fields, is_reply=is_reply, medium=medium))


def written(turn: Turn) -> Markup:
    """Return a turn as HTML."""
    return Markup(_template().message(turn))  # noqa: S704 a template, which escapes


def turn_of(
    message: Mapping[str, Any],
    *,
    is_reply: bool = False,
    medium: Callable[[int], str] | None = None,
    whole: str | None = None,
    allowance: Allowance | None = None,
) -> Turn:
    """Return a message as a turn, with its calls still without answers."""
    role, name = message.get("role"), message.get("name")
    role = role if isinstance(role, str) else ("assistant" if is_reply else "")
    allowance = allowance or Allowance()
    blocks = Blocks(medium=medium, whole=whole, role=role, allowance=allowance)
    turn = Turn(
        kind="reply" if is_reply else role if role in _KINDS else "other",
        role=role or "no role",
        name=name if isinstance(name, str) else "",
        is_reply=is_reply,
        answers=answered_by(message),
    )
    parts = list(parts_of(message))
    taken = allowance.takes(len(parts))
    left = [Left(len(parts) - taken)] if taken < len(parts) else []
    for part in [*parts[:taken], *left]:
        if isinstance(part, Call):
            turn.calls.append(ShownCall(part, blocks.write(part)))
        else:
            turn.blocks.append(blocks.write(part))
    most = min(_MOST_SOURCE, allowance.shown)
    source = as_markdown(parts) if size_of(parts) <= most else ""
    turn.source = allowance.shows(source) if 0 < len(source) <= most else None
    return turn


def joined(turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns of a conversation with each answer beside the call that it answers.

    An answer belongs to the last message that calls its id: some servers count from 0 in each
    message. Of calls of one id in one message each has an answer, in their order. An answer without
    its call stays a turn of its own.
    """
    waiting: dict[tuple[str, str], list[ShownCall]] = {}
    top: list[Turn] = []
    for turn in turns:
        calls = waiting.get(turn.answers) if turn.answers else None
        if calls:
            calls.pop(0).answer = turn
        else:
            top.append(turn)
        waiting |= {call.call.key: [] for call in turn.calls}
        for call in turn.calls:
            waiting[call.call.key].append(call)
    return top


@cache
def _template() -> Any:
    return environment().get_template("_message.html").module
