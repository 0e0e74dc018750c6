"""`aiomessages list`: show the messages of one stored completion in a format.

It connects the options, the client, the format and the output.
"""

import shlex
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import jmespath
import msgspec
from cyclopts import App, Group, Parameter
from jmespath.functions import Functions

from . import formats, output, running, stderr
from .exits import CommandError, UsageError
from .ids import check_no_archive
from .options import SAMPLE, Connection, NotNegative
from .selection import After, Limit, MaxItems

if TYPE_CHECKING:
    from aiomessages import MessageStream

Transform = Callable[[Any], Any]

_EXAMPLES = """\
Examples:
  aiomessages list chatcmpl-abc123
  aiomessages list chatcmpl-abc123 --order desc --max-items 5
  aiomessages list chatcmpl-abc123 --format json -o conversation.json
  aiomessages list chatcmpl-abc123 --transform '[role, content]' | head
  aiomessages list chatcmpl-abc123 --api-key-file ~/.secrets/openai
  pass show openai | aiomessages list chatcmpl-abc123 --api-key-file -
"""

_WHICH = Group("Selection", sort_key=0)
app = App(name="list", group_parameters=_WHICH, help_epilogue=_EXAMPLES)


@app.default
def list_messages(
    completion_id: Annotated[
        str, Parameter(metavar="COMPLETION_ID", help="Id of the stored completion, chatcmpl-….")
    ],
    *,
    after: After = None,
    limit: Limit = None,
    order: Annotated[
        Literal["asc", "desc"] | None,
        Parameter(help="Oldest first (asc, the server's default) or newest first (desc)."),
    ] = None,
    max_items: MaxItems = None,
    wait_until_visible: Annotated[
        NotNegative,
        Parameter(
            metavar="SECONDS",
            help="Keep retrying a 404 for this long; new completions take seconds to appear.",
        ),
    ] = 0,
    format: formats.Option = "auto",  # noqa: A002 - the name of the option
    transform: Annotated[
        str | None,
        formats.shown_by(
            metavar="JMESPATH", help="Show the result of this expression for each message."
        ),
    ] = None,
    output_file: formats.OutputFile = output.STANDARD_OUTPUT,
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> None:
    """Show the messages of a stored chat completion.

    These were sent to the model. The API keeps its reply in the completion itself:
    `aiomessages show` shows both.
    """
    check_no_archive(completion_id)
    change = _compiled(transform)
    screen = output.screen_for(output_file)
    shown = formats.named(format, screen, transformed=change is not None)

    opening = connection.client()

    async def show(write: output.Write) -> None:
        async with opening as client:
            stream = client.list(
                completion_id,
                after=after,
                limit=limit,
                order=order,
                max_items=max_items,
                wait_until_visible=wait_until_visible,
            )
            async with stream:
                await formats.write_all(_items(stream, shown, change), shown, write)

    with output.opened(output_file) as write:
        running.run(show(write))
    if screen.terminal:
        stderr.say(
            "the model's reply is not in this list: aiomessages show"
            f" {shlex.quote(completion_id)}{_local(connection)}"
        )


def _local(connection: Connection) -> str:
    """Return the option --local as it was given."""
    if connection.local is None:
        return ""
    return " --local" + ("" if connection.local == SAMPLE else f" {shlex.quote(connection.local)}")


async def _items(
    stream: "MessageStream", shown: formats.Format, change: Transform | None
) -> AsyncIterator[Any]:
    if shown.reads_raw:
        async for raw in stream.raw():
            yield raw
    else:
        async for message in stream:
            yield change(message.to_dict()) if change else message.to_dict()


# An error quotes at most so many characters of an expression.
_MAX_QUOTED = 80
_BY_EXPRESSION = ("sort_by", "min_by", "max_by", "map")  # the functions that take an &expression


def _compiled(expression: str | None) -> Transform | None:
    """Return the expression as a function. Raises UsageError if it can fit no message.

    Errors name the expression, also those of the function: some depend on the message.
    """
    if expression is None:
        return None
    quoted = expression if len(expression) <= _MAX_QUOTED else f"{expression[:_MAX_QUOTED]}…"
    named = f"--transform {quoted}"
    too_deep = UsageError(f"{named}: nested too deep")
    try:
        compiled = jmespath.compile(expression)
        _check({"type": "expression", "children": [compiled.parsed]})
    except RecursionError:
        raise too_deep from None
    except ValueError as error:  # JMESPathError is one
        reason = str(error).splitlines()[0].rstrip(":")
        raise UsageError(f"{named}: {reason}") from None

    def change(message: Any) -> Any:
        try:
            return compiled.search(message)
        except RecursionError:
            raise too_deep from None
        except (ArithmeticError, TypeError, ValueError) as error:
            raise CommandError(f"{named}: {error}") from None

    return change


def _check(node: dict[str, Any]) -> None:
    """Raise ValueError for a fault that jmespath itself reports only on some messages."""
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
