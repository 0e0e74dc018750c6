"""Read NO_PROXY: the hosts that are reached without a proxy. No name is looked up for it."""

import ipaddress
import re
from typing import Final

_ENTRY: Final = re.compile(r"\[(?P<v6>[^]]+)\](?::(?P<v6_port>\d+))?|(?P<host>[^:]*):(?P<port>\d+)")


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Return whether NO_PROXY names a host.

    An entry is a name, which names its subdomains as well, an address, a network such as
    `10.0.0.0/8`, or `*` for every host. `:port` behind it names this port alone. The rules are
    those of curl, and `*.name` means the same as `.name` and `name`.
    """
    host = host.lower().rstrip(".").partition("%")[0]
    return any(_names(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy.lower()))


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if parts := _ENTRY.fullmatch(entry):
        wanted = parts["v6_port"] or parts["port"]
        if wanted is not None and int(wanted) != port:
            return False
        entry = parts["v6"] or parts["host"]
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (f".{host}".endswith(f".{name}") if not _is_ip(host) else _in(name, host))


def _is_ip(host: str) -> bool:
    return _in(host, host)


def _in(network: str, host: str) -> bool:
    """Return whether an address is in a network, or is the address in place of a network."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
