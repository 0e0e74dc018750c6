"""Every error in two lines: what happened, and what to do."""

import pytest
from cyclopts import CycloptsError

from aiomessages.archive.errors import LockedError, NotAnArchiveError
from aiomessages.cli.exits import CommandError, UsageError
from aiomessages.cli.explain import lines_of
from aiomessages.errors import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    InternalServerError,
    MessagesError,
    NotFoundError,
    SchemaError,
)
from aiomessages.export import ExportError


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("it broke", hint="mend it"),
        ExportError("it broke", hint="mend it"),
        LockedError("it broke", hint="mend it"),
        UsageError("it broke", "mend it"),
        CommandError("it broke", "mend it"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_with_advice(error: Exception) -> None:
    """The advice of any error is the second line; its text in Python has both."""
    assert lines_of(error, []) == ("it broke", "mend it")
    assert str(error) == "it broke: mend it"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (MessagesError("it broke"), "--debug shows where"),
        (CommandError("it broke"), "--debug shows where"),
        (ConfigurationError("it broke"), "see aiomessages list --help"),
        (UsageError("it broke"), "see aiomessages list --help"),
        (InternalServerError("it broke"), "`aiomessages doctor` shows what is wrong on the way"),
        (NotAnArchiveError("it broke"), "name an archive"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_without_advice(error: Exception, advice: str) -> None:
    """An error that has no advice gets the general one of its kind: no error is one line."""
    said, below = lines_of(error, ["list", "x"])
    assert said.rstrip(".") == "it broke"
    assert below.startswith(advice)


def test_an_error_without_a_command() -> None:
    """Where no command was named, the help is that of the program."""
    assert lines_of(UsageError("it broke"), ["--odd"])[1] == "see aiomessages --help"


def test_the_doctor_names_itself_to_nobody() -> None:
    """`doctor` has told what is wrong, so its error does not lead to it."""
    error = APIConnectionError("no route")
    assert "doctor" in lines_of(error, ["list"])[1]
    assert "doctor" not in lines_of(error, ["doctor"])[1]


def test_an_answer_of_the_api() -> None:
    """The facts of an API error stay on the first line."""
    error = AuthenticationError("Wrong key.").at(completion_id="c", cursor=None, attempts=1)
    said, advice = lines_of(error, ["list"])
    assert said == "Wrong key (completion c, 1 attempt)."
    assert advice == AuthenticationError.hint


@pytest.mark.parametrize(
    ("command", "end"),
    [("list", "appear: see --wait-until-visible."), ("show", "to appear."), ("export", "30 days.")],
)
def test_advice_that_fits_the_command(command: str, end: str) -> None:
    """The general advice of a class is replaced by that of the command, an error's own is not."""
    error = NotFoundError("nothing there")
    assert lines_of(error, [command])[1].endswith(end)
    error.hint = "Ask somebody else."
    assert lines_of(error, [command]) == ("nothing there.", "Ask somebody else.")


def test_advice_for_nobody() -> None:
    """The advice of an export for an answer of another shape names no `raw()`."""
    assert "raw" not in lines_of(SchemaError("odd", path="$"), ["export"])[1]


def test_the_words_of_the_command_line() -> None:
    """Advice names options, not arguments; without a command it is that for all of them."""
    said = lines_of(APIConnectionError("no route"), [])
    assert said[0] == "no route."
    assert said[1].startswith("Check the network and --base-url. `aiomessages doctor` shows")


def test_what_is_no_error_of_ours() -> None:
    """An unexpected error names its class; Ctrl-C needs no advice."""
    assert lines_of(KeyError("x"), []) == ("unexpected KeyError: 'x'", "--debug shows where")
    assert lines_of(KeyboardInterrupt(), []) == ("interrupted", "")
    assert lines_of(CycloptsError(msg="odd."), [])[1] == "see aiomessages --help"
