"""Ask one question: `python -m benchmarks [QUESTION] [OPTIONS]`; without one, `walk`."""

from __future__ import annotations

import sys

from benchmarks import export, export_memory, lookahead, pace, walk

# A further question is a further file, with one row here.
QUESTIONS = {
    "walk": walk.main,
    "export": export.main,
    "pace": pace.main,
    "lookahead": lookahead.main,
    "memory": export_memory.main,
}


def main(arguments: list[str]) -> None:
    """Hand the options over to the question that is named first."""
    question, options = "walk", arguments
    if arguments and not arguments[0].startswith("-"):
        question, *options = arguments
    if question not in QUESTIONS:
        sys.exit(f"benchmarks: no question {question!r}; there are: {', '.join(QUESTIONS)}")
    QUESTIONS[question](options)


main(sys.argv[1:])
