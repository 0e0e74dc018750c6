"""Claims about the sample: the kinds that it holds, its validity, and where it comes from."""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import struct
import unicodedata
import wave
import zlib
from typing import TYPE_CHECKING

import make_sample
import pytest

from aiomessages.archive.records import read_records
from aiomessages.server.sample import sample_records

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS = sample_records()
MESSAGES = [message for record in RECORDS for message in record["messages"]]
PARTS = [part for message in MESSAGES for part in message["content_parts"] or ()]
TEXT = "".join(message["content"] or "" for message in MESSAGES)


def test_the_file_is_the_output_of_the_script() -> None:
    """Its lines are those that `make_sample.py` writes today; the gzip header holds no time."""
    packed = make_sample.TARGET.read_bytes()
    assert gzip.decompress(packed) == make_sample.sample()
    assert packed[4:8] == bytes(4)


def test_each_call_returns_new_records() -> None:
    """A caller may change the records that it gets."""
    sample_records()[0]["messages"].append({})
    assert sample_records() == RECORDS


def test_it_is_some_thirty_valid_records() -> None:
    """All can be imported, and no two have the same id or the same time."""
    read = list(read_records(RECORDS))
    assert 30 <= len(read) <= 40
    assert len({record.id for record in read}) == len(read)
    assert len({record.created for record in read}) == len(read)


def test_ids_count_from_nought() -> None:
    """Message ids are `{completion_id}-{n}`, as in the API."""
    for record in RECORDS:
        id = record["completion"]["id"]
        assert [m["id"] for m in record["messages"]] == [
            f"{id}-{n}" for n in range(len(record["messages"]))
        ]


def test_completions_have_the_members_of_the_recorded_ones() -> None:
    """Each member that the API sends is there, and the reply stands in choices only."""
    members = [
        *("object", "id", "model", "created", "request_id", "tool_choice", "usage", "seed"),
        *("top_p", "temperature", "presence_penalty", "frequency_penalty", "system_fingerprint"),
        *("input_user", "service_tier", "tools", "metadata", "choices", "response_format"),
    ]
    for record in RECORDS:
        assert list(record["completion"]) == members
        assert record["completion"]["choices"][0]["message"]["role"] == "assistant"


def test_messages_have_the_members_of_the_recorded_ones() -> None:
    """The five keys are in every message, null where nothing applies."""
    for message in MESSAGES:
        assert {"id", "role", "content", "content_parts", "name"} <= set(message)


def test_lengths_range_from_nothing_to_many_pages() -> None:
    """There is an empty one, one of a single message, and one of 250."""
    lengths = {len(record["messages"]) for record in RECORDS}
    assert {0, 1, 250, 130, 61} <= lengths


def test_every_kind_of_content_occurs() -> None:
    """Roles, parts, calls and fields of all kinds, known and not yet known."""
    roles = {message["role"] for message in MESSAGES}
    known = {"system", "developer", "user", "assistant", "tool", "function"}
    assert roles == known | {"ambassador"}
    kinds = {part["type"] for part in PARTS}
    assert kinds == {"text", "image_url", "input_audio", "file", "scent"}
    calls = {call["type"] for message in MESSAGES for call in message.get("tool_calls") or ()}
    assert calls == {"function", "custom", "gesture"}
    fields = {key for message in MESSAGES for key, value in message.items() if value is not None}
    extra = {"refusal", "tool_calls", "tool_call_id", "function_call", "annotations", "audio"}
    assert extra | {"mood", "name"} <= fields


SCRIPTS = [
    *("ARABIC", "HEBREW", "CJK", "DEVANAGARI", "THAI", "HIRAGANA"),
    *("GREEK", "HANGUL", "GEORGIAN", "ETHIOPIC", "TAMIL"),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_of_the_world_occur(script: str) -> None:
    """Letters of each of them are in a message."""
    assert any(unicodedata.name(letter, "").startswith(script) for letter in set(TEXT))


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\x00", "\r", "\u202e", "\u2028", "\u200d"])
def test_characters_that_are_dangerous_at_a_terminal_occur(character: str) -> None:
    """Control characters, direction overrides and joiners are in some text."""
    assert character in TEXT


def test_the_picture_is_a_valid_png() -> None:
    """Every chunk has its checksum, and the pixels fill the size that the header says."""
    (url,) = [
        part["image_url"]["url"]
        for part in PARTS
        if part["image_url"] and part["image_url"]["url"].startswith("data:image/png;base64,")
    ]
    data = base64.b64decode(url.partition(",")[2])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks = dict(png_chunks(data[8:]))
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (width + 1)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each chunk, and hold each against its checksum."""
    while data:
        length, kind = struct.unpack(">I4s", data[:8])
        content = data[8 : 8 + length]
        assert struct.unpack(">I", data[8 + length : 12 + length]) == (zlib.crc32(kind + content),)
        yield kind, content
        data = data[12 + length :]


def test_the_sounds_are_valid_wav() -> None:
    """The standard library plays them to their end."""
    spoken = [message["audio"]["data"] for message in MESSAGES if message.get("audio")]
    attached = [part["input_audio"]["data"] for part in PARTS if part["input_audio"]]
    assert (len(spoken), len(attached)) == (1, 1)
    for data in spoken + attached:
        with wave.open(io.BytesIO(base64.b64decode(data))) as sound:
            assert len(sound.readframes(sound.getnframes())) == sound.getnframes() > 0


def test_the_knight_reaches_every_square_by_knights_moves() -> None:
    """The tour visits 64 squares once each, every step a knight's move."""
    (tour,) = [r["messages"] for r in RECORDS if r["completion"]["id"].endswith("knights-tour")]
    squares = [m["content"].split()[1] for m in tour if m["role"] == "assistant"]
    assert len(set(squares)) == len(squares) == 64
    for (file, rank), (next_file, next_rank) in itertools.pairwise(squares):
        jump = {abs(ord(file) - ord(next_file)), abs(int(rank) - int(next_rank))}
        assert jump == {1, 2}
