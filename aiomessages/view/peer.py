"""Whose program is at the other end of a connection on this machine, as Linux knows it."""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Final

_TABLE: Final = Path("/proc/net/tcp")
_LOCAL, _REMOTE, _OWNER = 1, 2, 7  # columns


def owner_of(transport: asyncio.BaseTransport) -> int | None:
    """Return the user id of the client of an IPv4 connection; None where no system says it."""
    here, there = (transport.get_extra_info(name) for name in ("sockname", "peername"))
    try:
        rows = _TABLE.read_text("ascii").splitlines()[1:]
        # The client's end is a row as well, with the two addresses the other way round.
        ends = [_written(there), _written(here)]
    except (OSError, TypeError, ValueError):  # another system, a client that has gone, or IPv6
        return None
    found = (row.split() for row in rows)
    return next((int(row[_OWNER]) for row in found if row[_LOCAL : _REMOTE + 1] == ends), None)


def _written(address: tuple[str, int]) -> str:
    """Return an address as the table has it: hexadecimal, in the order of the machine's bytes."""
    host, port = address
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
