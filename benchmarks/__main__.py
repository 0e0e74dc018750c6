"""Run one question: `python -m benchmarks [QUESTION] [OPTIONS]`; without one, all claims.

`python -m benchmarks plot FILE` draws the figures that `--json FILE` of all questions has written.
"""

from __future__ import annotations

import sys
from importlib import import_module

# A further question is a further file, with one row here.
QUESTIONS = {
    "all": "targets",
    "walk": "walk",
    "shapes": "shapes",
    "export": "export",
    "pace": "pace",
    "lookahead": "lookahead",
    "memory": "export_memory",
    "prefetch": "prefetch",
    "footprint": "footprint",
    "start": "start",
    "growth": "growth",
    "archive": "archive",
    "view": "view",
    "ray": "cluster",
    "ray-pace": "cluster_pace",
    "plot": "plot",
}


def main(arguments: list[str]) -> None:
    """Run the question that is named first, with the other options."""
    question, options = "all", arguments
    if arguments and not arguments[0].startswith("-"):
        question, *options = arguments
    if question not in QUESTIONS:
        sys.exit(f"benchmarks: no question {question!r}; there are: {', '.join(QUESTIONS)}")
    import_module(f"benchmarks.{QUESTIONS[question]}").main(options)


main(sys.argv[1:])
