"""What an export says of itself: while it runs, and at its end."""

from pathlib import Path

import msgspec


class Progress(msgspec.Struct):
    """How far an export is. Counts are of this run; `total` is None where it cannot be known.

    `writing_columns` is true at the end of one that makes columns of what it fetched.
    """

    total: int | None = None
    completions: int = 0
    messages: int = 0
    bytes: int = 0
    requests: int = 0
    retries: int = 0
    skipped: int = 0
    failed: int = 0
    already: int = 0
    seconds: float = 0.0
    writing_columns: bool = False


class ExportReport(msgspec.Struct, frozen=True):
    """What an export came to.

    `progress` counts this run; the others the whole export: `rows` in its files, `sha256` by file
    name, `skipped` and `failed` by reason, `removed` completions that the source no longer names.
    `finished` is false where something failed that the same export, run again, would try again.
    """

    destination: Path
    layout: str
    progress: Progress
    finished: bool
    rows: int
    sha256: dict[str, str]
    skipped: dict[str, int]
    failed: dict[str, int]
    removed: int = 0
