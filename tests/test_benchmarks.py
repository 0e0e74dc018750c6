"""The benchmarks run: each question, at a size too small for its figures to matter."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytest.importorskip("openai", reason="the benchmarks compare with it")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="they ask Linux for the memory"),
    pytest.mark.unmeasured,
]

# Each question by itself, at its smallest size, and a word of its output.
TINY = {
    "walk --messages 40 --limits 0 20 --rounds 1": "own defaults",
    "shapes --messages 200 --rounds 1": "one odd in 100",
    "export --messages 2 --latencies 0 --concurrency 2 --rounds 1 --seconds 0.01"
    " --ramp-seconds 0.01": "conversations",
    "pace --rates 50 --latencies 0.01 --seconds 0.1 --concurrency 2": "10 ms",
    "memory --messages 10000": "peak MB",
    "prefetch --pages 2 --latency 1 --work 0 1 --rounds 1": "one after the other",
    "footprint --messages 200 --rounds 1": "bytes a message",
    "start --rounds 1": "first message",
    "lookahead --pages 3 --limit 2 --latency 0.001 --rounds 1": "plain ÷ it",
    "growth --lengths 100 200 --concurrency 1 2 --pages 4 --rounds 1": "at a time",
    "archive --messages 2000 --searches 2": "sync, nothing new: requests",
    "view --messages 2000 --times 2 --starts 2": "peak of the server",
    "ray --lengths 2 --formats jsonl.gz --pages 20 --growth-pages 20 --rounds 1 --runs 1"
    " --workers 1": "worker and pacer",
    "ray-pace --rates 50 --workers 1 --seconds 0.2 --rounds 1": "1 worker",
}
# Packages that the others do without; the session `ray_crash` installs them.
NEEDS = {"ray": "ray", "ray-pace": "ray"}


def benchmarks(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks as from a shell."""
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("question", TINY)
def test_each_question_can_be_asked(question: str) -> None:
    """Each question is measured and prints its table, whatever the figures are."""
    package = NEEDS.get(question.partition(" ")[0])
    if package and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    done = benchmarks(*question.split())
    assert done.returncode == 0, done.stderr
    assert TINY[question] in done.stdout


def test_claims_are_shown_with_their_targets_and_drawn(tmp_path: Path) -> None:
    """Without a question, each claim is in the table and in the file, and bars are drawn."""
    figures, picture = tmp_path / "all.json", tmp_path / "all.svg"
    few = ("--rounds", "1", "--scale", "0.002", "--json", str(figures))
    done = benchmarks(*few, "--only", "walk", "export", "archive")
    assert done.returncode == 0, done.stderr
    claims = json.loads(figures.read_bytes())["claims"]
    assert {claim["row"] for claim in claims} == {1, 2, 3, 10}
    for claim in claims:
        line = next(line for line in done.stdout.splitlines() if claim["subject"] in line)
        assert line.endswith("holds" if claim["holds"] else "falls short")
        keeps = claim["median"] >= claim["target"], claim["median"] <= claim["target"]
        assert claim["holds"] is keeps[claim["bound"] == "≤"]
    drawn = benchmarks("plot", str(figures), "-o", str(picture))
    assert drawn.returncode == 0, drawn.stderr
    shown = "".join(ET.parse(picture).getroot().itertext())  # noqa: S314 we drew it
    assert all(name in shown for name in ("aiomessages, raw", "openai + gather", "own defaults"))


def test_an_unknown_question_names_those_that_there_are() -> None:
    """A misspelled question is an error that names the nearest ones."""
    done = benchmarks("wlak")
    assert done.returncode == 1
    assert "no question 'wlak'" in done.stderr
    assert "walk" in done.stderr
