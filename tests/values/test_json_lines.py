"""JSON on one line: the layout goes, and every other byte stays."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.values.json_lines import on_one_line, split_lines


@pytest.mark.parametrize(
    ("document", "line"),
    [
        (b'{"a": 1}', b'{"a": 1}'),
        (b'{\n  "a": 1,\n  "b": [\n    2\n  ]\n}\n', b'{"a": 1,"b": [2]}'),
        (b'{\r\n\t"a": 1\r\n}', b'{"a": 1}'),
        (b'{\r"a": 1\r}', b'{"a": 1}'),
        (b'{\n"a": "\\n  \\ud83d",\n"b": 1e400}', b'{"a": "\\n  \\ud83d","b": 1e400}'),
    ],
)
def test_one_line(document: bytes, line: bytes) -> None:
    """Line breaks and indentation are removed; numbers and strings keep their bytes."""
    assert on_one_line(document) == line


@given(st.lists(st.binary(max_size=5).map(lambda line: line.replace(b"\n", b" "))), st.data())
def test_lines_of_a_text_in_pieces(lines: list[bytes], data: st.DataObject) -> None:
    """The lines are the same wherever the text is cut."""
    text = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    assert list(split_lines(pieces)) == lines
