"""Standard error gets one harmless line at a time, and never a key."""

import io
import logging

import pytest

from aiomessages.cli import stderr


def test_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Every message is one line, with unsafe characters escaped."""
    stderr.say("a\nb \x1b[2J")
    assert capsys.readouterr() == ("", "aiomessages: a b \\x1b[2J\n")


def test_concealed(capsys: pytest.CaptureFixture[str]) -> None:
    """A concealed secret is never shown, nor is any text that looks like a key."""
    stderr.conceal("correct-horse")
    stderr.conceal(None)
    stderr.say_all("correct-horse\nsk-proj-abcdefgh and sky-high")
    assert capsys.readouterr().err == "[key]\n[key] and sky-high\n"
    stderr.say("correct%2Dhorse Correct-Horse")
    assert capsys.readouterr().err == "aiomessages: [key] [key]\n"


@pytest.mark.parametrize("key", ["B", "x", "none", "EMPTY", "sk"])
def test_a_placeholder_key(capsys: pytest.CaptureFixture[str], key: str) -> None:
    """A placeholder key, as servers without authentication get it, is not replaced in texts."""
    stderr.conceal(key)
    text = "241 B, task-force-1, disk-usage-100, sk-learn, none of the EMPTY boxes"
    stderr.say(text)
    assert capsys.readouterr().err == f"aiomessages: {text}\n"


def test_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """The library's log comes as such lines too, from the level that is asked for."""
    stderr.show_log(logging.WARNING)
    logging.getLogger("aiomessages.paging.stream").info("quiet")
    logging.getLogger("aiomessages.paging.stream").warning("two\nlines")
    assert capsys.readouterr().err == "aiomessages: two lines\n"


def test_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program started without standard error runs on."""
    monkeypatch.setattr("sys.stderr", None)
    stderr.say("unread")


def test_a_closed_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standard error whose reader went away is no error."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    monkeypatch.setattr("sys.stderr", Gone())
    stderr.say("unread")
