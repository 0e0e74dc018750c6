"""The templates: each value that they show is escaped, and one that they lack is an error."""

from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from .visible import exact, readable, visible

TEMPLATES: Final = Path(__file__).parent / "templates"


def _pretty(text: str) -> Markup:
    """Return JSON as `rendering.blocks` shows it, which is loaded when a page has some."""
    from .rendering.blocks import pretty  # noqa: PLC0415

    return pretty(text)


def environment() -> jinja2.Environment:
    """Return a new environment of the templates, with the filters for hostile text."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"visible": visible, "readable": readable, "exact": exact, "pretty": _pretty}
    return made
