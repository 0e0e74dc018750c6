"""The credentials among the headers of a request."""

import pytest

from aiomessages.values.headers import carries_credential, credentials_in


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("Authorization", "api-key", "apikey", "X-Api-Key", "Cookie")),
        *((name, True) for name in ("Ocp-Apim-Subscription-Key", "CF-Access-Client-Secret")),
        *((name, True) for name in ("X-Auth", "x-gateway-token", "X-Amz-Security-Token", "X-JWT")),
        *((name, False) for name in ("X-Team", "X-Author", "Accept-Language", "Key-Id")),
    ],
)
def test_names_of_credentials(name: str, *, expected: bool) -> None:
    """A header carries a credential if its name ends like one."""
    assert carries_credential(name) is expected


def test_credentials() -> None:
    """A credential is behind the word of its scheme; each cookie has one. All are hidden."""
    headers = {
        "authorization": "Bearer canary-token",
        "api-key": "canary-key",
        "cookie": "a=canary-a; session=canary=b",
        "x-team": "search",
    }
    found = list(credentials_in(headers))
    assert found == ["canary-token", "canary-key", "canary-a", "canary=b"]
    assert "canary" not in repr(found)
