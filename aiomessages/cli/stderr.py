"""Standard error: lines without a key and without characters that act on a terminal.

Every other module of the program writes there through this one.
"""

import logging
import re
import sys

from aiomessages.values.redaction import without_key

from .safe_text import one_line, visible

_concealed: set[str] = set()
# The form of OpenAI's keys: it hides one that was pasted into a wrong place. A word that holds
# "sk-" (task-force) or is short (sk-learn) is no key.
_LOOKS_LIKE_A_KEY = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_*-]{6,}")


def conceal(secret: str | None) -> None:
    """Replace this secret by [key] in everything that is written, until the process ends.

    `without_key` leaves placeholder keys, which servers without authentication get.
    """
    if secret:
        _concealed.add(secret)


def say(text: str, advice: str = "") -> None:
    """Write ``aiomessages: …`` as one line, and the advice below it, also as one line.

    A closed standard error is ignored.
    """
    below = f"  {one_line(_redacted(advice))}\n" if advice else ""
    _write(f"aiomessages: {one_line(_redacted(text))}\n{below}")


def say_all(text: str) -> None:
    """Write lines without the prefix, such as a traceback or a hint to paste; hide keys."""
    if text:
        _write(f"{visible(_redacted(text)).rstrip()}\n")


def show_log(level: int) -> None:
    """Write the library's log from this level on (a `logging` constant) through `say`."""
    logger = logging.getLogger("aiomessages")
    logger.handlers[:] = [_Said()]
    logger.setLevel(level)
    logger.propagate = False


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def _redacted(text: str) -> str:
    for secret in _concealed:
        text = without_key(text, secret, "[key]")
    return _LOOKS_LIKE_A_KEY.sub("[key]", text)


def _write(text: str) -> None:
    if sys.stderr is None:  # Python's value for `2>&-`
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        return
