"""Link every mention of a public name in a docstring to its documentation.

Docstrings of the package name errors in plain words, and write `code` as Markdown does.
"""

import builtins
import re
from collections import Counter
from typing import Any, Final

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxRole

from .public import public_names

_COUNTS: Final = Counter(name for name, _ in public_names())
# A name that two modules have is linked only within those modules.
UNIQUE: Final = {name: module for name, module in public_names() if _COUNTS[name] == 1}
# A capital inside the word distinguishes a name from an English word.
_CAMEL: Final = [name for name in UNIQUE if name[1:] != name[1:].lower()]
_NAME: Final = re.compile(
    rf"(`[^`]*`)|(?<![\w.])((?:{'|'.join(_CAMEL)})(?:\.[a-z]\w*)*)(?!\w)"  # not in code
)
_DOTTED: Final = re.compile(r"[A-Za-z_][\w.]*(\(\))?")


class CodeRole(SphinxRole):
    """`code` as Markdown means it, and a link if it is a public name."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return a reference for a possible name, and plain code for any other text."""
        if _DOTTED.fullmatch(self.text):
            named = self.env.domains.python_domain.role("obj")
            return named("py:obj", self.rawtext, self.text, self.lineno, self.inliner)
        return [nodes.literal(self.rawtext, self.text)], []


def link_names(*event: Any) -> None:
    """Turn each public name in a docstring's plain words into a reference."""
    lines: list[str] = event[-1]  # the last argument of autodoc-process-docstring
    text = _NAME.sub(lambda found: found[1] or f"`{found[2]}`", "\n".join(lines))
    lines[:] = text.split("\n")


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element
) -> nodes.Node | None:
    """Find a public name that is referred to without its module."""
    target = node.get("reftarget", "")
    module = UNIQUE.get(target.partition(".")[0])
    return module and env.domains.python_domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"{module}.{target}", node, contnode
    )


class PlainBuiltins(SphinxPostTransform):
    """Leave `object` in an annotation unlinked, as it is no attribute of that name."""

    default_priority = 5  # before references are resolved

    def run(self, **_: object) -> None:
        """Replace each reference to a builtin type by its text."""
        for node in list(self.document.findall(pending_xref)):
            if node["reftype"] == "class" and hasattr(builtins, node["reftarget"]):
                node.replace_self(nodes.Text(node["reftarget"]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role and the hooks with Sphinx."""
    app.connect("autodoc-process-docstring", link_names)
    app.connect("missing-reference", resolve)
    app.add_role("name", CodeRole())
    app.add_post_transform(PlainBuiltins)
    return {"parallel_read_safe": True}
