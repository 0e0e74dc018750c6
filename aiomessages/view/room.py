"""What the handlers of all pages share: the connections, the templates, and how a page is made."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import jinja2
from aiohttp import web

from .pool import ReadPool
from .templating import environment
from .url_state import segment
from .visible import visible


class Room:
    """The archive at `path` as it is shown. Times are local, or in UTC."""

    def __init__(self, path: str | os.PathLike[str], *, utc: bool) -> None:
        self.pool = ReadPool(path)
        self.utc = utc
        self.name = Path(path).name

    @property
    def zone(self) -> tzinfo | None:
        """The time zone of all days and times; None is that of the machine."""
        return UTC if self.utc else None

    @cached_property
    def templates(self) -> jinja2.Environment:
        """The templates, with what they know of this archive."""
        made = environment()
        made.filters |= {
            "segment": segment,
            "number": "{:,}".format,
            "time": self.time,
            "iso": iso,
        }
        made.globals["archive"] = visible(self.name)
        made.globals["zone"] = "UTC" if self.utc else "local time"
        return made

    def time(self, seconds: float) -> str:
        """Return a time for a reader."""
        moment = _utc(seconds)
        if moment is None:
            return f"{seconds:,.0f} s after 1970"
        return moment.astimezone(self.zone).strftime("%Y-%m-%d %H:%M")

    def page(
        self,
        request: web.Request,
        template: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> web.Response:
        """Return a page. Its template gets `root`, the way to the first page, and the values."""
        body = self.templates.get_template(template).render(root=root_of(request), **values)
        # UTF-8 cannot have a lone surrogate of the archive's JSON, nor HTML a NUL.
        return web.Response(
            status=status,
            body=body.replace("\x00", "\ufffd").encode("utf-8", "replace"),
            content_type="text/html",
            charset="utf-8",
            headers=headers,
        )


ROOM: Final = web.AppKey("room", Room)


def root_of(request: web.BaseRequest) -> str:
    """Return the way from a page to the first one, so that a proxy may put them into a folder."""
    path = request.raw_path.partition("?")[0]
    return "../" * (path.count("/") - 1) or "./"


def iso(seconds: float) -> str:
    """Return a time for a program, as <time> has it; empty for one that no calendar has."""
    moment = _utc(seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""


def _utc(seconds: float) -> datetime | None:
    """Return a time; None for one that no calendar has, since a server may send any number."""
    days = timedelta(days=2)  # room for each time zone
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
        return moment if moment - days < moment < moment + days else None
    except (ValueError, OverflowError, OSError):
        return None
