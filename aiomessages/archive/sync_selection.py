"""The completions that a sync selects: by model, metadata, and time of creation."""

import json
import sqlite3
from collections.abc import Mapping

import msgspec

from .listing import Listed
from .selection import selected


class Selection(msgspec.Struct, frozen=True):
    """The completions of one model, with these metadata, created at or after `since`.

    `since` is in Unix seconds; `name` replaces it in the archive's record, for a time that moves
    with the clock, such as "30d".
    """

    model: str | None = None
    metadata: Mapping[str, str] = {}
    since: float | None = None
    name: str | None = None

    def as_text(self) -> str:
        """Return the JSON under which the archive records runs of the same selection."""
        given = {
            "model": self.model,
            "metadata": dict(sorted(self.metadata.items())) or None,
            "since": self.name or self.since,
        }
        return json.dumps({name: value for name, value in given.items() if value is not None})

    def includes(self, item: Listed) -> bool:
        """Return whether a listed completion is wanted; one without a time always is."""
        return self.since is None or item.created is None or item.created >= self.since

    def unlisted(self, db: sqlite3.Connection) -> list[tuple[str, float | None]]:
        """Return the kept completions that this run did not list: ids, and when created."""
        condition, values = selected(
            model=self.model, metadata=self.metadata, since=self.since, state="any"
        )
        query = (
            f"SELECT c.id, c.created FROM completions AS c WHERE {condition}"  # noqa: S608 bound
            " AND c.state IN ('complete', 'lost')"
            " AND c.id NOT IN (SELECT id FROM temp.listed) ORDER BY c.number"
        )
        return db.execute(query, values).fetchall()
