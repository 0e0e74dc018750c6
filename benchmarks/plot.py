"""Draw the figures that `python -m benchmarks --json FILE` has written: an SVG for light and dark.

`python -m benchmarks plot FILE -o docs/benchmarks.svg`. A bar is a median, and the thin line on it
reaches from the lowest to the highest figure.
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import export, held, start

WIDTH, LABELS, VALUES = 720, 210, 90  # pixels: the whole, the names, the figures
BARS = WIDTH - LABELS - VALUES
LINE, BAR, MARGIN = 22, 12, 10

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.note { fill: #59636e; font-size: 12px }
.ours { fill: #0969da }
.peer { fill: #afb8c1 }
.spread { stroke: #1f2328 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  .ours { fill: #4493f8 }
  .peer { fill: #656c76 }
  .spread { stroke: #f0f6fc }
}
"""


class Panel(NamedTuple):
    """One comparison: a title, a unit, and each contender's figures; less is better."""

    title: str
    unit: str
    figures: dict[str, list[float]]


def main(arguments: list[str]) -> None:
    """Draw the figures of a file."""
    options = parser().parse_args(arguments)
    document = json.loads(options.file.read_bytes())
    options.output.write_text(svg(panels(document["figures"]), note(document)), "utf-8")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks plot")
    parser.add_argument("file", type=Path, help="the file that --json has written")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/benchmarks.svg"))
    return parser


def panels(figures: dict[str, Any]) -> list[Panel]:
    """Return the panels for the measured questions."""
    drawn = [
        Panel(f"A walk, {title}: CPU a message", "µs", costs)
        for title, costs in figures.get("walk", {}).items()
    ]
    if runs := figures.get("export"):
        costs = _by(runs, "contender", lambda run: 1e6 * run["cpu"] / run["pages"])
        costs.pop(export.FROM_START, None)  # its rate depends on the length of the run
        title = "Many conversations of 100 messages, 64 at a time: CPU a page"
        drawn.append(Panel(title, "µs", costs))
    if peaks := figures.get("footprint"):
        parted = {tuple(name.split(", ")): each for name, each in peaks.items()}
        all_held = {name: each for (name, way), each in parted.items() if way == held.HELD}
        drawn.append(Panel("All messages of a conversation held: peak of memory", "MB", all_held))
    if runs := figures.get("start"):
        costs = _by(runs, "program", lambda run: 1e3 * run["cpu"])
        first = {"aiomessages": costs[start.OURS], "openai": costs[start.OPENAI]}
        drawn.append(Panel("A fresh process to its first message: CPU", "ms", first))
    return drawn


def _by(runs: list[dict[str, Any]], key: str, figure: Any) -> dict[str, list[float]]:
    names = dict.fromkeys(run[key] for run in runs)
    return {name: [figure(run) for run in runs if run[key] == name] for name in names}


def note(document: dict[str, Any]) -> list[str]:
    """Return the line with the machine and the number of rounds."""
    facts, rounds = document["environment"], document["settings"]["rounds"]
    versions = [f"{name} {facts[name]}" for name in VERSIONS if name in facts]
    machine = f"{facts['machine']}; medians, least and most of {rounds} interleaved rounds"
    return [machine, ", ".join([facts["python"], *versions])]


VERSIONS = ("aiomessages", "openai", "aiohttp", "msgspec", "pyreqwest")


def svg(panels: list[Panel], note: list[str]) -> str:
    """Render the panels, one below the other."""
    y, parts = MARGIN, []
    for panel in panels:
        y += LINE
        parts.append(_text(MARGIN, y, panel.title, "title"))
        longest = max(max(figures) for figures in panel.figures.values())
        for name, figures in panel.figures.items():
            y += LINE
            parts += _bar(y, name, figures, BARS / longest, panel.unit)
        y += LINE // 2
    for words in note:
        y += LINE
        parts.append(_text(MARGIN, y, words, "note"))
    size = f'viewBox="0 0 {WIDTH} {y + LINE}" width="{WIDTH}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    label = "<title>What aiomessages costs beside other clients; less is better</title>"
    return "\n".join([head, label, f"<style>{STYLE}</style>", *parts, "</svg>\n"])


def _bar(y: int, name: str, figures: list[float], scale: float, unit: str) -> list[str]:
    """Render one line: the name, the bar of the median with its spread, the figure."""
    kind = "peer" if "openai" in name or "msgspec" in name or "gather" in name else "ours"
    least, middle, most = (LABELS + scale * of(figures) for of in (min, median, max))
    top, centre, shape = y - BAR + 1, y - BAR / 2 + 1, f'height="{BAR}" rx="2"'
    return [
        _text(MARGIN, y, name, "name"),
        f'<rect class="{kind}" x="{LABELS}" y="{top}" width="{middle - LABELS:.1f}" {shape}/>',
        f'<line class="spread" x1="{least:.1f}" x2="{most:.1f}" y1="{centre}" y2="{centre}"/>',
        _text(most + 8, y, f"{_short(median(figures))} {unit}", "name"),
    ]


def _short(figure: float) -> str:
    """Return the figure with three digits, or all digits before the point."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def _text(x: float, y: int, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}">{escape(words)}</text>'
