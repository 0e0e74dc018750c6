"""Layouts: what a line is made of. What whole exports hold stands in test_run.py."""

import pytest

from aiomessages.export.layouts import Fetched, Lines, messages_layout, one_line


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (b'{"a": 1 ,"b":"\\n"}', b'{"a": 1 ,"b":"\\n"}'),
        (b'{\n  "a": 1,\r\n  "b": "x y"\n}', b'{"a":1,"b":"x y"}'),
        (b'{\n  "a": "\\ud83d ",\r\n  "b": 2\n}', b'{"a": "\\ud83d ","b": 2}'),
        (b"[" * 2000 + b"\n" + b"]" * 2000, b"[" * 2000 + b"]" * 2000),
    ],
    ids=["on one line", "indented", "half an emoji", "nested deep"],
)
def test_one_line(sent: bytes, line: bytes) -> None:
    """JSON on one line is left as it is; indented JSON is brought to one line."""
    assert one_line(sent) == line


def test_messages() -> None:
    """Each message is a line with its number, and each reply one more, with that of its choice."""
    completion = b'{"choices":[{"message":{"r":1}},{"message":{"r":2}}]}'
    fetched = Fetched('"c', [b'{"a":1}', b"2"], completion, first=7)
    assert messages_layout(fetched) == Lines(
        b'{"completion_id":"\\"c","seq":7,"message":{"a":1}}\n'
        b'{"completion_id":"\\"c","seq":8,"message":2}\n'
        b'{"completion_id":"\\"c","seq":9,"choice":0,"message":{"r":1}}\n'
        b'{"completion_id":"\\"c","seq":10,"choice":1,"message":{"r":2}}\n',
        number=4,
    )


def test_a_stretch_of_messages() -> None:
    """A stretch that is not the last has no replies yet; one of nothing has no line."""
    stretch = Fetched("c", [], b'{"choices":[{"message":{}}]}', whole=False)
    assert messages_layout(stretch) == Lines(b"", 0)
