"""The log: logger `aiomessages`, one line an attempt. No header, query, body or key is ever in it.

An attempt that went well is a DEBUG line, one that did not is an INFO line, and so is a retry.
"""

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def log_attempt(url: str, outcome: object, *, began: float, attempt: int, secret: str) -> None:
    """Tell of one attempt that began at that reading of the monotonic clock.

    `outcome` is the response, or the error. A server may repeat the key, so that is taken out.
    """
    status = getattr(outcome, "status", 0)
    level = logging.DEBUG if status == 200 and not isinstance(outcome, Exception) else logging.INFO
    if not log.isEnabledFor(level):
        return
    headers: Mapping[str, str] = getattr(outcome, "headers", {})
    log.log(
        level,
        "GET /%s %s in %.0f ms, attempt %d, request %s",
        url.partition("://")[2].partition("?")[0].partition("/")[2],
        status or type(outcome).__name__,
        (time.monotonic() - began) * 1000,
        attempt,
        headers.get("x-request-id", "unknown").replace(secret, "[the API key]"),
    )
