"""The log: logger `aiomessages`, one line an attempt. No header, query, body or key is ever in it.

An attempt that went well is a DEBUG line, one that did not is an INFO line, and so is a retry.
"""

import logging
from typing import Final

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


def log_attempt(
    url: str, outcome: int | str, *, request_id: str | None, seconds: float, attempt: int
) -> None:
    """Tell of one attempt: `outcome` is the status, or the name of the error without one."""
    level = logging.DEBUG if outcome == 200 else logging.INFO
    if log.isEnabledFor(level):
        path = url.partition("://")[2].partition("?")[0].partition("/")[2]
        log.log(
            level,
            "GET /%s %s in %.0f ms, attempt %d, request %s",
            path,
            outcome,
            seconds * 1000,
            attempt,
            request_id,
        )
