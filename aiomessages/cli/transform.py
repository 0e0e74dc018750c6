"""The option --transform: a JMESPath expression as a function of one item."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import jmespath
import msgspec
from jmespath.functions import Functions

from .exits import CommandError, UsageError
from .formats import shown_by

Transform = Callable[[Any], Any]
Option = Annotated[
    str | None,
    shown_by(
        name="--transform",
        metavar="JMESPATH",
        help="Show the result of this expression for each item.",
    ),
]

# An error quotes at most so many characters of an expression.
_MAX_QUOTED = 80
_BY_EXPRESSION = ("sort_by", "min_by", "max_by", "map")  # the functions that take an &expression


def compiled(expression: str | None) -> Transform | None:
    """Return the expression as a function. Raises UsageError if it can fit no item.

    Errors name the expression, also those of the function: some depend on the item.
    """
    if expression is None:
        return None
    quoted = expression if len(expression) <= _MAX_QUOTED else f"{expression[:_MAX_QUOTED]}…"
    named = f"--transform {quoted}"
    too_deep = UsageError(f"{named}: nested too deep", "write a shorter expression")
    try:
        parsed = jmespath.compile(expression)
        _check({"type": "expression", "children": [parsed.parsed]})
    except RecursionError:
        raise too_deep from None
    except ValueError as error:  # JMESPathError is one
        reason = str(error).splitlines()[0].rstrip(":")
        raise UsageError(f"{named}: {reason}", _HINT) from None

    def change(item: Any) -> Any:
        try:
            return parsed.search(item)
        except RecursionError:
            raise too_deep from None
        except (ArithmeticError, TypeError, ValueError) as error:
            raise CommandError(f"{named}: {error}", _OF_ITEM) from None

    return change


_HINT: Final = "https://jmespath.org has the syntax and the functions"
_OF_ITEM: Final = "an item lacks what the expression expects; --format jsonl shows the items"


def _check(node: dict[str, Any]) -> None:
    """Raise ValueError for a fault that jmespath itself reports only on some items."""
    kind, name, arguments = node["type"], node.get("value"), node["children"]
    msgspec.json.encode(name)  # a literal with half an emoji cannot be written
    if kind == "function_expression":
        _check_function(str(name), len(arguments))
    if kind == "slice" and arguments[-1] == 0:
        raise ValueError("the step of a slice cannot be 0")
    for child in arguments:
        if isinstance(child, dict):  # a slice has numbers
            _check(child)
            if child["type"] == "expref" and name not in _BY_EXPRESSION:
                raise ValueError(f"an &expression is for {', '.join(_BY_EXPRESSION)}")


def _check_function(name: str, arguments: int) -> None:
    if name not in Functions.FUNCTION_TABLE:
        raise ValueError(f"there is no function {name}()")
    signature = Functions.FUNCTION_TABLE[name]["signature"]
    variadic = bool(signature) and signature[-1].get("variadic", False)
    if arguments < len(signature) or (arguments > len(signature) and not variadic):
        raise ValueError(f"{name}() expects arguments: {len(signature)}, not {arguments}")
