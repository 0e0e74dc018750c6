"""Media: blobs become files named by their SHA-256, and all else stays unchanged."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import extractor
import pytest

from aiomessages.export import ExportError
from aiomessages.export.files import Files
from aiomessages.export.media import MediaStore
from aiomessages.server.sample import sample_records

if TYPE_CHECKING:
    from pathlib import Path

JSON = dict[str, Any]
DATA = b"\x89PNG\r\n\x1a\n and more?>"
BLOB = base64.b64encode(DATA).decode()
URI = f"data:image/png;base64,{BLOB}"
NAME = hashlib.sha256(DATA).hexdigest()


def encoded(message: Any) -> bytes:
    """Return a message as the API sends it."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def message(*parts: Any) -> bytes:
    """Return a message in parts."""
    return encoded({"id": "m-0", "role": "user", "content": "Look. ", "content_parts": parts})


def picture(url: Any) -> JSON:
    """Return a picture's part."""
    return {"type": "image_url", "text": None, "image_url": {"url": url, "detail": None}}


def sound(data: Any, kind: Any = "wav") -> JSON:
    """Return a sound's part."""
    return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}


def document(data: Any) -> JSON:
    """Return a file's part."""
    return {"type": "file", "file": {"filename": "../../etc/passwd", "file_data": data}}


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return a directory that does not exist yet."""
    return tmp_path / "all" / "media"


FOUND = {
    "a picture": (picture, URI, ".png"),
    "a picture of another kind": (picture, URI.replace("png", "x-new"), ".bin"),
    "a type in capitals": (picture, URI.replace("image/png", "IMAGE/JPEG"), ".jpg"),
    "a type with parameters": (picture, URI.replace("png;", "svg+xml;charset=utf-8;"), ".svg"),
    "a URI in capitals": (
        picture,
        URI.replace("data:", "DATA:").replace("base64", "BASE64"),
        ".png",
    ),
    "no type at all": (picture, URI.replace("image/png", ""), ".bin"),
    "a type that is a path": (picture, URI.replace("image/png", "image/../../x"), ".bin"),
    "a sound": (sound, BLOB, ".wav"),
    "a sound as a URI": (sound, URI.replace("image/png", "audio/mpeg"), ".mp3"),
    "a document": (document, URI.replace("image/png", "application/pdf"), ".pdf"),
    "a document without a type": (document, BLOB, ".bin"),
}


@pytest.mark.parametrize(("part", "blob", "ending"), FOUND.values(), ids=FOUND)
def test_a_blob_becomes_a_file(media: Path, part: Any, blob: str, ending: str) -> None:
    """A blob is a private file named by its SHA-256, and the name replaces the blob."""
    sent = message({"type": "text", "text": "A"}, part(blob))
    assert MediaStore(media).extract(sent) == sent.replace(blob.encode(), (NAME + ending).encode())
    (file,) = media.iterdir()
    assert (file.name, file.read_bytes()) == (NAME + ending, DATA)
    assert file.stat().st_mode & 0o777 == 0o600
    assert media.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["mp3", "new", None, 7, ["wav"]])
def test_a_sound_in_a_format_of_its_own(media: Path, kind: Any) -> None:
    """A sound's ending is its format if that is known, and neutral otherwise."""
    MediaStore(media).extract(message(sound(BLOB, kind)))
    assert [file.suffix for file in media.iterdir()] == [".mp3" if kind == "mp3" else ".bin"]


SOUNDS = {
    ".wav": b"RIFF\x24\0\0\0WAVEfmt ",
    ".flac": b"fLaC\0",
    ".ogg": b"OggS\0",
    ".mp3": b"ID3\4",
    ".aac": b"\xff\xf1\x50",
    ".bin": b"\0\1\0\1",
}


@pytest.mark.parametrize(("ending", "data"), SOUNDS.items(), ids=SOUNDS)
def test_a_spoken_reply(media: Path, ending: str, data: bytes) -> None:
    """A spoken reply becomes a file, whose ending follows its first bytes."""
    blob = base64.b64encode(data).decode()
    spoken = {"id": "audio_1", "expires_at": 1, "data": blob, "transcript": "Yes."}
    said = encoded({"role": "assistant", "content": None, "audio": spoken})
    name = hashlib.sha256(data).hexdigest() + ending
    assert MediaStore(media).extract(said) == said.replace(blob.encode(), name.encode())
    assert (media / name).read_bytes() == data


def test_replies_of_a_completion(media: Path) -> None:
    """Blobs of a completion's choices become files, and the rest keeps its bytes."""
    spoken = {"role": "assistant", "content": None, "audio": {"id": "a", "data": BLOB}}
    choices = [{"index": 0, "message": spoken}, {"message": {"content": [picture(URI)]}}, 7]
    whole = encoded({"id": "c", "choices": choices, "metadata": {"data": "é"}, "usage": 1.0})
    far = whole.replace(b":1.0}", b":1e400}")
    changed = far.replace(URI.encode(), f"{NAME}.png".encode())
    changed = changed.replace(BLOB.encode(), f"{NAME}.bin".encode())
    assert MediaStore(media).extract(far) == changed
    assert sorted(file.name for file in media.iterdir()) == [f"{NAME}.bin", f"{NAME}.png"]


LEFT = {
    "replies that are none": encoded({"choices": [{"message": URI}, {}, URI], "audio": URI}),
    "an address": message(picture("https://images.example.org/a.png?x=;base64,QQ==")),
    "an extracted one": message(picture(NAME + ".png"), sound(NAME + ".wav")),
    "bad base64": message(picture("data:image/png;base64,???")),
    "base64 cut short": message(picture(URI.rstrip("=")[:-1])),
    "base64 with a line break": message(picture(URI[:40] + "\n" + URI[40:])),
    "base64 that hides a bit": message(picture("data:image/png;base64,QR==")),
    "no data": message(picture("data:image/png;base64,")),
    "data in the clear": message(document("data:text/plain,hello;base64,")),
    "not ASCII": message(picture("data:image/png;base64,ä"), sound("ä")),
    "no text": message(picture(None), picture(7), sound(None), {"image_url": URI}, "part", None),
    "bare base64 for an address": message(picture("QUJD"), sound(None), {"data": "QUJD"}),
    "a text about one": encoded({"role": "user", "content": f'"url":"{URI}"'}),
    "no list": encoded({"content_parts": {"image_url": {"url": URI}}}),
    "no JSON": b'{"url":"' + URI.encode(),
    "no object": b'["' + URI.encode() + b'"]',
    "no UTF-8": b'{"content":"\xff","content_parts":["' + URI.encode() + b'"]}',
    "too deep": b'{"content":' + b"[" * 100_000 + b'"' + URI.encode(),
    "no blob": encoded({"id": "m", "role": "user", "content": "é", "x": 1.0}),
}


@pytest.mark.parametrize("sent", LEFT.values(), ids=LEFT)
def test_a_message_without_blobs_stays_unchanged(media: Path, sent: bytes) -> None:
    """A message without blobs keeps every byte, and no file is made."""
    assert MediaStore(media).extract(sent) == sent
    assert not media.exists()


@pytest.mark.parametrize(
    "spell",
    [
        lambda sent: sent.replace(b":", b": ").replace(b"data: ", b"data:"),
        lambda sent: sent.replace(b"/", rb"\/"),
        lambda sent: sent.replace(b"+", rb"\u002B").replace(b"=", rb"\u003d"),
        lambda sent: sent.replace(b"image/png;", rb"image\u002fpng\u003b"),
        lambda sent: sent.replace(b"Look.", rb"\u004c\ud83d 1E5"),
    ],
    ids=["spaces", "slashes", "marks", "a head", "half an emoji"],
)
def test_all_other_bytes_stay(media: Path, spell: Any) -> None:
    """In any spelling of JSON, only the blob's own characters change."""
    before, blob, after = message(picture(URI)).partition(URI.encode())
    changed = MediaStore(media).extract(spell(before + blob + after))
    assert changed == spell(before + NAME.encode() + b".png" + after)


def test_a_text_that_quotes_a_blob_keeps_it(media: Path) -> None:
    """A text that quotes a picture keeps it, even with the same characters."""
    text = {"type": "text", "text": f'"url":"{URI}"'}
    changed = json.loads(MediaStore(media).extract(message(text, picture(URI))))
    assert changed["content_parts"] == [text, picture(NAME + ".png")]


def test_parts_in_content(media: Path) -> None:
    """A list as content is read as parts."""
    changed = MediaStore(media).extract(encoded({"content": [picture(URI)]}))
    assert json.loads(changed) == {"content": [picture(NAME + ".png")]}


def test_several_blobs_in_one_message(media: Path) -> None:
    """Each blob has its file; equal blobs share one."""
    other = base64.b64encode(b"other").decode()
    changed = json.loads(
        MediaStore(media).extract(message(picture(URI), sound(other), picture(URI)))
    )
    names = [NAME + ".png", hashlib.sha256(b"other").hexdigest() + ".wav"]
    assert changed["content_parts"] == [picture(names[0]), sound(names[1]), picture(names[0])]
    assert sorted(file.name for file in media.iterdir()) == sorted(names)


class Counted(Files):
    """The file layer with a record of its operations."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.synced: list[Path] = []
        self.failing = False

    def fsync_directory(self, path: Path) -> None:
        """Note the operation, and do it."""
        if self.failing:
            raise OSError("not synced")
        self.synced.append(path)
        super().fsync_directory(path)

    def fsync(self, descriptor: int) -> None:
        """Note the operation, and do it."""
        self.asked.append("fsync")
        super().fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Note the operation, and do it."""
        self.asked.append("rename")
        super().rename(source, target)


def test_a_file_is_durable_before_it_has_its_name(media: Path) -> None:
    """A file is written under a temporary name, fsynced and renamed, and its directory fsynced."""
    files = Counted()
    MediaStore(media, files=files).extract(message(picture(URI)))
    assert files.asked[-3:] == [
        "fsync",
        "rename",
        "fsync",
    ]  # the operations before belong to the directory


def test_an_existing_file_is_not_written_again(media: Path) -> None:
    """A second run writes no file again, and extracted items stay as they are."""
    files = Counted()
    once = MediaStore(media).extract(message(picture(URI)))
    again = MediaStore(media, files=files)
    assert again.extract(message(picture(URI))) == once
    assert again.extract(once) == once
    assert "rename" not in files.asked


DAMAGED = {
    "cut short": DATA[:-1],
    "empty": b"",
    "zeros at its end": DATA[:8] + bytes(len(DATA) - 8),
    "one bit": bytes([DATA[0] ^ 1]) + DATA[1:],
    "too long": DATA + b"!",
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("known", [False, True], ids=["from before", "by this store"])
def test_a_file_with_other_bytes_is_replaced(media: Path, damaged: bytes, known: bool) -> None:
    """A file whose bytes do not match its name is replaced."""
    store = MediaStore(media)
    store.extract(message(picture(URI)))
    (file,) = media.iterdir()
    file.write_bytes(damaged)
    (store if known else MediaStore(media)).extract(message(picture(URI)))
    assert (file.read_bytes(), [*media.iterdir()]) == (DATA, [file])


@pytest.fixture
def file(media: Path) -> Path:
    """Return the path of a picture's file, which does not exist; its directory does."""
    media.mkdir(parents=True)
    return media / f"{NAME}.png"


def no_more_than(media: Path, file: Path) -> bool:
    """Return whether the file is private, has the right bytes, and is the only one."""
    assert ([*media.iterdir()], file.read_bytes()) == ([file], DATA)
    found = file.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_mode & 0o777 == 0o600 and found.st_nlink == 1


@pytest.mark.parametrize("right", [False, True], ids=["other bytes", "the right bytes"])
def test_a_symbolic_link_at_a_name_is_replaced(
    media: Path, file: Path, tmp_path: Path, right: bool
) -> None:
    """A symbolic link is replaced, and its target neither written nor trusted."""
    target = tmp_path / "target"
    target.write_bytes(DATA if right else b"theirs")
    file.symlink_to(target)
    MediaStore(media).extract(message(picture(URI)))
    assert no_more_than(media, file)
    assert target.read_bytes() == (DATA if right else b"theirs")


def test_a_link_to_nowhere_is_replaced(media: Path, file: Path, tmp_path: Path) -> None:
    """A link to a missing file is replaced, and its target is not created."""
    file.symlink_to(tmp_path / "nowhere")
    MediaStore(media).extract(message(picture(URI)))
    assert no_more_than(media, file)
    assert not (tmp_path / "nowhere").exists()


def test_a_second_name_of_another_file_is_replaced(media: Path, file: Path, tmp_path: Path) -> None:
    """That file keeps its bytes."""
    (tmp_path / "target").write_bytes(b"theirs")
    file.hardlink_to(tmp_path / "target")
    MediaStore(media).extract(message(picture(URI)))
    assert no_more_than(media, file)
    assert (tmp_path / "target").read_bytes() == b"theirs"


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_pipe_is_replaced(media: Path, file: Path, kind: str) -> None:
    """A pipe is replaced, and nobody waits at it."""
    if kind == "pipe":
        os.mkfifo(file)
    else:
        os.mknod(file, stat.S_IFSOCK | 0o600)  # the path may be too long to bind one to
    MediaStore(media).extract(message(picture(URI)))
    assert no_more_than(media, file)


def test_a_directory_at_a_name_is_an_error(media: Path, file: Path) -> None:
    """A directory at a file's name stays, is an error, and leaves no temporary file."""
    (file / "kept").mkdir(parents=True)
    store = MediaStore(media)
    with pytest.raises(ExportError, match=rf"{file.name} cannot be written: .*irectory") as caught:
        store.extract(message(picture(URI)))
    assert "out of the way" in str(caught.value)
    assert ([*media.iterdir()], [*file.iterdir()]) == ([file], [file / "kept"])
    (file / "kept").rmdir()
    file.rmdir()
    store.extract(message(picture(URI)))
    assert no_more_than(media, file)


def test_a_file_at_the_place_of_the_directory_is_an_error(media: Path) -> None:
    """A file in place of the directory stays unchanged."""
    media.parent.mkdir()
    media.write_bytes(b"theirs")
    with pytest.raises(ExportError, match="media cannot be written"):
        MediaStore(media).extract(message(picture(URI)))
    assert media.read_bytes() == b"theirs"


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP])
def test_a_place_where_no_directory_can_be(media: Path, code: int) -> None:
    """A read-only file system or a name that is too long is an error with path and reason."""

    class FailingFiles(Files):
        def make_directory(self, *_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

    media = media.with_name("x" * 256) if code == errno.ENAMETOOLONG else media
    with pytest.raises(ExportError, match=f"cannot be written: {os.strerror(code)}") as caught:
        MediaStore(media, files=FailingFiles()).extract(message(picture(URI)))
    assert media.name in str(caught.value)


def test_a_directory_that_is_removed_meanwhile(media: Path, file: Path) -> None:
    """A directory that is removed meanwhile is an error, and the next file creates it again."""
    store = MediaStore(media)
    store.extract(message(sound(BLOB)))
    shutil.rmtree(media)
    with pytest.raises(ExportError, match="media cannot be written"):
        store.extract(message(picture(URI)))
    store.extract(message(picture(URI)))
    assert no_more_than(media, file)


def test_a_directory_that_is_a_link_to_itself_is_an_error(media: Path, file: Path) -> None:
    """A directory that is a link to itself is an error that names it."""
    media.rmdir()
    media.symlink_to(media)
    with pytest.raises(ExportError, match="media cannot be written"):
        MediaStore(media).extract(message(picture(URI)))
    assert not file.parent.is_dir()


# --- several processes ----------------------------------------------------------------------------

LEFT_BEHIND = f".{NAME}.png.0123456789abcdef.tmp"


def test_temporary_files_of_a_killed_process_are_removed(media: Path, file: Path) -> None:
    """Temporary files of killed processes are ignored, and removed after an hour."""
    fresh, old = media / LEFT_BEHIND, media / LEFT_BEHIND.replace("0", "f")
    others = [media / "notes.tmp", media / f".{NAME}.tmp", media / f"{NAME}.png.tmp"]
    for path in (fresh, old, *others):
        path.write_bytes(DATA[:5])
    for path in (old, *others):
        os.utime(path, (0, 0))
    MediaStore(media).extract(message(picture(URI)))
    assert {*media.iterdir()} == {file, fresh, *others}
    assert file.read_bytes() == DATA


def test_a_directory_with_a_temporary_name_stays(media: Path, file: Path) -> None:
    """A directory with a temporary name stays."""
    (media / LEFT_BEHIND).mkdir()
    os.utime(media / LEFT_BEHIND, (0, 0))
    MediaStore(media).extract(message(picture(URI)))
    assert {*media.iterdir()} == {file, media / LEFT_BEHIND}


def test_a_file_of_another_process_is_made_durable(media: Path) -> None:
    """A file that another process named is made durable, since that one may not have synced it."""
    files = Counted()
    store = MediaStore(media, files=files)
    store.extract(message(sound(BLOB)))
    MediaStore(media).extract(message(picture(URI)))
    files.synced.clear()
    store.extract(message(picture(URI)))
    store.extract(message(picture(URI)))
    assert files.synced == [media]


def test_names_that_are_known_take_bounded_memory(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If too many names are known, they are forgotten, and synced again."""
    monkeypatch.setattr("aiomessages.export.media._MOST_KNOWN", 1)
    files = Counted()
    store = MediaStore(media, files=files)
    store.extract(message(picture(URI), sound(BLOB)))
    files.synced.clear()
    store.extract(message(sound(BLOB)))
    assert files.synced == []
    store.extract(message(picture(URI)))
    assert files.synced == [media]


class Extractor:
    """A process that extracts media until it is killed, and the names that it printed."""

    def __init__(self, directory: Path, own: str) -> None:
        command = [sys.executable, extractor.__file__, str(directory), own]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._directory = directory

    def read(self, count: int) -> set[str]:
        """Read lines; check that each name in them has a complete file."""
        assert self.process.stdout is not None
        printed = {name for _ in range(count) for name in self.process.stdout.readline().split()}
        for name in printed:
            data = (self._directory / name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == name.partition(".")[0]
        assert printed
        return printed

    def kill(self) -> None:
        """Kill the process at once."""
        self.process.kill()
        self.process.communicate()


def test_two_processes_one_of_which_is_killed(media: Path) -> None:
    """A file with its final name is always complete; killed processes leave temporary names."""
    steady, printed = Extractor(media, "steady"), set[str]()
    for round_ in range(4):
        killed = Extractor(media, f"killed {round_}")
        printed |= killed.read(3 + 5 * round_) | steady.read(5)
        killed.kill()
    printed |= steady.read(5)
    assert steady.process.poll() is None
    steady.kill()
    names = {path.name for path in media.iterdir() if not media_left(path.name)}
    assert printed <= names
    for name in names:
        assert name == hashlib.sha256((media / name).read_bytes()).hexdigest() + ".png"


def media_left(name: str) -> bool:
    """Return whether a name is one that a killed process leaves."""
    return name.startswith(".") and name.endswith(".tmp")


def test_threads_with_stores_of_their_own(media: Path) -> None:
    """Several exports in one process are like several processes."""
    sent = [message(picture(URI), sound(BLOB), document(URI))] * 48
    with ThreadPoolExecutor(8) as threads:
        changed = set(threads.map(lambda item: MediaStore(media).extract(item), sent))
    assert len(changed) == 1
    assert {path.read_bytes() for path in media.iterdir()} == {DATA}
    assert not [path for path in media.iterdir() if media_left(path.name)]


def test_a_file_of_a_killed_process_is_made_durable(media: Path) -> None:
    """A file that a killed process named is made durable before a line relies on it."""
    MediaStore(media).extract(message(picture(URI)))
    files = Counted()
    store = MediaStore(media, files=files)
    store.extract(message(picture(URI)))
    assert files.synced == [media, media.parent]
    store.extract(message(picture(URI)))
    assert files.synced == [media, media.parent]


def test_a_file_after_an_error_is_made_durable(media: Path) -> None:
    """A file whose rename could not be made durable is not relied upon."""
    files = Counted()
    store = MediaStore(media, files=files)
    store.extract(message(sound(BLOB)))
    files.failing = True
    with pytest.raises(OSError, match="synced"):
        store.extract(message(picture(URI)))
    assert (media / f"{NAME}.png").exists()
    files.failing, files.synced = False, []
    store.extract(message(picture(URI)))
    assert files.synced == [media, media.parent]


def test_threads_that_bring_the_same_picture(media: Path) -> None:
    """One store may be used from many threads: each blob is written once, and whole."""
    files = Counted()
    store = MediaStore(media, files=files)
    with ThreadPoolExecutor(8) as threads:
        changed = set(threads.map(store.extract, [message(picture(URI))] * 64))
    assert len(changed) == 1
    assert files.asked.count("rename") == 1


def test_the_sample_can_be_put_together_again(media: Path) -> None:
    """Every message of the sample is restored by putting the blobs back for the names."""
    store, names = MediaStore(media), set()
    for record in sample_records():
        for said in record["messages"]:
            sent = encoded(said)
            changed = store.extract(sent)
            for blob in blobs(said):
                data = base64.b64decode(blob.rpartition(",")[2])
                (file,) = media.glob(f"{hashlib.sha256(data).hexdigest()}.*")
                changed = changed.replace(file.name.encode(), blob.encode())
                names.add(file.name)
                assert file.read_bytes() == data
            assert changed == sent
    assert names == {file.name for file in media.iterdir()}
    assert {name[64:] for name in names} >= {".png", ".wav", ".txt"}


def blobs(said: JSON) -> list[str]:
    """Return the blobs of a message of the sample."""
    holders = [said, *(said["content_parts"] or ())]
    held = [holder.get(place) or {} for holder in holders for place in PLACES]
    texts = [text for item in held for text in item.values() if isinstance(text, str)]
    return [text for text in texts if text.startswith("data:") or len(text) > 1000]


PLACES = ("image_url", "input_audio", "file", "audio")
