"""The log: logger `aiomessages`, a record for each attempt, each retry, and each list's end.

What went well is a DEBUG record, what did not is an INFO record, and so is a retry. Each carries
its facts as attributes as well (`extra`), for a formatter that writes JSON. No header, query, body,
text of an error, or key is ever in it. An id comes from the server: whatever in it could end a line
or act on a terminal is written as an escape, in the attributes as well.
"""

import logging
import time
from typing import TYPE_CHECKING, Final

from aiomessages.values.redaction import shown, without_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiomessages.errors import APIError

log: Final = logging.getLogger("aiomessages")

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO}


def show_log(level: str | None) -> None:
    """Write the log to standard error from `debug` or `info` on; do nothing for any other word.

    For AIOMESSAGES_LOG. An application that set logging up for itself is left as it is.
    """
    if level is None or level.lower() not in _LEVELS or log.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    log.addHandler(handler)
    log.setLevel(_LEVELS[level.lower()])
    log.propagate = False  # else a root handler would write every line again


def log_attempt(target: str, outcome: object, *, began: float, attempt: int, secret: str) -> None:
    """Tell of one attempt that began at that reading of the monotonic clock.

    `outcome` is the response, or the error. A server may repeat the key, so that is taken out.
    """
    status = getattr(outcome, "status", 0)
    level = logging.DEBUG if status == 200 and not isinstance(outcome, Exception) else logging.INFO
    if not log.isEnabledFor(level):
        return
    headers: Mapping[str, str] = getattr(outcome, "headers", {})
    seconds = time.monotonic() - began
    facts = {
        "event": "attempt",
        "path": harmless(without_key(target.partition("?")[0], secret)),
        "status": status or None,
        "seconds": seconds,
        "attempt": attempt,
        "request_id": harmless(without_key(headers.get("x-request-id", "unknown"), secret)),
        "error_type": type(outcome).__name__ if isinstance(outcome, BaseException) else None,
    }
    log.log(
        level,
        "GET %s %s in %.0f ms, attempt %d, request %s",
        facts["path"],
        status or type(outcome).__name__,
        seconds * 1000,
        attempt,
        facts["request_id"],
        extra=facts,
    )


def harmless(text: str | None) -> str | None:
    """Return a text with an escape for each character that is not printable."""
    if text is None or text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def log_retry(error: "APIError", delay: float) -> None:
    """Tell that the attempt that failed by this error is followed by another in `delay` seconds."""
    if not log.isEnabledFor(logging.INFO):
        return
    facts = {
        "event": "retry",
        "completion_id": harmless(error.completion_id),
        "cursor": harmless(error.cursor),
        "attempt": error.attempts,
        "delay": delay,
        "error_type": type(error).__name__,
        "status": getattr(error, "status", None),
    }
    log.info("retry in %.2f s: %s", delay, facts["error_type"], extra=facts)


def logs_ends() -> bool:
    """Return whether the end of an operation is logged."""
    return log.isEnabledFor(logging.INFO)


def log_end(
    operation: str,
    outcome: str,
    *,
    completion_id: str | None,
    pages: int,
    items: int,
    retries: int,
    seconds: float,
    error_type: str | None,
) -> None:
    """Tell how a list, or an export, ended."""
    facts = {
        "event": "end",
        "operation": operation,
        "outcome": outcome,
        "completion_id": harmless(shown(completion_id)),
        "pages": pages,
        "items": items,
        "retries": retries,
        "seconds": seconds,
        "error_type": error_type,
    }
    log.log(
        logging.DEBUG if error_type is None else logging.INFO,
        "%s: %s, %d pages, %d items, %d retries in %.0f ms",
        operation,
        error_type or outcome,
        pages,
        items,
        retries,
        seconds * 1000,
        extra=facts,
    )
