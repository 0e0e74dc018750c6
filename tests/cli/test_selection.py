"""The meaning of --metadata, --since and --until."""

import time
from datetime import datetime

import pytest

from aiomessages.cli.exits import UsageError
from aiomessages.cli.selection import metadata_of, recorded, span_of


def test_metadata() -> None:
    """Each pair is split at its first equals sign."""
    assert metadata_of(["a=1", "b=c=d", "e="]) == {"a": "1", "b": "c=d", "e": ""}
    assert metadata_of(None) == {}


@pytest.mark.parametrize("pairs", [["a"], ["=1"], ["a=1", "a=2"]])
def test_wrong_metadata(pairs: list[str]) -> None:
    """A pair without a key or an equals sign is refused, and so is a key that is named twice."""
    with pytest.raises(UsageError, match="--metadata"):
        metadata_of(pairs)


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2026-11-01", "2026-11-01T00:00+02:00"),
        ("2026-11-01T08:30", "2026-11-01T08:30+02:00"),
        ("2026-11-01T08:30Z", "2026-11-01T08:30+00:00"),
    ],
)
def test_dates(given: str, meant: str) -> None:
    """A date is its midnight, in the zone of this machine unless it names one."""
    assert span_of(given, None).since == datetime.fromisoformat(meant).timestamp()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2026-11-01", "2026-11-01T00:00+00:00"),
        ("2026-11-01T08:30", "2026-11-01T08:30+00:00"),
        ("2026-11-01T08:30+05:00", "2026-11-01T08:30+05:00"),
    ],
)
def test_dates_in_utc(given: str, meant: str) -> None:
    """With --utc a date without a zone is one of UTC, whichever zone this machine is in."""
    moment = datetime.fromisoformat(meant).timestamp()
    assert span_of(given, None, utc=True).since == moment
    assert span_of(None, given, utc=True).until == moment


def test_what_is_recorded() -> None:
    """A date in UTC is another selection than the same local date; an age is the same one."""
    assert recorded("2026-11-01", utc=False) == "2026-11-01"
    assert recorded("2026-11-01", utc=True) == "2026-11-01 UTC"
    assert recorded("3d", utc=True) == recorded("3d", utc=False) == "3d"
    assert recorded(None, utc=True) is None


@pytest.mark.parametrize(
    ("age", "seconds"), [("30m", 1800), ("6h", 21_600), ("3d", 259_200), ("2w", 1_209_600)]
)
def test_ages(age: str, seconds: int) -> None:
    """An age counts back from now."""
    since = span_of(age, None).since
    assert since == pytest.approx(time.time() - seconds, abs=60)


def test_no_bounds() -> None:
    """Without either option there is no bound."""
    assert not span_of(None, None)


@pytest.mark.parametrize("given", ["3", "3y", "yesterday", "", "2026-13-01", "999999w"])
def test_an_invalid_time(given: str) -> None:
    """A time that is neither a date nor an age is refused, and the message names every form."""
    forms = r"a date \(2026-11-01\), a time \(2026-11-01T08:00\) or an age \(30m, 6h, 3d, 2w\)"
    with pytest.raises(
        UsageError, match=rf"^--until {given}: neither a time nor an age: write {forms}$"
    ):
        span_of(None, given)


def test_an_empty_range() -> None:
    """A span that ends before it begins is refused."""
    with pytest.raises(UsageError, match=r"^--since 1d is not earlier than --until 2d"):
        span_of("1d", "2d")


def test_a_range_of_no_length() -> None:
    """A range whose ends are equal is refused, as no completion can be in it."""
    with pytest.raises(UsageError, match="is not earlier than --until"):
        span_of("2026-11-01", "2026-11-01")
