"""What the tests of browsing share by import: a naive model of an archive, and that archive."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from conftest_archive import NOW, stored
from hypothesis import strategies as st

from aiomessages.archive.database import open_to_read
from aiomessages.archive.filters import Filters

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DAY = 86_400
MODELS = ["gpt-4o", "o3", "", None]
ROLES = ["user", "system", "tool", None, "übel"]
TOOLS = ["search", "get weather"]
REASONS = ["stop", "length", None]
STATES = ["complete", "gone", "expired", "lost"]
TEAMS = ["red", "blue"]
WORDS = ["common", "often", "rare"]  # each in fewer messages than the one before


class Talk(NamedTuple):
    """A conversation, as a person would describe it."""

    id: str
    created: int | None
    model: str | None
    metadata: dict[str, str]
    messages: list[tuple[str | None, str, str | None]]  # role, text, and the tool that is called
    inputs: int  # of the messages; the others are replies
    finish_reason: str | None
    state: str

    @property
    def place(self) -> tuple[int, str]:
        """Return the place in the order, which is that of the newest first when reversed."""
        return self.created or 0, self.id

    def found(self, filters: Filters) -> list[int] | None:
        """Return the messages that match, [] without words; None if it is not in the list."""
        roles = {role for role, _, _ in self.messages}
        tools = {tool for _, _, tool in self.messages}
        timed = filters.since is not None or filters.until is not None
        if not (
            filters.model in (None, self.model)
            and all(self.metadata.get(name) == value for name, value in filters.metadata)
            and (filters.tool is None or filters.tool in tools)
            and filters.finish_reason in (None, self.finish_reason)
            and filters.state in (None, self.state)
            and not (timed and self.created is None)
            and (filters.since is None or (self.created or 0) >= filters.since)
            and (filters.until is None or (self.created or 0) < filters.until)
        ):
            return None
        if not filters.words:
            return [] if filters.role is None or filters.role in roles else None
        found = [
            n
            for n, (role, text, _) in enumerate(self.messages)
            if filters.words in text.split() and filters.role in (None, role)
        ]
        return found or None


def talks(seed: int, count: int, prefix: str = "") -> list[Talk]:
    """Return conversations made by chance, in the order in which they are stored."""
    chance = random.Random(seed)  # noqa: S311 no secret
    return [_talk(chance, f"{prefix}{n:04}") for n in range(count)]


def _talk(chance: random.Random, name: str) -> Talk:
    def message(*roles: str | None) -> tuple[str | None, str, str | None]:
        words = [word for n, word in enumerate(WORDS) if chance.random() < 0.5 / 3**n]
        tool = chance.choice(TOOLS) if chance.random() < 0.2 else None
        return chance.choice(roles), " ".join([*words, "text"]), tool

    inputs = chance.randint(0, 4)
    replies = chance.randint(0, 2)
    return Talk(
        f"chatcmpl-{name}",
        chance.choice([None, 0, *(NOW + DAY * n for n in range(40))]),
        chance.choice(MODELS),
        {key: chance.choice(TEAMS) for key in ("team", "place") if chance.random() < 0.6},
        [message(*ROLES) for _ in range(inputs)] + [message("assistant") for _ in range(replies)],
        inputs,
        chance.choice(REASONS) if replies else None,
        chance.choice(STATES),
    )


def store_all(path: Path, stored_talks: Sequence[Talk]) -> None:
    """Store the conversations."""
    with stored(path) as insert:
        for talk in stored_talks:
            sent = [_sent(*message) for message in talk.messages]
            choices = [
                {"index": n, "message": reply, "finish_reason": talk.finish_reason}
                for n, reply in enumerate(sent[talk.inputs :])
            ]
            insert(
                talk.id.removeprefix("chatcmpl-"),
                *sent[: talk.inputs],
                created=talk.created,
                model=talk.model,
                metadata=talk.metadata,
                choices=choices,
                state=talk.state,
            )


def _sent(role: str | None, text: str, tool: str | None) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": "{}"}}
    return {"role": role, "content": text} | ({} if tool is None else {"tool_calls": [call]})


class Library:
    """An archive of conversations made by chance."""

    def __init__(self, directory: Path, count: int = 400) -> None:
        self.talks = talks(1, count)
        self.path = directory / "library.db"
        store_all(self.path, self.talks)

    def copy(self) -> Path:
        """Return a copy to write to, which replaces the one before."""
        return shutil.copy(self.path, self.path.with_name("copy.db"))


def expected(found_in: Sequence[Talk], filters: Filters) -> dict[str, list[int]]:
    """Return the ids of a list, the newest first, each with the messages that match."""
    ordered = sorted(found_in, key=lambda talk: talk.place, reverse=True)
    found = {talk.id: talk.found(filters) for talk in ordered}
    return {id: messages for id, messages in found.items() if messages is not None}


def counted(values: Sequence[str | None]) -> dict[str | None, int]:
    """Return how often each value is there."""
    return dict(Counter(values))


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an archive to read it."""
    with closing(open_to_read(path)) as db:
        yield db


def _or_none(*values: Any) -> Any:
    return st.none() | st.sampled_from(values)


pairs = st.tuples(st.sampled_from(["team", "place", "none"]), st.sampled_from(TEAMS))
# Most of the filters leave enough for some pages.
filters_ = st.builds(
    Filters,
    words=st.sampled_from(["", "", *WORDS, "nowhere"]),
    role=_or_none("user", "assistant", "system", "übel", "nobody"),
    model=_or_none("gpt-4o", "o3", "", "none"),
    metadata=st.lists(pairs, max_size=2).map(tuple),
    tool=_or_none(*TOOLS, "none"),
    finish_reason=_or_none("stop", "length"),
    state=_or_none(*STATES),
    since=_or_none(0, NOW + 5 * DAY),
    until=_or_none(NOW + 0.5, NOW + 30 * DAY),
) | st.builds(Filters, words=st.sampled_from(["", *WORDS]), state=_or_none("complete"))
