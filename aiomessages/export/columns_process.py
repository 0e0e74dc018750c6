"""The columns process: another process makes columns, so that duckdb's memory is not the export's.

That process makes the file in a directory of its own. This process makes the file durable and gives
it its name, so that a file with that name is whole. The other process gets no signal that is meant
for the export, ends when this process ends in any way, and inherits only the environment that
Python needs to start, without any API key.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import Final

from .columnar import explained, make_columns
from .errors import CorruptError, DiskFullError, ExportError
from .files import PRIVATE, Files

# --- this process ---------------------------------------------------------------------------------


def write_columns(
    source: Path,
    target: Path,
    ending: str,
    layout: str,
    *,
    files: Files | None = None,
) -> int:
    """Write the lines of a layout as columns, durably, and return the number of rows.

    The ending is `.parquet` or `.duckdb`; the target's own name may have another one.
    `make_columns` says what is written and raised; a crash of the process is an ExportError as
    well. Calls for the same target must not overlap.
    """
    files = files or Files()
    try:
        with _directory(target) as directory:
            output = directory / f"table{ending}"
            count = _make(source, output, layout, target)
            _settle(files, output, target)
    except OSError as error:
        raise explained(error, target) from error
    return count


@contextlib.contextmanager
def _directory(target: Path) -> Iterator[Path]:
    """Create an empty directory beside the target, on its file system, for the rename.

    The name is random: a process that a killed run started may write to its own a little longer.
    """
    _remove_directories(target)
    try:
        yield Path(tempfile.mkdtemp(".work", f"{target.name}.", target.parent)).absolute()
    finally:
        _remove_directories(target)


def _remove_directories(target: Path) -> None:
    for path in target.parent.glob(f"{escape(target.name)}.{_RANDOM}.work"):
        shutil.rmtree(path, ignore_errors=True)  # it follows no link


_RANDOM: Final = "[a-z0-9_]" * 8  # as mkdtemp makes names


def _settle(files: Files, output: Path, target: Path) -> None:
    """Make the file private and durable, and move it out of its directory."""
    output.chmod(PRIVATE)
    with output.open("rb+") as file:
        files.fsync(file.fileno())
    files.rename(output, target)


def _make(source: Path, output: Path, layout: str, target: Path) -> int:
    """Make the output in another process, or in this one if it has no interpreter to start."""
    # A frozen program's executable would run the program once more; an embedded one may have none.
    if getattr(sys, "frozen", False) or not sys.executable:
        return make_columns(source, output, layout, target=target)
    # -P keeps the current directory off the module path; -I also ignores the environment, if this
    # process does. The program then takes over this process's path.
    alone = "-I" if sys.flags.ignore_environment else "-P"
    command = [sys.executable, alone, "-c", _PROGRAM, json.dumps(sys.path, default=str)]
    with _lifeline() as lifeline:
        done = subprocess.run(  # noqa: S603 - this very Python
            [*command, output, layout, target, source],
            stdin=lifeline,
            # The other process takes over this one's module path, so it needs no PYTHONPATH.
            env={name: value for name, value in os.environ.items() if _NEEDED.fullmatch(name)},
            capture_output=True,
            start_new_session=True,  # Ctrl-C goes to a process group; the export decides
            check=False,
        )
    return _answer(done, target)


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """Give the read end of a pipe that closes when this process ends; nothing is written to it."""
    descriptor, held = os.pipe()
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        os.close(held)


def _answer(done: subprocess.CompletedProcess[bytes], target: Path) -> int:
    """Return the number of rows, or raise the error of the other process."""
    try:
        answer = json.loads(_last_line(done.stdout))
    except ValueError:
        code, words = done.returncode, _last_line(done.stderr)
        how = signal.strsignal(-code) if code < 0 else f"exit code {code}"
        raise ExportError(
            f"{target.name} could not be made: its process ended early ({how})"
            f"{words and ': '}{words}"
        ) from None
    if "error" in answer:
        raise _ERRORS[answer["error"]](answer["text"])
    return int(answer["rows"])


def _last_line(printed: bytes) -> str:
    return printed.decode(errors="replace").strip().rpartition("\n")[2]


_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1));"
    f" from {__name__} import main; main()"
)
_NEEDED: Final = re.compile(  # by Python, to start; none of these variables holds a key
    "PATH|HOME|USERPROFILE|SYSTEMROOT|TMPDIR|TEMP|TMP|LANG|LC_[A-Z]+"
    "|(?:LD|DYLD)_[A-Z_]+"  # where the interpreter's own libraries are
    "|PYTHON(?:HOME|UTF8|COERCECLOCALE|PLATLIBDIR|DONTWRITEBYTECODE|PYCACHEPREFIX)"
    "|COV(?:ERAGE)?_[A-Z_]+"  # tests measure coverage there as well
)
_ERRORS: Final = {kind.__name__: kind for kind in (ExportError, CorruptError, DiskFullError)}


# --- the other process ----------------------------------------------------------------------------


def main() -> None:
    """Make columns as the arguments say, and print the number of rows or the error."""
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    # A service manager sends SIGTERM to every process, and the export ends in order.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    output, layout, target, source = sys.argv[1:]
    answer: dict[str, object]
    try:
        count = make_columns(Path(source), Path(output), layout, target=Path(target))
        answer = {"rows": count}
    except ExportError as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    print(json.dumps(answer))  # noqa: T201 - the export reads it


def _end_with(descriptor: int) -> None:
    """End this process when the one that started it has ended."""
    os.read(descriptor, 1)
    os._exit(1)
