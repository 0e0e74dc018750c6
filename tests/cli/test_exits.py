"""Each kind of error has its exit code."""

import pytest
from cyclopts import CycloptsError

import aiomessages
from aiomessages import errors
from aiomessages.cli import exits
from aiomessages.export import ChangedError, CorruptError, DiskFullError, ExportError, LockedError


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigurationError, 2),
        (CycloptsError, 2),
        (exits.UsageError, 2),
        (errors.NotFoundError, 3),
        (errors.AuthenticationError, 4),
        (errors.PermissionDeniedError, 4),
        (errors.RateLimitError, 5),
        (errors.InsufficientQuotaError, 5),
        (errors.InternalServerError, 1),
        (errors.APITimeoutError, 1),
        (exits.CommandError, 1),
        (exits.NoLedgerError, 3),
        (ExportError, 1),
        (ChangedError, 2),
        (CorruptError, 65),
        (DiskFullError, 74),
        (LockedError, 75),
        (exits.ReaderGone, 0),
        (KeyboardInterrupt, 130),
        (ZeroDivisionError, 1),
    ],
)
def test_codes(kind: type[BaseException], code: int) -> None:
    """An error's code is its own, or that of its nearest class in the table."""
    assert exits.code_of(kind.__new__(kind)) == code


def test_every_error_of_the_library_has_a_code() -> None:
    """No error of the library ends the program as if it had succeeded."""
    kinds = [getattr(aiomessages, name) for name in aiomessages.__all__ if name.endswith("Error")]
    assert len(kinds) > 15
    assert all(exits.code_of(kind.__new__(kind)) != exits.OK for kind in kinds)
