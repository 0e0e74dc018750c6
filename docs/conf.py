"""How the pages become a site, by Sphinx, MyST and Furo: `python3 noxfile.py -s site`."""

import sys
from pathlib import Path

from pygments.lexers.data import JsonLexer
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

project = "aiomessages"
author = "the aiomessages developers"
project_copyright = author
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "extensions.names", "extensions.values"]
nitpicky = True  # a reference that leads nowhere is a warning, and the session makes it an error
# What is not ours stays text: to link it, the build would have to ask other sites.
NOT_OURS = (
    "aiohttp|anyio|asyncio|collections|contextlib|datetime|fastapi|msgspec|opentelemetry|os|pathlib"
    "|pytest|starlette|types|typing|web"
)
# What our own calls take and return, and nobody imports.
UNNAMED = (
    "ClientOptions|Count|ExportOptions|Faults|Files|Messages|PageIterator|PageStream|Path|Self"
    "|Source|TracebackType|UnsetType"
)
nitpick_ignore_regex = [
    ("py:.*", rf"({NOT_OURS})\..*"),
    ("py:.*", rf"(.*\.)?({UNNAMED})"),
    ("py:.*", r"'.*'"),  # the words of a Literal
    ("py:.*", r"(.*\.)?[A-Z]\w*T(_co)?"),  # type variables
    ("py:obj", r".*"),  # `code` in a docstring, which is a link where it names something of ours
]

myst_heading_anchors = 3
myst_links_external_new_tab = False
default_role = "name"  # of extensions.names: `code` is code, and a link where it can be one

autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
maximum_signature_line_length = 72
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
python_display_short_literal_types = True

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "aiomessages"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_domain_indices = False
highlight_language = "none"


def setup(app: Sphinx) -> None:
    """Name two of Pygments' lexers anew: a shell's would colour `aiomessages export` as its own."""
    app.add_lexer("console", TextLexer)
    app.add_lexer("jsonl", JsonLexer)
