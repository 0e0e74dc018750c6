"""JSON on one line: the layout goes, and every other byte stays."""

import pytest

from aiomessages.values.json_lines import on_one_line


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
