"""The program `aiomessages`: its commands, and the one place where an error becomes an exit code.

Each command is a module that is imported when it runs. Data goes to standard output, everything
else through `stderr.say`. The imports below need the extra `cli`, which `aiomessages.__main__`
checks.
"""

import logging
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, Argument, CycloptsError
from cyclopts.exceptions import MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from aiomessages import __version__
from aiomessages.errors import MessagesError

from . import exits, stderr
from .archive_names import archive_among
from .options import (
    database_of_local,
    in_options,
    spelled_out,
    taken_for_an_argument,
)

_EXPECTED = (MessagesError, exits.UsageError, exits.CommandError)

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
_READING = {"list", "show", "completions", "export"}  # those with --local that name no archive
_MODULES = {"import": "import_files"}  # a module cannot have the name of a statement
for _name, _help in _COMMANDS.items():
    app.command(f"aiomessages.cli.{_MODULES.get(_name, _name)}:app", name=_name, help=_help)
app.register_install_completion_command(help="Install completion for this shell.")


def run(tokens: Sequence[str]) -> int:
    """Run one command line and return its exit code. An error becomes a line on standard error."""
    debug = "--debug" in tokens
    stderr.show_log(logging.DEBUG if debug else logging.WARNING)
    try:
        return _run([word for word in tokens if word != "--debug"])
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else exits.RUNTIME
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the outermost handler
        if debug:
            stderr.say_all("".join(traceback.format_exception(error)))
        _explain(error, tokens)
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


def _explain(error: BaseException, tokens: Sequence[str]) -> None:
    if isinstance(error, exits.ReaderGone):
        return
    if isinstance(error, CycloptsError):
        command = " ".join(["aiomessages", *(error.command_chain or ())])
        stderr.say(f"{_usage(error, tokens)} (see {command} --help)")
    elif isinstance(error, KeyboardInterrupt):
        stderr.say("interrupted")
    elif isinstance(error, _EXPECTED):
        said = in_options(str(error))
        # Only `list` can wait.
        stderr.say(said if "list" in tokens[:1] else said.replace(": see --wait-until-visible", ""))
    else:
        stderr.say(f"unexpected {type(error).__name__}: {error} (--debug shows where)")


def _usage(error: CycloptsError, tokens: Sequence[str]) -> str:
    """Return the fault of the command line, without a value that may be a secret."""
    if isinstance(error, UnusedCliTokensError):
        return _too_many(error.unused_tokens or (), tokens)
    if isinstance(error, MissingArgumentError) and error.argument and error.keyword is None:
        return _missing(error.argument, tokens)
    said = str(error).partition(" Available commands: ")[0]  # --help lists them
    if isinstance(error, UnknownOptionError):
        given = error.token.keyword or error.token.value
        said = said.replace(given, given.partition("=")[0])
    return said.rstrip(".")


def _too_many(unused: Sequence[str], tokens: Sequence[str]) -> str:
    said = f"too many arguments: {' '.join(unused)}"
    if word := taken_for_an_argument(tokens):
        return f"{said}; --local {word}: there is no such database"
    if tokens[0] in _READING and (archive := archive_among(tokens)):
        return f"{said}; write --local {archive} to read that archive"
    return said


def _missing(argument: Argument, tokens: Sequence[str]) -> str:
    """Return what is missing; an argument that may also be an option is called an argument."""
    metavar = argument.parameter.metavar
    if argument.index is None:
        return f"{argument.name} {metavar} is missing"
    database = database_of_local(tokens)
    if metavar == "COMPLETION_ID":
        local = f" --local {database}" if database else ""
        return f"{metavar} is missing: `aiomessages completions{local}` lists the ids"
    if metavar == "ARCHIVE" and database:
        return f"{metavar} is missing: --local took {database}, so write it in front of --local"
    return f"{metavar} is missing"
