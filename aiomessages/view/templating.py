"""The templates: each value that they show is escaped, and one that they lack is an error."""

from pathlib import Path
from typing import Final

import jinja2

from .rendering.markdown import words_of
from .visible import exact, readable, short, visible

TEMPLATES: Final = Path(__file__).parent / "templates"


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
    made.filters |= {
        "exact": exact,
        "readable": readable,
        "short": short,
        "visible": visible,
        "words_of": words_of,
    }
    return made
