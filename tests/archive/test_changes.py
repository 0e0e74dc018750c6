"""The questions and changes of a sync, on an archive alone."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from conftest_archive import stored

from aiomessages.archive.changes import look_up, prepare_to_list
from aiomessages.archive.database import open_to_read
from aiomessages.archive.listing import Listed

if TYPE_CHECKING:
    from pathlib import Path


def test_a_page_of_more_ids_than_a_statement_takes(archive: Path) -> None:
    """Each completion of a page is found, however many a server lists at once."""
    with stored(archive) as insert:
        ids = [insert(f"{n}") for n in range(1001)]
    with closing(open_to_read(archive)) as db:
        prepare_to_list(db)
        found = look_up(db, [Listed(id, b"{}", None) for id in ids])
        kept = db.execute("SELECT id, body FROM completions")
        same = look_up(db, [Listed(id, body.encode(), None) for id, body in kept])
    assert found == {}
    assert same == dict.fromkeys(ids, "same")
