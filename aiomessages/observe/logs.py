"""The log: logger `aiomessages`, one record per attempt, per retry, and per end of a list.

A success is a DEBUG record; a failure and a retry are INFO records. A key, or a certificate of the
client, that could not be replaced is a WARNING with the reason. Each record has its facts as
attributes too (`extra`), for a formatter that writes JSON. No record contains a header, query, body
or key, or the text of an error of a call. Ids come from the server: each character that could end a
line or control a terminal is escaped, in the attributes as well.
"""

import logging
import time
from typing import TYPE_CHECKING, Final

from aiomessages.values.redaction import Secrets, shown, without_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiomessages.errors import APIError

log: Final = logging.getLogger("aiomessages")

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO}


def show_log(level: str | None) -> None:
    """Write the log to standard error at level `debug` or `info`; ignore any other word.

    `level` is the value of AIOMESSAGES_LOG. A logger that already has handlers stays as it is.
    """
    if level is None or level.lower() not in _LEVELS or log.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    log.addHandler(handler)
    log.setLevel(_LEVELS[level.lower()])
    log.propagate = False  # else a root handler would write each line again


def log_attempt(
    target: str, outcome: object, *, began: float, attempt: int, secret: Secrets
) -> None:
    """Log one attempt. `began` is a reading of the monotonic clock; the secrets are removed.

    `outcome` is the response, or the error.
    """
    status = getattr(outcome, "status", 0)
    level = logging.DEBUG if status == 200 and not isinstance(outcome, Exception) else logging.INFO
    if not log.isEnabledFor(level):
        return
    headers: Mapping[str, str] = getattr(outcome, "headers", {})
    seconds = time.monotonic() - began
    facts = {
        "event": "attempt",
        "path": escape_unprintable(without_key(target.partition("?")[0], secret)),
        "status": status or None,
        "seconds": seconds,
        "attempt": attempt,
        "request_id": escape_unprintable(
            without_key(headers.get("x-request-id", "unknown"), secret)
        ),
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


def escape_unprintable(text: str | None) -> str | None:
    """Return a text with an escape in place of each character that is not printable."""
    if text is None or text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def log_retry(error: "APIError", delay: float) -> None:
    """Log that the attempt with this error is followed by another in `delay` seconds."""
    if not log.isEnabledFor(logging.INFO):
        return
    facts = {
        "event": "retry",
        "completion_id": escape_unprintable(error.completion_id),
        "cursor": escape_unprintable(error.cursor),
        "attempt": error.attempts,
        "delay": delay,
        "error_type": type(error).__name__,
        "status": getattr(error, "status", None),
    }
    log.info("retry in %.2f s: %s", delay, facts["error_type"], extra=facts)


def log_kept_key(reason: str) -> None:
    """Log that a key stays in use, because its source has no other one."""
    facts = {"event": "key", "reason": escape_unprintable(reason)}
    log.warning("the last key stays in use: %s", facts["reason"], extra=facts)


def log_kept_certificate(reason: str) -> None:
    """Log that a certificate of the client stays in use, because its files hold no other one."""
    facts = {"event": "certificate", "reason": escape_unprintable(reason)}
    log.warning("the last certificate stays in use: %s", facts["reason"], extra=facts)


def log_end(
    operation: str,
    outcome: str,
    completion_id: str | None,
    counts: "Mapping[str, int]",
    *,
    seconds: float,
    error_type: str | None,
) -> None:
    """Log the end of a list or an export; `counts` are its pages, items and retries."""
    level = logging.DEBUG if error_type is None else logging.INFO
    if not log.isEnabledFor(level):
        return
    facts = {
        "event": "end",
        "operation": operation,
        "outcome": outcome,
        "completion_id": escape_unprintable(shown(completion_id)),
        **counts,
        "seconds": seconds,
        "error_type": error_type,
    }
    log.log(
        level,
        "%s: %s, %d pages, %d items, %d retries in %.0f ms",
        operation,
        error_type or outcome,
        *counts.values(),
        seconds * 1000,
        extra=facts,
    )
