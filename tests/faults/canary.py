"""The places where a key could show after an error, searched for it."""

import logging
import pickle
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import aiohttp

import aiomessages

KEY = "sk-canary-0123456789"

_WATCHED = tuple(str(Path(package.__file__).parent) for package in (aiomessages, aiohttp))


def shown_by_error(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield the texts of an error, and of those behind it, each with its place."""
    for link in _chain(error):
        yield "repr", repr(link)
        yield "str", str(link)
        yield "args", repr(link.args)
        yield "facts", repr(vars(link))
        yield "traceback", "".join(traceback.format_exception(link))
        yield from _local_variables(link)
    if isinstance(error, aiomessages.MessagesError):
        yield "pickle", pickle.dumps(error).decode("latin-1")


def shown_by_log(records: Iterable[logging.LogRecord]) -> Iterator[tuple[str, str]]:
    """Yield the texts of log records, each with its place."""
    for record in records:
        yield record.name, record.getMessage() + repr(record.args) + repr(record.exc_info)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all behind it, by cause and by context."""
    left, seen = [error], set()
    while left:
        link = left.pop()
        if id(link) not in seen:
            seen.add(id(link))
            yield link
            left += [behind for behind in (link.__cause__, link.__context__) if behind]


def _local_variables(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield the local variables of the package's frames and of aiohttp's."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in shown.stack:
        if frame.filename.startswith(_WATCHED):
            for name, value in (frame.locals or {}).items():
                yield f"{frame.name}: {name}", value
