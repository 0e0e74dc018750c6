"""Ways to stop an export: a failing disk, a killed process, a power cut.

Each of them observes the steps of the file layer in a subclass of `Files`. Afterwards one ordinary
run must complete the export.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import itertools
import json
import os
import shutil
import signal
import stat
import sys
import time
from collections import Counter
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec
from backports import zstd
from conftest_export import record

from aiomessages.export import ExportError, LockedError, export
from aiomessages.export.files import Files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from random import Random

    from aiomessages import AsyncMessagesClient
    from aiomessages.export import ExportReport

# --- what is exported -----------------------------------------------------------------------------

# One conversation has several pages, so that it is committed in pieces; the others are short.
RECORDS = [record(number, messages=number % 4 + 1) for number in range(9)] + [
    record(9, messages=230)
]
IDS = [item["completion"]["id"] for item in RECORDS]
FEW = IDS[:5]  # the ids of a first export; a second one adds the rest

# Small enough that the few records above make several batches, pieces and parts.
SMALL = {
    "aiomessages.export.writer.BATCH_BYTES": 700,
    # This server has no rate limit, so a slow start would only take time.
    "aiomessages.calls.rate_limit.FIRST_RATE": 1e6,
}
PART_BYTES = 3000

ROWS = ".rows.jsonl.gz"
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    ".jsonl": bytes,
    ".gz": gzip.decompress,
    ".zst": zstd.decompress,
}


async def expected_lines(
    client: AsyncMessagesClient, ids: Sequence[str] = IDS, *, columns: bool = False
) -> list[bytes]:
    """Return the lines that an export must hold, made of the server's own bytes, sorted."""
    lines = []
    for name in ids:
        said = [message async for message in client.list(name).raw()]
        completion = await client.raw_completion(name)
        stored = msgspec.json.decode(completion, type=_Completion)
        about = [("completion_id", f'"{name}"'.encode()), ("created", stored.created)]
        about += [("model", stored.model)] + [("metadata", stored.metadata)] * columns
        head = b"{" + b",".join(b'"%b":%b' % (key.encode(), value) for key, value in about)
        for seq, message in enumerate(said):
            lines.append(b'%b,"seq":%d,"message":%b' % (head, seq, message))
        for n, choice in enumerate(stored.choices):
            reply = (head, len(said) + n, n, bytes(choice.message))
            lines.append(b'%b,"seq":%d,"choice":%d,"message":%b' % reply)
    return sorted(line + b"}\n" for line in lines)


class _Choice(msgspec.Struct):
    message: msgspec.Raw


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    created: msgspec.Raw
    model: msgspec.Raw
    metadata: msgspec.Raw


def check_end(destination: Path, expected: Sequence[bytes], *, is_tidy: bool = True) -> None:
    """Assert that a finished export holds the expected lines, once, byte for byte, and no others.

    With `is_tidy=False` a file may have more than one name.
    """
    files = data_files(destination)
    lines = [line for path in files for line in lines_of(path)]
    twice = [line for line, times in Counter(lines).items() if times > 1]
    assert not twice, f"{len(twice)} lines are there twice"
    assert sorted(lines) == expected, f"{len(lines)} lines instead of {len(expected)}"
    check_order(lines)
    manifest = json.loads(beside(destination, ".manifest.json").read_bytes())
    assert manifest["rows"] == len(expected)
    assert {path.name for path in files} <= {file["name"] for file in manifest["files"]}
    check_manifest(destination)
    left = {path.name for path in destination.parent.rglob("*")}
    if is_tidy:
        assert not [name for name in left if name.endswith((".partial", ".tmp", ".work"))]
    if destination.suffix in (".parquet", ".duckdb"):
        check_columns(destination, expected)


def check_manifest(destination: Path) -> None:
    """Assert that an existing manifest is true: each of its files has the recorded bytes."""
    manifest = beside(destination, ".manifest.json")
    if manifest.exists():
        files = json.loads(manifest.read_bytes())["files"]
        assert files, "a manifest of nothing"
        directory = destination if destination.is_dir() else destination.parent
        for file in files:
            found = sha256((directory / file["name"]).read_bytes()).hexdigest()
            assert found == file["sha256"], f"the manifest is not true of {file['name']}"


def check_order(lines: Sequence[bytes]) -> None:
    """Assert that each completion's lines stand in their order."""
    seen: Counter[str] = Counter()
    for line in map(json.loads, lines):
        assert line["seq"] == seen[line["completion_id"]]
        seen[line["completion_id"]] += 1


def check_columns(destination: Path, expected: Sequence[bytes]) -> None:
    """Assert that a file of columns has a row for each line, with the message's own bytes."""
    import duckdb  # noqa: PLC0415 only where it is installed

    with duckdb.connect(":memory:") as db:
        table = f"'{destination}'"
        if destination.suffix == ".duckdb":
            db.execute(f"ATTACH {table} AS made (READ_ONLY)")
            table = "made.messages"
        rows = db.execute(f"SELECT completion_id, seq, message_json FROM {table}")  # noqa: S608
        got = sorted((name, seq, text.encode()) for name, seq, text in rows.fetchall())
    wanted = [msgspec.json.decode(line, type=_Line) for line in expected]
    assert got == sorted((row.completion_id, row.seq, bytes(row.message)) for row in wanted)


class _Line(msgspec.Struct):
    completion_id: str
    seq: int
    message: msgspec.Raw


def data_files(destination: Path) -> list[Path]:
    """Return the files with the lines of a finished export."""
    if destination.is_dir():
        return sorted(destination.iterdir())
    if destination.suffix in (".parquet", ".duckdb"):
        return [beside(destination, ROWS)]
    return [destination]


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of a file, decompressed."""
    return DECODERS[path.suffix](path.read_bytes()).splitlines(keepends=True)


def beside(destination: Path, ending: str) -> Path:
    """Return the path of a file beside a destination."""
    return destination.with_name(destination.name + ending)


# --- a file layer that reports its steps ----------------------------------------------------------


class SteppedFiles(Files):
    """Calls `step` before and after each operation that may be the last one before a kill."""

    def step(self, name: str) -> None:
        """Note a step; subclasses override this."""

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write in two halves, with a step between them."""
        self.step("before write")
        half = len(data) // 2
        taken = super().write(descriptor, data[:half]) if half else 0
        self.step("within write")
        taken += super().write(descriptor, data[taken:])
        self.step("after write")
        return taken

    def fsync(self, descriptor: int) -> None:
        """Make durable."""
        self.step("before fsync")
        super().fsync(descriptor)
        self.step("after fsync")

    def rename(self, source: Path, target: Path) -> None:
        """Rename."""
        self.step(f"before rename to {target.name}")
        super().rename(source, target)
        self.step(f"after rename to {target.name}")

    def link(self, source: Path, target: Path) -> None:
        """Give a second name."""
        self.step(f"before link to {target.name}")
        super().link(source, target)
        self.step(f"after link to {target.name}")

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        self.step(f"before unlink of {path.name}")
        super().unlink(path)
        self.step(f"after unlink of {path.name}")

    def truncate(self, path: Path, size: int) -> None:
        """Cut."""
        self.step("before truncate")
        super().truncate(path, size)
        self.step("after truncate")


# --- a disk that fails ----------------------------------------------------------------------------


class FailingFiles(Files):
    """Fails at the n-th operation of a kind, once; later operations work again.

    That is the harder case: an export that ignores the error must be detected.
    """

    def __init__(self, kind: str, number: int) -> None:
        self._kind = kind
        self.left = number
        self.failed = False

    def _count(self, kind: str, code: int = errno.EIO) -> None:
        if kind == self._kind:
            self.left -= 1
            if self.left == 0:
                self.failed = True
                raise OSError(code, os.strerror(code))

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write; a full disk takes some of it first."""
        self._count("write")
        if self._kind == "full disk" and self.left == 1:
            super().write(descriptor, data[: len(data) // 2])
        self._count("full disk", errno.ENOSPC)
        return super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Make durable."""
        self._count("fsync")
        super().fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Rename."""
        self._count("rename")
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Give a second name, as the first half of a rename."""
        self._count("rename")
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        """Take a name away, as the second half of a rename."""
        self._count("rename")
        super().unlink(path)


FAULTS = ("write", "full disk", "fsync", "rename")


class ShortFiles(Files):
    """Takes seven bytes at most with each write, as a system may."""

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write a few bytes."""
        return super().write(descriptor, data[:7])


async def survive_faults(
    run: Run, fault: str, *, prepare: Sequence[str] = (), last: int | None = None
) -> int:
    """Let each operation of a kind fail in turn, or the `last` ones; return how many there were.

    With `prepare` an export of these ids is finished before, and the rest is added.
    """
    first = 1
    if last is not None:
        await run(run.fresh(), files=(counting := FailingFiles(fault, sys.maxsize)))
        first = max(1, sys.maxsize - counting.left - last + 1)
    for number in itertools.count(first):
        destination = run.fresh()
        if prepare:
            await run(destination, ids=prepare)
        files = FailingFiles(fault, number)
        try:
            await run(destination, files=files)
        except (OSError, ExportError):
            assert files.failed
            check_manifest(destination)
            if not prepare and beside(destination, ".manifest.json").exists():
                check_end(destination, run.expected, is_tidy=False)  # one of the very last steps
        else:
            assert not files.failed, "a fault was passed over"
            return number - 1
        await run(destination)
        check_end(destination, run.expected)
    raise AssertionError("unreachable")


# --- power that goes away -------------------------------------------------------------------------

Tree = dict[str, bytes | None]  # path within the directory → content; None for a directory


class PowerCut(NamedTuple):
    """The possible content of a disk after a power cut at some step."""

    step: str
    names: str  # the names at the last fsync of each directory, or the current ones
    data: str  # bytes that were not synced: dropped, torn, zeros, or kept by chance
    tree: Mapping[str, bytes | None]

    def __str__(self) -> str:
        return f"{self.step}; names: {self.names}, data: {self.data}"

    def restore(self, directory: Path) -> None:
        """Lay out the content of the disk."""
        directory.mkdir()
        for name, content in sorted(self.tree.items()):
            if content is None:
                (directory / name).mkdir()
            else:
                (directory / name).write_bytes(content)


class PowerFiles(SteppedFiles):
    """Records what is durable: a file's bytes at its last fsync, names at their directory's last.

    The ledger is trusted: SQLite makes it durable before a commit returns, and its name with it. At
    each step every possible state of the disk is kept: names and bytes that were not made durable
    may exist or not, independently of each other.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._descriptors: dict[int, int] = {}  # kept open, so that no inode's number is used again
        self._synced: dict[int, bytes] = {}
        self._names: dict[str, dict[str, int]] = {}  # directory → its durable names
        self.cuts: dict[frozenset[tuple[str, bytes | None]], PowerCut] = {}
        for path in [root, *root.rglob("*")]:  # existing files are durable
            self._sync(path)
        self.steps = 0

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def fsync(self, descriptor: int) -> None:
        """Make durable, and record it."""
        super().fsync(descriptor)
        inode = os.fstat(descriptor).st_ino
        for path in [self._root, *self._root.rglob("*")]:
            if path.stat().st_ino == inode:
                self._sync(path)
        self.step("after fsync was noted")

    def _sync(self, path: Path) -> None:
        if path.is_dir():
            self._names[self._name(path)] = self._present(path)
        else:
            self._synced[self._inode(path)] = path.read_bytes()

    def _name(self, path: Path) -> str:
        return "" if path == self._root else str(path.relative_to(self._root))

    def _present(self, directory: Path) -> dict[str, int]:
        """Return the names in a directory, without those of the ledger and the lock."""
        ours = [path for path in directory.iterdir() if not _is_aside(path.name)]
        return {path.name: self._inode(path) for path in ours}

    def _inode(self, path: Path) -> int:
        inode = path.stat().st_ino
        if inode not in self._descriptors:
            self._descriptors[inode] = os.open(path, os.O_RDONLY)
        return inode

    def step(self, name: str) -> None:
        """Keep each state in which the disk may be found now."""
        self.steps += 1
        ledger: Tree = {
            path.name: path.read_bytes()
            for path in self._root.iterdir()
            if _is_aside(path.name) and not path.name.endswith((".lock", "-shm"))
        }
        for names in ("durable", "of the moment"):
            for data in ("dropped", "torn", "zeros", "kept"):
                tree = {**ledger, **self._tree("", self._root, names, data)}
                cut = PowerCut(f"step {self.steps}, {name}", names, data, tree)
                self.cuts.setdefault(frozenset(tree.items()), cut)

    def _tree(self, name: str, directory: Path, names: str, data: str) -> Tree:
        """Return the content of a directory."""
        durable = names == "durable"
        listed = self._names.get(name, {}) if durable else self._present(directory)
        tree: Tree = {}
        for child, inode in listed.items():
            path = f"{name}/{child}" if name else child
            if stat.S_ISDIR(os.fstat(self._descriptors[inode]).st_mode):
                tree |= {path: None, **self._tree(path, directory / child, names, data)}
            else:
                tree[path] = self._content(inode, data)
        return tree

    def _content(self, inode: int, data: str) -> bytes:
        descriptor = self._descriptors[inode]
        now = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        synced = self._synced.get(inode, b"")
        tail = now[len(synced) :] if now.startswith(synced) else b""
        return {
            "dropped": synced,
            "torn": synced + tail[: len(tail) // 2],
            "zeros": synced + bytes(len(tail)),
            "kept": now,
        }[data]


def _is_aside(name: str) -> bool:
    return ".ledger" in name or name.endswith(".lock") or ".work" in name


@contextmanager
def powered(root: Path) -> Iterator[PowerFiles]:
    """Give files whose power can go away, of a directory."""
    files = PowerFiles(root)
    try:
        yield files
    finally:
        files.close()


async def survive_power_cuts(run: Run, *, prepare: Sequence[str] = ()) -> int:
    """Cut the power at every step of an export; return the number of cuts.

    With `prepare` an export of these ids is finished before, and the rest is added.
    """
    destination = run.fresh()
    if prepare:
        await run(destination, ids=prepare)
    with powered(destination.parent) as files:
        await run(destination, files=files)
    check_end(destination, run.expected)
    for cut in files.cuts.values():
        await survive(run, cut)
    return len(files.cuts)


async def survive_power_cuts_in_a_row(run: Run, dice: Random, *, times: int) -> None:
    """Cut the power again and again, each time during the recovery from the last cut."""
    destination = run.fresh()
    for _ in range(times):
        with powered(destination.parent) as files:
            await run(destination, files=files)
        check_end(destination, run.expected)
        if (
            not files.cuts
        ):  # the export had finished before the power cut: there was nothing to recover
            destination = run.fresh()
            continue
        cut = dice.choice([*files.cuts.values()])
        await survive(run, cut)
        destination = restored(run, cut)


async def survive(run: Run, cut: PowerCut) -> None:
    """Continue an export after a power cut; raise AssertionError if it ends wrong."""
    found = restored(run, cut)
    try:
        check_final_names(found)
        await run(found)
        check_end(found, run.expected)
    except Exception as error:
        raise AssertionError(f"power went at {cut}: {error!r}") from error
    shutil.rmtree(found.parent)


def restored(run: Run, cut: PowerCut) -> Path:
    """Lay out the content of a disk as a destination of its own."""
    found = run.fresh()
    found.parent.rmdir()
    cut.restore(found.parent)
    return found


def check_final_names(destination: Path) -> None:
    """Assert that a file with its final name is complete."""
    check_manifest(destination)
    if beside(destination, ".manifest.json").exists():
        return
    files = data_files(destination)
    # A file that is being extended has no manifest, and its new bytes lie beside it.
    for path in [
        path for path in files if path.is_file() and not beside(path, ".partial").exists()
    ]:
        if not path.name.endswith(".partial"):
            assert all(line.endswith(b"}\n") for line in lines_of(path)), f"{path.name} is torn"


# --- a run ----------------------------------------------------------------------------------------


class Run:
    """Runs one export, again and again, to fresh destinations of one name."""

    def __init__(
        self,
        client: AsyncMessagesClient,
        directory: Path,
        name: str,
        expected: Sequence[bytes],
    ) -> None:
        self._client = client
        self._directory = directory
        self._name = name
        self._number = 0
        self.expected = expected

    def fresh(self) -> Path:
        """Return a destination in a new directory."""
        self._number += 1
        directory = self._directory / str(self._number)
        directory.mkdir()
        return directory / self._name

    async def __call__(
        self,
        destination: Path,
        *,
        files: Files | None = None,
        ids: Sequence[str] | AsyncIterator[str] = IDS,
        concurrency: int = 3,
    ) -> ExportReport:
        """Export, to the end or to an error."""
        return await export(
            self._client,
            ids,
            destination,
            files=files,
            concurrency=concurrency,
            part_bytes=PART_BYTES,
        )


# --- a user who has enough ------------------------------------------------------------------------


class CancellingFiles(SteppedFiles):
    """Cancels a task at one step and at the next; records whether the lock is held."""

    def __init__(self, destination: Path, number: int) -> None:
        self._lock = beside(destination, ".lock")
        self._number = number
        self._loop = asyncio.get_running_loop()
        self.task: asyncio.Task[Any] | None = None
        self.steps = 0
        self.unlocked = 0

    def step(self, name: str) -> None:  # noqa: ARG002 which step it is does not matter
        """Cancel, if it is time."""
        self.steps += 1
        try:
            with Files().lock(self._lock):
                self.unlocked += 1
        except LockedError:
            pass
        if self.steps in (self._number, self._number + 1):
            assert self.task
            self._loop.call_soon_threadsafe(self.task.cancel)
            time.sleep(0.001)  # a step of the writing thread: the loop continues meanwhile


async def survive_cancelling(run: Run, *, every: int) -> int:
    """Cancel an export at its steps, twice each time; return the number of cancellations."""
    for number in itertools.count(1, every):
        destination = run.fresh()
        files = CancellingFiles(destination, number)
        files.task = asyncio.ensure_future(run(destination, files=files))
        await asyncio.wait([files.task])
        assert not files.unlocked, "a step without the lock"
        if files.steps < number:
            return number // every
        assert files.task.cancelled()
        await run(destination)
        check_end(destination, run.expected)
    raise AssertionError("unreachable")


# --- a process that is killed ---------------------------------------------------------------------


class Exporter:
    """Exports in another process, which can be killed; see exporter.py."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._server = {"base_url": base_url, "api_key": api_key}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            assert self._process.stdin
            self._process.stdin.close()  # this ends the process
            await self._process.wait()

    async def _started(self) -> asyncio.subprocess.Process:
        """Return the process; start it when it is first needed."""
        if self._process is None:
            program = Path(__file__).with_name("exporter.py")
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, program, stdin=pipe, stdout=pipe
            )
        return self._process

    async def __call__(
        self,
        destination: Path,
        *,
        step: int = 0,
        seconds: float = 0,
        ids: Sequence[str] = IDS,
        bug: str = "",
    ) -> int:
        """Export, and kill it at a step or after some seconds, if given; return the exit code."""
        task = {"destination": str(destination), "step": step, "seconds": seconds}
        task |= {"ids": list(ids), "bug": bug, **self._server}
        process = await self._started()
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(task).encode() + b"\n")
        return int(await process.stdout.readline())


async def survive_kills(
    exporter: Exporter, run: Run, dice: Random, *, kills: int, bug: str = ""
) -> int:
    """Kill exports at random moments until each is finished; return the number of kills.

    Exports run one after another, until there were as many kills as requested.
    """
    done = 0
    while done < kills:
        destination = run.fresh()
        ids = dice.choice([IDS, []])  # named one by one, or as a list of the server's
        if ids and dice.random() < 0.5:
            await run(destination, ids=FEW)  # finished, and then added to
        while (code := await exporter(destination, ids=ids, bug=bug, **moment(dice))) != 0:
            assert code == -signal.SIGKILL, f"exit code {code} after {done} kills"
            done += 1
            check_manifest(destination)
        check_end(destination, run.expected)
    return done


async def survive_each_kill(
    exporter: Exporter, run: Run, *, every: int = 1, bug: str = "", prepare: Sequence[str] = ()
) -> int:
    """Kill an export at each of its steps in turn; return the number of kills.

    With `prepare` an export of these ids is finished before, and the rest is added.
    """
    for number in itertools.count(1):
        destination = run.fresh()
        if prepare:
            await run(destination, ids=prepare)
        code = await exporter(destination, step=1 + (number - 1) * every, bug=bug)
        if code == 0:
            return number - 1
        assert code == -signal.SIGKILL, f"exit code {code} instead of a kill"
        check_manifest(destination)
        code = await exporter(destination, bug=bug)
        assert code == 0, f"exit code {code} after a kill"
        check_end(destination, run.expected)
    raise AssertionError("unreachable")


def moment(dice: Random) -> dict[str, float]:
    """Return when to kill: usually at a step, sometimes at a time between known steps."""
    if dice.random() < 0.2:
        return {"seconds": dice.uniform(0.005, 0.08)}
    return {"step": dice.randint(1, 100)}  # to finish takes up to 80


async def refuse_second_writer(exporter: Exporter, run: Run, *, bug: str = "") -> None:
    """Assert that a second process changes nothing, and ends with exit code 75."""
    destination = run.fresh()
    assert await exporter(destination, ids=FEW) == 0
    lock = beside(destination, ".lock")
    with Files().lock(lock):
        before = snapshot(destination.parent)
        code = await exporter(destination, bug=bug)
        assert code == LockedError.exit_code, f"exit code {code} of a second writer"
        assert snapshot(destination.parent) == before


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Return each file's bytes and modification time."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
