"""Layouts: what a line is made of. What whole exports hold stands in test_run.py."""

import pytest

from aiomessages.export.layouts import one_line


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (b'{"a": 1 ,"b":"\\n"}', b'{"a": 1 ,"b":"\\n"}'),
        (b'{\n  "a": 1,\r\n  "b": "x y"\n}', b'{"a":1,"b":"x y"}'),
    ],
    ids=["on one line", "indented"],
)
def test_one_line(sent: bytes, line: bytes) -> None:
    """What stands on one line is left as it is; what a server indents is brought to one."""
    assert one_line(sent) == line
