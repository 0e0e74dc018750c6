"""The program `aiomessages`: its commands, and the one place where an error becomes an exit code.

Each command is a module that is imported when it runs. Data goes to standard output, everything
else through `stderr.say`. The imports below need the extra `cli`, which `aiomessages.__main__`
checks.
"""

import logging
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from aiomessages import __version__

from . import exits, stderr
from .explain import lines_of
from .options import spelled_out

_EXAMPLES = """\
Examples:
  aiomessages demo                              try it: no key, no network
  aiomessages show chatcmpl-abc123              read one conversation
  aiomessages list chatcmpl-abc123 | jq .role   print JSON lines in a pipe
  aiomessages completions --since 3d            list the stored completions
  aiomessages export --all -o all.jsonl.gz      export every conversation
  aiomessages sync archive.db                   keep all of them, every day
  aiomessages search archive.db umbrella        find messages in the archive
  aiomessages view archive.db                   read the archive in the browser
  aiomessages serve                             run a local test server
  aiomessages doctor                            find out why no request succeeds
"""

app = App(
    name="aiomessages",
    help="Read the messages of stored chat completions.",
    version=f"aiomessages {__version__}",
    help_format="plaintext",
    help_epilogue=_EXAMPLES,
    suppress_keyboard_interrupt=False,
)
_COMMANDS = {
    "list": "Show the messages of a stored chat completion.",
    "show": "Show one conversation whole, with the model's reply.",
    "completions": "List the stored chat completions.",
    "search": "Find messages in an archive by their words.",
    "view": "Read an archive in the browser.",
    "export": "Export conversations to files, each exactly once.",
    "sync": "Keep every stored completion in one SQLite file that stays current.",
    "status": "Show the progress of an export, or what an archive holds.",
    "import": "Import conversations from files into an archive.",
    "serve": "Serve stored completions on this machine like the API.",
    "doctor": "Show the way to the API, try one request, and say what is wrong.",
    "demo": "Read and export the sample conversations, without a key or network.",
}
_MODULES = {"import": "import_files"}  # a module cannot have the name of a statement
for _name, _help in _COMMANDS.items():
    app.command(f"aiomessages.cli.{_MODULES.get(_name, _name)}:app", name=_name, help=_help)


# The shells complete the names; any other word gets an error that names a near one.
if TYPE_CHECKING:
    CommandName = str
else:
    CommandName = Literal[tuple(_COMMANDS)] | str


@app.command(name="help")
def show_help(
    command: Annotated[
        CommandName | None,
        Parameter(metavar="COMMAND", show_choices=False, help="Name of a command."),
    ] = None,
    /,
) -> None:
    """Show the help of a command, or of the program."""
    if command is not None and command not in _COMMANDS:
        near = get_close_matches(command, _COMMANDS, n=1)
        advice = f"did you mean {near[0]}? " if near else ""
        raise exits.UsageError(f"there is no command {command}", f"{advice}see aiomessages help")
    app.help_print([] if command is None else [command])


app.register_install_completion_command(help="Install completion for this shell.")


def run(tokens: Sequence[str]) -> int:
    """Run one command line and return its exit code. Standard error explains an error."""
    debug = "--debug" in tokens
    stderr.show_log(logging.DEBUG if debug else logging.WARNING)
    words = [word for word in tokens if word != "--debug"]
    try:
        return _run(words)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else exits.RUNTIME
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the outermost handler
        if debug:
            stderr.say_all("".join(traceback.format_exception(error)))
        if not isinstance(error, exits.ReaderGone):
            stderr.say(*lines_of(error, words))
        return exits.code_of(error)


def _run(tokens: Sequence[str]) -> int:
    result = app(
        spelled_out(tokens),
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    sys.stdout.flush()
    return result if isinstance(result, int) else exits.OK
