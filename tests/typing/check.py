"""Check the refusals: mypy finds an error on each marked line of `refused.py` and no other.

Run as a script, since one mypy run answers for all the lines. Its counterpart, `accepted.py`,
is checked by mypy itself along with the package.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mypy import api

REFUSED = Path(__file__).resolve().parent / "refused.py"
MARK = re.compile(r"# error: ([\w-]+)$")
REPORT = re.compile(r"refused\.py:(\d+): error: .*\[([\w-]+)\]$")


def marked() -> set[tuple[int, str]]:
    """Return line and error code of each mark."""
    lines = enumerate(REFUSED.read_text("utf-8").splitlines(), start=1)
    return {(number, mark[1]) for number, line in lines if (mark := MARK.search(line))}


def refused() -> set[tuple[int, str]]:
    """Return line and error code of each error that mypy finds."""
    report, complaint, _ = api.run([str(REFUSED), "--no-pretty"])
    if complaint:
        sys.exit(complaint)
    errors = (REPORT.search(line) for line in report.splitlines())
    return {(int(error[1]), error[2]) for error in errors if error}


def main() -> int:
    """Print each line on which mypy and the marks differ; return their number."""
    marks, errors = marked(), refused()
    for number, code in sorted(marks - errors):
        print(f"refused.py:{number}: marked {code}, and mypy does not report it")
    for number, code in sorted(errors - marks):
        print(f"refused.py:{number}: mypy reports {code}, which is not marked")
    print(f"{len(marks & errors)} of {len(marks)} marked lines are refused as marked")
    return len(marks ^ errors)


if __name__ == "__main__":
    sys.exit(main())
