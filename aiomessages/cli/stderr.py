"""The only way to standard error: one line at a time, harmless to show, and without a key.

Nothing here decides what is worth saying, or ends the program.
"""

import logging
import re
import sys

from aiomessages.values.redaction import without_key

from .safe_text import one_line, visible

_concealed: set[str] = set()
# OpenAI's keys begin so: it covers one pasted where it does not belong, which nobody declared. A
# word that only ends in "sk-" (task-force) or is short (sk-learn) is none.
_LOOKS_LIKE_A_KEY = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_*-]{6,}")


def conceal(secret: str | None) -> None:
    """Make `say` write [key] wherever this secret would stand, for the rest of the process.

    A stand-in for a key, as servers without authentication are given one, is no secret.
    """
    if secret:
        _concealed.add(secret)


def say(text: str) -> None:
    """Write ``aiomessages: …`` as one line; a standard error that is gone is no error."""
    _write(f"aiomessages: {one_line(_redacted(text))}\n")


def say_all(text: str) -> None:
    """Write the lines as they are, for a traceback or a hint to paste; keys stay hidden."""
    _write(f"{visible(_redacted(text)).rstrip()}\n")


def show_log(level: int) -> None:
    """Let the library's log from this level on (a `logging` constant) come through `say`."""
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
    if sys.stderr is None:  # what Python makes of `2>&-`
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        return
