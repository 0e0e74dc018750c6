"""What a reader of an archive looks for: words, and the properties of conversations.

Nothing here performs I/O. It writes SQL; values are always bound.
"""

from typing import cast

import msgspec

from .rows import repaired
from .selection import State, Values, selected


class Filters(msgspec.Struct, frozen=True):
    """What the conversations of a list have in common; None means any.

    With `words`, `role` is that of the message that matches; without them, the conversations have
    such a message. `tool` is the name of a tool that the model called. `since` (included) and
    `until` (excluded) are in Unix seconds.
    """

    words: str = ""
    role: str | None = None
    model: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    tool: str | None = None
    finish_reason: str | None = None
    state: str | None = None
    since: float | None = None
    until: float | None = None

    def condition(self) -> tuple[str, Values]:
        """Return the condition on `completions AS c`, without the words, and its values.

        Raises ConfigurationError for a state that there is not.
        """
        where, values = selected(
            model=self.model,
            metadata=dict(self.metadata),
            since=self.since,
            until=self.until,
            state=cast("State", self.state) if self.state is not None else "any",
        )
        if len(dict(self.metadata)) < len(set(self.metadata)):
            where += " AND FALSE"  # no key has two values
        if self.finish_reason is not None:
            where += " AND c.finish_reason = ?"
            values.append(self.finish_reason)
        role = None if self.words else self.role
        for kind, value in (("role", role), ("tool", self.tool)):
            if value is not None:
                # The sign keeps SQLite at the index of the order.
                where += (
                    " AND +c.number IN (SELECT completion FROM labels WHERE (kind, value) = (?, ?))"
                )
                values += kind, value
        return where, [repaired(value) if isinstance(value, str) else value for value in values]
