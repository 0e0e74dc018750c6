"""Write tables with one DuckDB, and read them with another one.

`storage.py write FOLDER` exports the sample in every layout and notes the rows; `storage.py read
FOLDER` opens the tables with the installed DuckDB, and fails if the rows differ.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import duckdb

LAYOUTS = ("messages", "conversations", "finetune")


def rows(folder: Path) -> str:
    """Read all tables, as JSON."""
    found = {}
    for layout in LAYOUTS:
        with duckdb.connect(str(folder / f"{layout}.duckdb"), read_only=True) as connection:
            table = connection.table(layout)
            found[layout] = [table.columns, list(map(str, table.types)), table.fetchall()]
    return json.dumps(found)


async def write(folder: Path) -> None:
    """Export the sample, and note the rows that this DuckDB reads."""
    from aiomessages import AsyncMessagesClient  # noqa: PLC0415 - a reader has duckdb alone
    from aiomessages.export import export  # noqa: PLC0415
    from aiomessages.server import LocalServer  # noqa: PLC0415

    async with (
        LocalServer(sample=True) as server,
        AsyncMessagesClient(server.api_key, base_url=server.base_url) as client,
    ):
        for layout in LAYOUTS:
            report = await export(
                client, client.completions(), folder / f"{layout}.duckdb", layout=layout
            )
            print(f"DuckDB {duckdb.__version__} wrote {report.rows} rows of {layout}")  # noqa: T201
    (folder / "rows.json").write_text(rows(folder), "utf-8")


def read(folder: Path) -> None:
    """Compare the rows that this DuckDB reads with those that the other one noted."""
    if rows(folder) != (folder / "rows.json").read_text("utf-8"):
        sys.exit(f"DuckDB {duckdb.__version__} reads other rows")
    print(f"DuckDB {duckdb.__version__} reads the same rows")  # noqa: T201


if __name__ == "__main__":
    does, where = sys.argv[1:]
    if does == "write":
        asyncio.run(write(Path(where)))
    else:
        read(Path(where))
