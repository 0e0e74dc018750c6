"""The entry point of the console script and of `python -m aiomessages`.

It answers `--version` by itself, for speed, and names the extra that the program needs. Everything
else is in `aiomessages.cli`.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from ._version import __version__

_EXTRA = ("cyclopts", "jmespath", "rich")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code; argv is the command line without the program."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words == ["--version"]:
        print(f"aiomessages {__version__}")  # noqa: T201 - this is the program
        return 0
    try:
        for name in _EXTRA:  # some are imported late, in the middle of a command
            import_module(name)
        from .cli import run  # noqa: PLC0415 - it costs 200 ms and needs the extra
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.stderr.write(
            "aiomessages: the command line needs an extra\n  pip install 'aiomessages[cli]'\n"
        )
        return 2
    except KeyboardInterrupt:  # the imports take long enough to be interrupted
        return 130
    return run(words)


if __name__ == "__main__":
    sys.exit(main())
