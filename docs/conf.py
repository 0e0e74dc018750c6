"""Build the site of these pages by Sphinx, MyST and Furo: `python3 noxfile.py -s site`."""

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

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "extensions.llms",
    "extensions.names",
    "extensions.values",
]
nitpicky = True  # a reference that leads nowhere is a warning, and the session makes it an error
# Names of other packages stay text: links to them would need requests to other sites.
OTHER_PACKAGES = (
    "aiohttp|anyio|asyncio|collections|contextlib|datetime|fastapi|markupsafe|msgspec|multidict"
    "|opentelemetry|os|pathlib|pytest|ssl|starlette|types|typing|web"
)
# Types of arguments and results that no user imports.
NOT_IMPORTED = (
    "ClientCert|ClientOptions|Count|Dataset|ExportOptions|Faults|Files|Messages|PageIterator"
    "|PageStream|Path|Self|Source|StrPath|TokenCredential|TracebackType|UnsetType"
)
nitpick_ignore_regex = [
    ("py:class", r"integer -- .*"),  # the signature in Python's docstrings of Sequence
    ("py:.*", rf"({OTHER_PACKAGES})\..*"),
    ("py:.*", rf"(.*\.)?({NOT_IMPORTED})"),
    ("py:.*", r"'.*'"),  # the strings of a Literal
    ("py:.*", r"(.*\.)?[A-Z]\w*T(_co)?"),  # type variables
    ("py:obj", r".*"),  # `code` in a docstring, which is a link if it is a public name
]

myst_heading_anchors = 3
myst_links_external_new_tab = False
default_role = "name"  # from extensions.names: `code` is code, and a link if it is a public name

autodoc_mock_imports = ["pyarrow", "ray"]  # large, and no class that is shown is one of theirs
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
html_favicon = "../aiomessages/view/static/icon.svg"
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_domain_indices = False
highlight_language = "none"


def setup(app: Sphinx) -> None:
    """Replace the lexer of `sh`, which would colour `export` as a shell's builtin."""
    app.add_lexer("sh", TextLexer)
    app.add_lexer("jsonl", JsonLexer)
