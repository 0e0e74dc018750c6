"""NO_PROXY: the hosts that it names."""

import pytest

from aiomessages.values.no_proxy import is_exempt


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("*", "api.example"),
        ("a.example, *", "10.0.0.1"),
        ("api.example", "api.example"),
        ("example", "api.example"),
        (".example", "api.example"),
        (".api.example", "api.example"),
        ("*.example", "api.example"),
        ("API.Example", "api.example"),
        ("api.example", "API.example."),
        ("api.example.", "api.example"),
        ("other.example,api.example", "api.example"),
        ("other.example  api.example", "api.example"),
        ("api.example:443", "api.example"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:443", "10.0.0.1"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.2.3/8", "10.3.2.1"),
        ("fd00::/8", "fd00::1"),
        ("fd00::1", "fd00:0:0::1"),
        ("[fd00::1]", "fd00::1"),
        ("[fd00::1]:443", "fd00::1"),
        ("fe80::/10", "fe80::1%eth0"),
    ],
)
def test_hosts_without_a_proxy(no_proxy: str, host: str) -> None:
    """A name, a subdomain of it, an address, a network, a port and `*` are found."""
    assert is_exempt(host, 443, no_proxy)


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("", "api.example"),
        (" , ,", "api.example"),
        (".", "api.example"),
        ("*.", "api.example"),
        ("pi.example", "api.example"),
        ("v1.api.example", "api.example"),
        ("api.example:80", "api.example"),
        ("[fd00::1]:80", "fd00::1"),
        ("10.0.0.0/8", "11.0.0.1"),
        ("10.0.0.0/8", "api.example"),
        ("0.0.0.1", "10.0.0.1"),
        ("1", "10.0.0.1"),
        ("fd00::/8", "10.0.0.1"),
        ("10.0.0.0/99", "10.0.0.1"),
    ],
)
def test_hosts_with_a_proxy(no_proxy: str, host: str) -> None:
    """No other host is found; a part of an address names nothing, and nonsense neither."""
    assert not is_exempt(host, 443, no_proxy)
