"""The files of a folder that `aiomessages.ray.export` has finished, checked against its manifest.

The manifest is the last file of a run, so a folder without one is not finished. Nothing here knows
Ray.
"""

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from .errors import ArchiveError, CorruptError, NotAnArchiveError

MANIFEST: Final = "manifest.json"
_LAYOUT: Final = ("conversations", "jsonl.gz")


class _File(msgspec.Struct):
    name: str
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct):
    layout: str
    format: str
    files: list[_File]


def files_in(folder: Path) -> list[Path]:
    """Return the files of conversations in a finished folder.

    Raises NotAnArchiveError for any other folder, CorruptError if a file is not the one that was
    written, and ArchiveError if one cannot be read.
    """
    try:
        manifest = msgspec.json.decode(Path(folder, MANIFEST).read_bytes(), type=_Manifest)
    except FileNotFoundError:
        raise NotAnArchiveError(
            f"{folder}: no finished export of aiomessages.ray: it has no {MANIFEST}",
            hint="run the export to its end, or name files",
        ) from None
    except OSError as error:
        raise ArchiveError(f"{folder}/{MANIFEST}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NotAnArchiveError(f"{folder}/{MANIFEST}: not that of aiomessages.ray") from None
    if (manifest.layout, manifest.format) != _LAYOUT:
        raise NotAnArchiveError(
            f"{folder}: an export with the layout {manifest.layout} as {manifest.format}",
            hint="an archive needs layout='conversations' and format='jsonl.gz'",
        )
    return [_checked(folder, file) for file in manifest.files]


def _checked(folder: Path, file: _File) -> Path:
    path = Path(folder, file.name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise NotAnArchiveError(f"{folder}/{MANIFEST}: it names a file outside of the folder")
    try:
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise CorruptError(
            f"{path}: {error.strerror}", hint="copy the whole folder, or export again"
        ) from None
    if found != file.sha256:
        raise CorruptError(
            f"{path}: not the file that was written", hint="copy it once more, or export again"
        )
    return path
