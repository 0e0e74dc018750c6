"""Claims about the bytes of responses, compared with recorded ones."""

from __future__ import annotations

from aiomessages.archive.store import Rows
from aiomessages.server import wire


def test_an_empty_page_has_null_ids() -> None:
    """The body equals the empty page of the live API, 75 bytes."""
    body = b'{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}'
    assert wire.page_body(Rows([], has_more=False)) == body
    assert len(body) == 75


def test_a_page_is_one_compact_line_of_stored_texts() -> None:
    """The JSON texts pass unchanged; ids are escaped as JSON requires."""
    rows = Rows([("a", b'{"x":1.50}'), ('q"', b"{}")], has_more=True)
    assert wire.page_body(rows) == (
        b'{"object":"list","data":[{"x":1.50},{}],"first_id":"a","last_id":"q\\"","has_more":true}'
    )


def test_the_not_found_error_has_the_recorded_length() -> None:
    """Indented by two spaces it has 189 bytes for an id of 38 characters, as recorded."""
    error = wire.completion_not_found("chatcmpl-" + "x" * 29)
    assert len(error.body) == 189
    assert error.body.startswith(b'{\n  "error": {\n    "message": "Completion chatcmpl-xxx')


def test_errors_are_utf_8() -> None:
    """Letters outside ASCII stand for themselves; bytes that are not UTF-8 become a "?"."""
    assert "Completion caf\u00e9 not found".encode() in wire.completion_not_found("caf\u00e9").body
    assert b"Completion caf? not found" in wire.completion_not_found("caf\udce9").body


def test_a_wrong_key_is_shown_by_its_end_at_most() -> None:
    """The error shows four characters of a key of 16 or more, and none of a shorter one."""
    assert wire.wrong_key("short").error["message"] == "Incorrect API key provided: ****."
    hidden, shown = (wire.wrong_key("sk-0123456789abcdef"[:n]).error["message"] for n in (15, 16))
    assert hidden == "Incorrect API key provided: ***********."
    assert shown == "Incorrect API key provided: ************9abc."


def test_the_wait_is_rounded_up() -> None:
    """Both headers round up, so that a client that obeys one is never early."""
    error = wire.rate_limited(1.2341)
    assert error.headers == {"Retry-After": "2", "retry-after-ms": "1235"}
