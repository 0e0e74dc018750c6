"""Columns made by another process: its files, its errors, and its end."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from errno import EFBIG, EIO, ENOSPC
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from aiomessages.export import columns_process
from aiomessages.export.columns_process import write_columns
from aiomessages.export.errors import CorruptError, DiskFullError, ExportError
from aiomessages.export.files import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINE = b'{"completion_id":"c","seq":0,"message":{"role":"user","content":"text"}}\n'
SECONDS = 60  # far more than a process needs to end

# Writes columns as an export does, and ignores Ctrl-C as an export does.
WRITER = """
import signal, sys
from pathlib import Path
from aiomessages.export.columns_process import write_columns
signal.signal(signal.SIGINT, lambda *_: None)
write_columns(Path(sys.argv[1]), Path(sys.argv[2]), ".parquet", "messages")
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a file of one line."""
    path = tmp_path / "lines.jsonl.gz"
    path.write_bytes(gzip.compress(LINE))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Name a file that does not exist yet; only its ending decides the format."""
    return tmp_path / "columns.tmp"


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that replaces duckdb by other code in the columns process."""

    def put(code: str) -> None:
        folder = tmp_path / "first"
        folder.mkdir()
        (folder / "duckdb.py").write_text(f"import os, signal\n{code}\n")
        monkeypatch.syspath_prepend(folder)

    return put


def rows(path: Path, ending: str) -> list[Any]:
    """Read the rows back."""
    with duckdb.connect() as connection:
        if ending == ".duckdb":
            connection.execute(f"ATTACH '{path}' AS made (READ_ONLY)")
        table = "made.messages" if ending == ".duckdb" else f"read_parquet('{path}')"
        return connection.execute(f"SELECT content FROM {table}").fetchall()  # noqa: S608


def everything(path: Path, ending: str) -> Any:
    """Read back the columns, their types, and the rows."""
    with duckdb.connect() as connection:
        table = f"read_parquet('{path}', hive_partitioning = false)"
        if ending == ".duckdb":
            connection.execute(f"ATTACH '{path}' AS made (READ_ONLY)")
            table = "made.messages"
        found = connection.sql(f"FROM {table}")
        return found.columns, found.types, found.fetchall()


# --- what it leaves -------------------------------------------------------------------------------


@pytest.mark.measured_programs
@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
def test_the_file_is_private_and_alone(source: Path, target: Path, ending: str) -> None:
    """The file is readable by its owner only, and no other file is left beside it."""
    assert write_columns(source, target, ending, "messages") == 1
    assert rows(target, ending) == [("text",)]
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(target.parent.iterdir()) == [target, source]


def test_the_remains_of_a_killed_run_are_no_obstacle(source: Path, target: Path) -> None:
    """The directory of a killed run is removed, and the new one has another name."""
    left = target.with_name("columns.tmp.a0b1_z9x.work")
    left.mkdir()
    (left / "messages.parquet").write_text("rubbish")
    write_columns(source, target, ".parquet", "messages")
    assert sorted(target.parent.iterdir()) == [target, source]


def test_a_directory_that_is_no_runs(source: Path, target: Path) -> None:
    """A directory with a similar name, or behind a link, is left unchanged."""
    mine, linked = target.parent / "mine", target.with_name("columns.tmp.a0b1_z9x.work")
    near = target.with_name("columns.tmp.my.work")
    for directory in (mine, near):
        directory.mkdir()
        (directory / "file").touch()
    linked.symlink_to(mine)
    write_columns(source, target, ".parquet", "messages")
    assert sorted(target.parent.iterdir()) == sorted([target, source, mine, linked, near])
    assert [(directory / "file").exists() for directory in (mine, near)] == [True, True]


@pytest.mark.parametrize("name", ["~columns.tmp", "http:columns.tmp"])
@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
def test_a_name_that_means_more_to_duckdb(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ending: str
) -> None:
    """A name that looks like a home directory or a URL is a file of the current directory."""
    monkeypatch.chdir(tmp_path)
    target = (tmp_path / name).relative_to(tmp_path)
    assert write_columns(source, target, ending, "messages") == 1
    assert rows(target.absolute(), ending) == [("text",)]


# Some of those in test_columnar.py: what else may happen to a name is on its way to the process.
ODD_NAMES = [b"model=x", b"a?b", b"back\\slash", b"new\nline", b"not UTF-8 \xff"]


@pytest.fixture(scope="module")
def plainly_named(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give the content of files of plain names by their ending, made once for all odd names."""
    folder = tmp_path_factory.mktemp("plain")
    source, target = folder / "lines.jsonl.gz", folder / "columns"
    source.write_bytes(gzip.compress(LINE))
    found = {}
    for ending in (".parquet", ".duckdb"):
        write_columns(source, target, ending, "messages")
        found[ending] = everything(target, ending)
    return found


@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
@pytest.mark.parametrize("name", ODD_NAMES, ids=repr)
def test_no_path_is_content(
    source: Path, tmp_path: Path, plainly_named: dict[str, Any], name: bytes, ending: str
) -> None:
    """The names of the file and its folders change neither its content nor its neighbours."""
    folder = tmp_path / os.fsdecode(name) / os.fsdecode(name)
    folder.mkdir(parents=True)
    odd = folder / os.fsdecode(name + b".tmp")
    odd_source = folder / os.fsdecode(name + b".jsonl.gz")
    shutil.copy(source, odd_source)
    assert write_columns(odd_source, odd, ending, "messages") == 1
    assert {*folder.iterdir()} == {odd, odd_source}
    odd.rename(tmp_path / "odd")
    assert everything(tmp_path / "odd", ending) == plainly_named[ending]


@pytest.mark.parametrize("option", ["-E", "-I"])
def test_an_ignored_environment(source: Path, target: Path, option: str) -> None:
    """If PYTHONPATH is ignored here, the other process ignores it as well."""
    (target.parent / "json.py").write_text("raise ImportError('another one')")
    program = f"import sys; sys.path[:] = {sys.path!r}\n{WRITER}"
    subprocess.run(
        [sys.executable, option, "-c", program, source, target],
        env={**os.environ, "PYTHONPATH": str(target.parent)},
        check=True,
    )
    assert rows(target, ".parquet") == [("text",)]


def test_a_key_is_no_business_of_it(
    pretend: Callable[[str], None], source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process gets no key in its environment, whatever the variable's name."""
    key, seen = "sk-very-secret", target.with_name("seen.json")
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "MY_OTHER_KEY", "PYTHONSTARTUP", "lc_all"):
        monkeypatch.setenv(name, key)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    pretend(
        f"import json; json.dump(dict(os.environ), open({str(seen)!r}, 'w'))\nraise ImportError"
    )
    with pytest.raises(ExportError, match="pip install"):
        write_columns(source, target, ".parquet", "messages")
    environment = json.loads(seen.read_text())
    assert not [name for name, value in environment.items() if key in value]
    assert not [name for name in environment if name.startswith("OPENAI")]
    assert {"PATH", "LC_ALL", "LD_LIBRARY_PATH"} <= {*environment}


class Recorded(Files):
    """The file layer with a record of its operations."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def fsync(self, descriptor: int) -> None:
        """Note the operation, and do it."""
        self.asked.append("fsync")
        super().fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Note the operation, and do it."""
        self.asked.append(f"rename to {target.name}")
        super().rename(source, target)


def test_the_file_is_durable_before_it_has_its_name(source: Path, target: Path) -> None:
    """The file is fsynced before it is renamed, so that a name always means a whole file."""
    files = Recorded()
    write_columns(source, target, ".parquet", "messages", files=files)
    assert files.asked == ["fsync", "rename to columns.tmp"]


class Failing(Files):
    """A file layer whose disk fails."""

    def __init__(self, code: int) -> None:
        self.code = code

    def fsync(self, descriptor: int) -> None:  # noqa: ARG002 - the disk's fault
        """Fail."""
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize(
    ("code", "expected"), [(ENOSPC, DiskFullError), (EFBIG, DiskFullError), (EIO, ExportError)]
)
def test_a_failing_disk_is_reported(
    source: Path, target: Path, code: int, expected: type[Exception]
) -> None:
    """A full disk and a broken one are reported differently, and neither leaves a file."""
    with pytest.raises(ExportError, match=r"columns\.tmp") as caught:
        write_columns(source, target, ".parquet", "messages", files=Failing(code))
    assert type(caught.value) is expected
    assert [*target.parent.iterdir()] == [source]


def test_nowhere_to_write(source: Path, tmp_path: Path) -> None:
    """If the directory cannot be made, the error is raised like any other."""
    with pytest.raises(ExportError, match=r"a\.parquet could not be made: .*No such file"):
        write_columns(source, tmp_path / "gone" / "a.parquet", ".parquet", "messages")


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.measured_programs
def test_a_line_that_is_no_line_of_an_export(source: Path, target: Path) -> None:
    """A line that is not JSON is reported with its file and number, as in this process."""
    source.write_bytes(gzip.compress(LINE + b"{\n"))
    with pytest.raises(CorruptError, match=r"^lines\.jsonl\.gz, line 2: "):
        write_columns(source, target, ".parquet", "messages")
    assert [*target.parent.iterdir()] == [source]


def test_a_full_disk(pretend: Callable[[str], None], source: Path, target: Path) -> None:
    """A full disk that duckdb meets is reported as a full disk."""
    pretend(
        "class Error(Exception): pass\n"
        "class OutOfMemoryException(Error): pass\n"
        f"def connect(*_, **__): raise Error('IO Error: {os.strerror(ENOSPC)}')"
    )
    with pytest.raises(DiskFullError, match=r"no room left on the disk of .* to make columns\.tmp"):
        write_columns(source, target, ".parquet", "messages")


# Writes columns as an export does, with a limit of a file's size if one is given.
FILLER = """
import resource, sys
from pathlib import Path
from aiomessages.export.columns_process import write_columns
from aiomessages.export.errors import ExportError
source, target, ending, bound = sys.argv[1:]
limit = int(bound) or resource.RLIM_INFINITY
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    print(write_columns(Path(source), Path(target), ending, "messages"))
except ExportError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
"""
LINES = 200


def fill(source: Path, target: Path, ending: str, bound: int = 0) -> bool:
    """Write columns where there may be no room; return whether the file is complete.

    Without a complete file there must be none, and the error must be that of a full disk.
    """
    command = [sys.executable, "-c", FILLER, source, target, ending, str(bound)]
    # Without room on the disk, there is none for coverage data either.
    counting_nothing = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    done = subprocess.run(
        command, env=counting_nothing, capture_output=True, text=True, check=False
    )
    left = [path for path in target.parent.iterdir() if path not in {source, target}]
    assert not left
    if done.returncode:
        assert (done.returncode, target.exists()) == (74, False), done.stderr
        assert done.stderr.startswith("no room left on the disk of ")
        return False
    assert int(done.stdout) == len(rows(target, ending)) == LINES
    return True


@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
def test_a_bound_of_a_files_size(source: Path, target: Path, ending: str) -> None:
    """A file with a limited size is complete, or is reported as a full disk and does not exist."""
    source.write_bytes(gzip.compress(LINE * LINES))
    kilobytes = [8, 28, 250, 400, 800]  # test_columnar.py has more
    ended = []
    for bound in kilobytes:
        ended.append(fill(source, target, ending, bound * 1000))
        target.unlink(missing_ok=True)
    assert (ended[0], ended[-1]) == (False, True)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts a file system of so many kilobytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = False

    def mount(kilobytes: int) -> Path:
        nonlocal mounted
        if mounted:
            subprocess.run(["umount", folder], check=True)
        options = f"size={kilobytes}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        if not mounted:
            pytest.skip("only root may mount a small file system")
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
def test_a_small_disk(source: Path, mount: Callable[[int], Path], ending: str) -> None:
    """A really full disk gives the same result."""
    source.write_bytes(gzip.compress(LINE * LINES))
    ended = [
        fill(source, mount(kilobytes) / "columns.tmp", ending)
        for kilobytes in (4, 28, 300, 560, 1500)
    ]
    assert (ended[0], ended[-1]) == (False, True)


@pytest.mark.parametrize(
    "first", ["", "print('Hello')", "os.kill(os.getpid(), signal.SIGTERM)"], ids=str.split
)
def test_without_duckdb(
    pretend: Callable[[str], None], source: Path, target: Path, first: str
) -> None:
    """Without duckdb the error names the extra, whatever else the process printed."""
    pretend(f"{first}\nraise ImportError")
    with pytest.raises(ExportError, match=r"pip install 'aiomessages\[parquet\]'"):
        write_columns(source, target, ".parquet", "messages")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", r"\(Killed\)$"),
        ("os._exit(3)", r"\(exit code 3\)$"),
        ("raise RuntimeError('surprise')", r"\(exit code 1\): RuntimeError: surprise$"),
    ],
)
def test_an_early_end(
    pretend: Callable[[str], None],
    source: Path,
    target: Path,
    capfd: pytest.CaptureFixture[str],
    code: str,
    expected: str,
) -> None:
    """A process that is killed or fails becomes an error of one line, and prints nothing."""
    pretend(code)
    early = r"^columns\.tmp could not be made: its process ended early "
    with pytest.raises(ExportError, match=early + expected):
        write_columns(source, target, ".parquet", "messages")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "value"), [("frozen", True), ("executable", "")])
def test_no_interpreter_to_start(
    pretend: Callable[[str], None],
    source: Path,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: object,
) -> None:
    """A frozen program, or one that embeds Python, makes columns in its own process."""
    pretend("os._exit(3)  # for another process")
    monkeypatch.setattr(sys, name, value, raising=False)
    assert write_columns(source, target, ".parquet", "messages") == 1


# --- what becomes of it ---------------------------------------------------------------------------


@contextmanager
def writing(source: Path, target: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Write columns of the lines in a pipe, in a process group as a shell makes it.

    The block begins when the columns process reads.
    """
    source.unlink()
    os.mkfifo(source)
    command = [sys.executable, "-c", WRITER, source, target]
    with subprocess.Popen(command, process_group=0) as writer:
        lines = os.open(source, os.O_WRONLY)
        try:
            yield writer, lines
        finally:
            os.close(lines)


def test_ctrl_c(source: Path, target: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C reaches every process of the terminal; the columns are still finished."""
    with writing(source, target) as (writer, lines):
        os.killpg(writer.pid, signal.SIGINT)
        os.write(lines, gzip.compress(LINE))
    assert (writer.returncode, rows(target, ".parquet")) == (0, [("text",)])
    assert capfd.readouterr() == ("", "")


def test_a_writer_that_is_killed(source: Path, target: Path) -> None:
    """If the writer is killed, its columns process ends too, and the next run is not hindered."""
    with writing(source, target) as (writer, lines):
        writer.kill()
        writer.wait()
        reader = select.poll()
        reader.register(lines, 0)  # only the error is observed: nobody reads the output any more
        assert reader.poll(SECONDS * 1000)
    assert not target.exists()
    source.unlink()
    source.write_bytes(gzip.compress(LINE))
    write_columns(source, target, ".parquet", "messages")
    assert sorted(target.parent.iterdir()) == [target, source]


def test_the_end_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process does not wait at a pipe that was closed."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    descriptor, held = os.pipe()
    os.close(held)
    columns_process._end_with(descriptor)  # noqa: SLF001 - a process that it ends loses its coverage data
    os.close(descriptor)
    assert codes == [1]


def test_modules_that_are_not_loaded() -> None:
    """The process loads duckdb and little else: no client."""
    program = "import sys, aiomessages.export.columns_process; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert not {"aiohttp", "aiomessages.client"} & {*loaded}
    assert "aiomessages.export.columnar" in loaded


def test_the_names_of_the_package() -> None:
    """Each name of the package is loaded on first use, and an unknown name is an error."""
    package = importlib.import_module("aiomessages.export")
    assert all(getattr(package, name) for name in package.__all__)
    assert {*package.__all__} <= {*dir(package)}
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        _ = package.exprot
