"""Claims about the lines of a file to import: their two forms, and what is told of other lines."""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest
from backports import zstd

from aiomessages.archive.conversation_lines import read_conversations
from aiomessages.archive.errors import ArchiveError, ImportFileError
from aiomessages.export import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Build = Callable[..., dict[str, Any]]

DEEP = "[" * 2000 + "]" * 2000


def line(completion: str = '{"id":"c","choices":[]}', messages: str = "") -> str:
    """Return a record."""
    return f'{{"completion":{completion},"messages":[{messages}]}}'


def read(folder: Path, *lines: str | bytes) -> list[tuple[str, bytes, list[bytes]]]:
    """Return the conversations in a file of these lines."""
    file = folder / "lines.jsonl"
    file.write_bytes(b"\n".join(x.encode() if isinstance(x, str) else x for x in lines))
    return [tuple(found)[1:] for found in read_conversations(file)]  # type: ignore[misc]


def test_a_record(tmp_path: Path, record: Build) -> None:
    """A record of the local server has a completion and its messages."""
    sent = record("a", 2)
    ((id, completion, messages),) = read(tmp_path, json.dumps(sent))
    assert id == "chatcmpl-a"
    assert json.loads(completion) == sent["completion"]
    assert list(map(json.loads, messages)) == sent["messages"]


def test_a_line_of_the_layout_conversations(tmp_path: Path, record: Build) -> None:
    """It has the same two members; those beside them stand in the completion as well."""
    sent = record("a", 2)
    layout = {"completion_id": "chatcmpl-a", "model": "m", "created": 1, "metadata": None}
    layout |= {"messages": sent["messages"], "reply": None, "completion": sent["completion"]}
    assert read(tmp_path, json.dumps(layout)) == read(tmp_path, json.dumps(sent))


def test_each_line_is_told_apart_by_itself(tmp_path: Path) -> None:
    """A file may hold both forms."""
    both = read(tmp_path, line(), '{"completion_id":"d","messages":[],"completion":null}', line())
    assert [id for id, _, _ in both] == ["c", "d", "c"]


def test_an_export_without_replies(tmp_path: Path) -> None:
    """Its completion is null: what is known beside it becomes the completion, and nothing more."""
    known = '"model":"m","created":1.50,"metadata":{"a":"b"}'
    ((id, completion, _),) = read(
        tmp_path, f'{{"completion_id":"c",{known},"messages":[],"reply":null,"completion":null}}'
    )
    assert id == "c"
    assert completion == (
        b'{"id":"c","object":"chat.completion","created":1.50,"model":"m",'
        b'"metadata":{"a":"b"},"choices":[]}'
    )
    unknown = '"model":null,"created":null,"metadata":null'
    ((_, completion, _),) = read(tmp_path, f'{{"completion_id":"c",{unknown},"messages":[]}}')
    assert completion == b'{"id":"c","object":"chat.completion","choices":[]}'


ODD = [
    '{"id":"m","n":1.50e3,"u":"\\u00e9"}',
    '{ "id" : "m" , "a" : [ 1 ] }',
    '{"id":"m","half":"\\ud83d"}',
    f'{{"id":"m","deep":{DEEP}}}',
    '{"id":"m","number":' + "9" * 5000 + "}",
    '{"id":"m","n":NaN}',
]


@pytest.mark.parametrize("body", ODD, ids=lambda text: text[:20])
def test_json_stays_as_it_was_written(tmp_path: Path, body: str) -> None:
    """Spaces, escapes and numbers stay, and so does what a strict decoder refuses."""
    completion = f'{{"id":"c","x":{body}}}'
    expected = [("c", completion.encode(), [b'{"id":"first"}', body.encode()])]
    assert read(tmp_path, line(completion, f'{{"id":"first"}} , {body}')) == expected


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    """A broken byte stays."""
    ((_, _, messages),) = read(
        tmp_path, line(messages='{"id":"m","x":"@"}').encode().replace(b"@", b"\xff")
    )
    assert messages == [b'{"id":"m","x":"\xff"}']


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ('{"role":"user"}', b'{"id":"c-1","role":"user"}'),
        ('{ "role":"user"}', b'{"id":"c-1","role":"user"}'),
        ("{}", b'{"id":"c-1"}'),
        ('{"half":"\\ud83d"}', b'{"id":"c-1","half":"\\ud83d"}'),
        ('{"x":{"id":"of x"}}', b'{"id":"c-1","x":{"id":"of x"}}'),
    ],
)
def test_a_message_without_an_id_gets_one(tmp_path: Path, sent: str, stored: bytes) -> None:
    """A page needs it as its cursor: it is the one that the API would give."""
    ((_, _, messages),) = read(tmp_path, line(messages=f'{{"id":"first"}},{sent}'))
    assert messages == [b'{"id":"first"}', stored]


BAD = {
    "no JSON": ("hello", "no JSON: "),
    "cut off": (line()[:-1], "no JSON: "),
    "half an emoji, and cut off": (line(messages='{"x":"\\ud83d"}')[:-1], "no JSON: "),
    "a list": ("[]", "no JSON object"),
    "a number": ("5", "no JSON object"),
    "an empty object": ("{}", "neither a record of the local server nor a line of the layout `con"),
    "no messages": ('{"completion":{"id":"c"}}', "neither a record"),
    "the layout finetune": ('{"messages":[{"role":"user"}]}', "neither a record"),
    "the layout messages": (
        '{"completion_id":"c","seq":0,"message":{}}',
        "the export's layout is `messages`",
    ),
    "no id": (line("{}"), "its `completion` has no id"),
    "an empty id": (line('{"id":""}'), "its `completion` has no id"),
    "a completion's id of null": (line('{"id":null}'), "its `completion` has no id"),
    "no completion": (line("null"), "its `completion` has no id"),
    "another completion": (line("5"), "its `completion` has no id"),
    "another id": ('{"completion_id":5,"messages":[]}', "its `completion` has no id"),
    "messages of another kind": ('{"completion":{"id":"c"},"messages":{}}', "are no list"),
    "messages of null": ('{"completion":{"id":"c"},"messages":null}', "are no list"),
    "an id of null": (line(messages='{"id":null}'), "the id of its message 0 is no text"),
    "a number as id": (line(messages='{"id":"m"},{"id":5}'), "the id of its message 1 is no text"),
    "no text as id": (line(messages='{"id":""}'), "the id of its message 0 is no text"),
    "a deep id": (line(messages=f'{{"id":{DEEP}}}'), "the id of its message 0 is no text"),
    "an id twice": (line(messages='{"id":"m"},{"id":"m"}'), "two of its messages have the id 'm'"),
    "an id that another gets": (line(messages='{"id":"c-1"},{}'), "have the id 'c-1'"),
    "a message of null": (line(messages='{"id":"m"},null'), "its message 1 is no object"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_another_line_is_told_with_its_number(tmp_path: Path, bad: str, reason: str) -> None:
    """The error has the number of the line, blank lines counted, and the reason."""
    with pytest.raises(ImportFileError) as caught:
        read(tmp_path, line(), "", "  \t", bad, line())
    assert (caught.value.line, caught.value.exit_code) == (4, 65)
    assert caught.value.reason.find(reason) >= 0
    assert str(caught.value).startswith(f"{tmp_path}/lines.jsonl: line 4: ")
    assert "; nothing was imported" in str(caught.value)


# --- files ----------------------------------------------------------------------------------------

PACKED = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "two gzip members": lambda data: gzip.compress(data[:40], mtime=0) + gzip.compress(data[40:]),
    "zstd": zstd.compress,
    "two zstd frames": lambda data: zstd.compress(data[:40]) + zstd.compress(data[40:]),
}
LINES = (line() + "\n").encode() * 3
# Bytes that no compression makes smaller, the same in each process that collects these tests.
RANDOM = random.Random(1).randbytes(5000)  # noqa: S311 no secret


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a"])
def test_a_file_is_unpacked_by_its_content(
    tmp_path: Path, pack: Callable[[bytes], bytes], name: str
) -> None:
    """The first bytes tell how it is compressed, whatever its name says."""
    (tmp_path / name).write_bytes(pack(LINES))
    assert [found.line for found in read_conversations(tmp_path / name)] == [1, 2, 3]


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(LINES, mtime=0)[:-9],
        gzip.compress(LINES, mtime=0) + gzip.compress(RANDOM, mtime=0)[:2000],
        gzip.compress(LINES, mtime=0) + b"no gzip",
        gzip.compress(LINES, mtime=0)[:20] + bytes(40),
        zstd.compress(LINES)[:-5],
        zstd.compress(LINES) + zstd.compress(RANDOM)[:2000],
        zstd.compress(LINES)[:12] + bytes(40),
        b"\x28\xb5\x2f\xfd" + b"\xff" * 50,
    ],
    ids=range(8),
)
def test_damaged_compression(tmp_path: Path, data: bytes) -> None:
    """A file that is cut off or damaged is told with the line behind the last whole one."""
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(ImportFileError, match=r"a\.gz: line \d+: (damaged compression|no JSON): "):
        list(read_conversations(tmp_path / "a.gz"))


def test_zstd_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install it."""
    monkeypatch.setattr(sys, "version_info", (3, 11, 0))
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    (tmp_path / "a.zst").write_bytes(zstd.compress(LINES))
    with pytest.raises(ExportError, match="pip install 'aiomessages"):
        list(read_conversations(tmp_path / "a.zst"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"SQLite format 3\0" + bytes(100), "a database, and no JSON Lines; .*: name the archive"),
        (b"PAR1" + bytes(100), "a Parquet file, and no JSON Lines; .*: export to .jsonl.gz"),
    ],
)
def test_a_file_of_another_kind(tmp_path: Path, data: bytes, said: str) -> None:
    """It is told by its first bytes."""
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ImportFileError, match=f"/a: line 1: {said}"):
        list(read_conversations(tmp_path / "a"))


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe would wait for its writer, and could not be read twice."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for path, said in (
        (tmp_path, "no file"),
        (tmp_path / "fifo", "no file"),
        (tmp_path / "nowhere", "there is no such file"),
    ):
        with pytest.raises(ArchiveError, match=f"^{path}: {said}$") as caught:
            list(read_conversations(path))
        assert caught.value.exit_code == 1


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's reason is told."""
    (tmp_path / "a").write_bytes(LINES)
    monkeypatch.setattr(
        "pathlib.Path.open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Denied"))
    )
    with pytest.raises(ArchiveError, match="/a: cannot be read: Denied"):
        list(read_conversations(tmp_path / "a"))


def test_an_empty_file(tmp_path: Path) -> None:
    """It has no conversations, and is no error."""
    assert read(tmp_path, "", " ", "") == []
