"""An operation begins with its first request, and ends once."""

from contextlib import nullcontext
from typing import Any

import pytest

from aiomessages.observe.operation import Operation


class Noted:
    """A listener, and a span, that note their calls."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def begin(self, kind: str, completion_id: str | None) -> "Noted":
        """Note a beginning."""
        self.notes.append((kind, completion_id))
        return self

    def context(self) -> None:
        """Return no context of its own."""

    def current(self) -> Any:
        """Return a context manager that does nothing."""
        return nullcontext()

    def end(self, outcome: str, counts: dict[str, int], error_type: str | None) -> None:
        """Note an end."""
        self.notes.append((outcome, *counts.values(), error_type))


BEGUN = ("list messages", "chatcmpl-1")


def observed() -> tuple[Operation, list[Any]]:
    """Return an operation, and the notes that its listener will make."""
    listener: Any = Noted()
    return Operation(listener, "list messages", "chatcmpl-1"), listener.notes


def test_an_operation_that_never_began() -> None:
    """An operation that sent nothing has no end either."""
    operation, notes = observed()
    operation.over()
    assert notes == []


def test_one_end() -> None:
    """The first end of an operation counts; it begins once, however often it is entered."""
    operation, notes = observed()
    operation.context()
    with operation.current():
        operation.page(3)
        operation.retried()
        operation.page(2, last=True)
    operation.over(ValueError())
    operation.over()
    assert notes == [BEGUN, ("complete", 2, 5, 1, None)]


def test_an_operation_as_a_block() -> None:
    """An operation used as a block ends with the block."""
    operation, notes = observed()
    with operation:
        operation.page(1)
    assert notes == [BEGUN, ("complete", 1, 1, 0, None)]


def test_an_error_in_the_block() -> None:
    """An error in the block ends the operation, and is raised unchanged."""
    operation, notes = observed()
    with pytest.raises(ValueError, match="mine"), operation:
        raise ValueError("mine")
    assert notes == [BEGUN, ("error", 0, 0, 0, "ValueError")]


def test_an_operation_that_is_closed() -> None:
    """An operation whose rest is not wanted ends as closed."""
    operation, notes = observed()
    operation.context()
    operation.over()
    assert notes == [BEGUN, ("closed", 0, 0, 0, None)]


def test_without_a_listener() -> None:
    """Without a listener an operation is no context of its own."""
    operation = Operation()
    with operation:
        assert operation.context() is None
