"""The templates: each value that they show is escaped, and one that they lack is an error."""

from pathlib import Path
from typing import Final

import jinja2

from .visible import exact, readable, short, visible

TEMPLATES: Final = Path(__file__).parent / "templates"


def _words_of(text: str) -> str:
    """Return a title as `rendering.markdown` writes it, which is loaded when a page has one."""
    from .rendering.markdown import words_of  # noqa: PLC0415

    return words_of(text)


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
        "words_of": _words_of,
    }
    return made
