"""Media: blobs of messages as files named by what is in them, and everything else untouched."""

from __future__ import annotations

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

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
    """Return a directory that is not there yet."""
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
    """Its bytes are in a private file named by their sha256, whose name stands in its place."""
    sent = message({"type": "text", "text": "A"}, part(blob))
    assert MediaStore(media).extract(sent) == sent.replace(blob.encode(), (NAME + ending).encode())
    (file,) = media.iterdir()
    assert (file.name, file.read_bytes()) == (NAME + ending, DATA)
    assert file.stat().st_mode & 0o777 == 0o600
    assert media.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["mp3", "new", None, 7, ["wav"]])
def test_a_sound_in_a_format_of_its_own(media: Path, kind: Any) -> None:
    """Its ending is that of its format where that is known, and otherwise says nothing."""
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
def test_what_was_spoken(media: Path, ending: str, data: bytes) -> None:
    """An assistant's speech becomes a file, whose ending is by what it looks like."""
    blob = base64.b64encode(data).decode()
    spoken = {"id": "audio_1", "expires_at": 1, "data": blob, "transcript": "Yes."}
    said = encoded({"role": "assistant", "content": None, "audio": spoken})
    name = hashlib.sha256(data).hexdigest() + ending
    assert MediaStore(media).extract(said) == said.replace(blob.encode(), name.encode())
    assert (media / name).read_bytes() == data


def test_replies_of_a_completion(media: Path) -> None:
    """What stands in a completion's choices becomes files, and the rest of it keeps its bytes."""
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
    "escapes never seen": message(picture(URI)).replace(b"image/png", rb"image\u002fpng"),
    "no blob": encoded({"id": "m", "role": "user", "content": "é", "x": 1.0}),
}


@pytest.mark.parametrize("sent", LEFT.values(), ids=LEFT)
def test_what_is_no_blob_is_left_as_it_is(media: Path, sent: bytes) -> None:
    """The message keeps every byte, and no file is made."""
    assert MediaStore(media).extract(sent) == sent
    assert not media.exists()


@pytest.mark.parametrize(
    "spell",
    [
        lambda sent: sent.replace(b":", b": ").replace(b"data: ", b"data:"),
        lambda sent: sent.replace(b"/", rb"\/"),
        lambda sent: sent.replace(b"Look.", rb"\u004c\ud83d 1E5"),
    ],
    ids=["spaces", "slashes", "half an emoji"],
)
def test_everything_else_keeps_its_bytes(media: Path, spell: Any) -> None:
    """However a server spells its JSON, only the blob's own characters change."""
    before, blob, after = message(picture(URI)).partition(URI.encode())
    changed = MediaStore(media).extract(spell(before + blob + after))
    assert changed == spell(before + NAME.encode() + b".png" + after)


def test_a_text_that_quotes_a_blob_keeps_it(media: Path) -> None:
    """What a message says of a picture is no picture, even when it has the same characters."""
    text = {"type": "text", "text": f'"url":"{URI}"'}
    changed = json.loads(MediaStore(media).extract(message(text, picture(URI))))
    assert changed["content_parts"] == [text, picture(NAME + ".png")]


def test_parts_that_stand_in_content(media: Path) -> None:
    """Servers that send a list as content mean parts."""
    changed = MediaStore(media).extract(encoded({"content": [picture(URI)]}))
    assert json.loads(changed) == {"content": [picture(NAME + ".png")]}


def test_several_blobs_in_one_message(media: Path) -> None:
    """Each has its file, and one that comes twice has one."""
    other = base64.b64encode(b"other").decode()
    changed = json.loads(
        MediaStore(media).extract(message(picture(URI), sound(other), picture(URI)))
    )
    names = [NAME + ".png", hashlib.sha256(b"other").hexdigest() + ".wav"]
    assert changed["content_parts"] == [picture(names[0]), sound(names[1]), picture(names[0])]
    assert sorted(file.name for file in media.iterdir()) == sorted(names)


class Counted(Files):
    """The file layer, noting what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.synced: list[Path] = []
        self.failing = False

    def fsync_directory(self, path: Path) -> None:
        """Note it, and do it."""
        if self.failing:
            raise OSError("not synced")
        self.synced.append(path)
        super().fsync_directory(path)

    def fsync(self, descriptor: int) -> None:
        """Note it, and do it."""
        self.asked.append("fsync")
        super().fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Note it, and do it."""
        self.asked.append("rename")
        super().rename(source, target)


def test_a_file_is_durable_before_it_has_its_name(media: Path) -> None:
    """It is written under another name, fsynced, renamed, and its directory fsynced."""
    files = Counted()
    MediaStore(media, files=files).extract(message(picture(URI)))
    assert files.asked[-3:] == ["fsync", "rename", "fsync"]  # what is before is of the directory


def test_what_is_there_is_not_written_again(media: Path) -> None:
    """A second run, and what has been extracted already, write no file."""
    files = Counted()
    once = MediaStore(media).extract(message(picture(URI)))
    again = MediaStore(media, files=files)
    assert again.extract(message(picture(URI))) == once
    assert again.extract(once) == once
    assert "rename" not in files.asked


def test_a_file_cut_short_is_made_anew(media: Path) -> None:
    """A file of another length than its bytes is not what its name says."""
    MediaStore(media).extract(message(picture(URI)))
    (file,) = media.iterdir()
    file.write_bytes(b"half")
    MediaStore(media).extract(message(picture(URI)))
    assert file.read_bytes() == DATA


def test_what_a_killed_process_left_is_made_durable(media: Path) -> None:
    """It has its name, perhaps for the moment alone: no line may rely on that."""
    MediaStore(media).extract(message(picture(URI)))
    files = Counted()
    store = MediaStore(media, files=files)
    store.extract(message(picture(URI)))
    assert files.synced == [media, media.parent]
    store.extract(message(picture(URI)))
    assert files.synced == [media, media.parent]


def test_what_an_error_left_is_made_durable(media: Path) -> None:
    """A file that has its name although that could not be made durable is not relied upon."""
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
    """Every message of the sample is the same again with the blobs put back for the names."""
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
