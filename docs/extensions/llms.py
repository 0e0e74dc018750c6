"""Write the site for programs that read: llms.txt, llms-full.txt, and the Markdown of each page.

`llms.txt` (https://llmstxt.org) lists the pages by the captions of the index, each with its title
and its first sentence, so that it says what the pages say. `llms-full.txt` has their text. Pages
whose content Sphinx makes, such as the reference, have no Markdown: links lead to their HTML.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docutils import nodes
from sphinx.addnodes import toctree
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

# The caption whose pages a short answer can leave out, and the name that the format has for it.
OPTIONAL: Final = {"Project": "Optional"}
MADE_BY_SPHINX: Final = re.compile(r"^```\{(?:eval-rst|include)\}", re.MULTILINE)
# Comments and lists of pages, which no reader sees.
UNSEEN: Final = re.compile(r"<!--.*?-->\n+|^```\{toctree\}.*?^```\n+", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"(?<=\]\()([\w./-]+\.(?:md|png|svg))(?=[#)])")
SENTENCE: Final = re.compile(r".+?\.(?=\s|$)")


class Pages:
    """The pages of the site as text, and what is said about each."""

    def __init__(self, env: BuildEnvironment) -> None:
        self._env = env
        sources = {page: Path(env.doc2path(page)).read_text("utf-8") for page in env.found_docs}
        self._texts = {p: t for p, t in sources.items() if not MADE_BY_SPHINX.search(t)}

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the pages that have Markdown."""
        return iter(self._texts)

    def __contains__(self, page: object) -> bool:
        return page in self._texts

    def markdown(self, page: str, *, at: str) -> str:
        """Return the Markdown of a page, with links as they are from the place `at` of the site."""
        seen = UNSEEN.sub("", self._texts[page]).rstrip() + "\n"
        return LINK.sub(lambda link: self._moved(link[1], page, at), seen)

    def _moved(self, link: str, page: str, at: str) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
        name, ending = posixpath.splitext(target)
        if ending != ".md":
            target = f"_images/{posixpath.basename(target)}"  # where Sphinx puts them
        elif name not in self:
            target = f"{name}.html"
        return posixpath.relpath(target, posixpath.dirname(at) or ".")

    def entry(self, page: str) -> str:
        """Return the line of a page: a link with its title, and its first sentence."""
        ending = "md" if page in self else "html"
        title = self._env.titles[page].astext()
        return f"- [{title}]({page}.{ending}): {self.first_sentence(page)}"

    def first_sentence(self, page: str) -> str:
        """Return the sentence that a page begins with; raise ExtensionError without one."""
        section = next(self._env.get_doctree(page).findall(nodes.section))
        begin = section[1] if len(section) > 1 else None
        if not isinstance(begin, nodes.paragraph):
            raise ExtensionError(f"{page} begins with no sentence, and llms.txt needs one")
        said = begin.astext().replace("\n", " ")
        return found[0] if (found := SENTENCE.match(said)) else said.rstrip(":") + "."

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the captions of the index, each with its pages and those that they list."""
        below = self._env.toctree_includes
        for tree in self._env.get_doctree("index").findall(toctree):
            listed = [page for page in tree["includefiles"] if page != "index"]
            yield tree["caption"], [p for page in listed for p in (page, *below.get(page, []))]


def write(app: Sphinx, failure: Exception | None) -> None:
    """Write the files into the built site."""
    if failure or app.builder.format != "html":
        return
    pages, site = Pages(app.env), Path(app.outdir)
    for page in pages:
        (site / f"{page}.md").write_text(pages.markdown(page, at=page), "utf-8")
    lists = [f"# {app.config.project}\n\n> {pages.first_sentence('index')}"]
    texts = [pages.markdown("index", at="index")]
    for caption, listed in pages.sections():
        entries = "\n".join(map(pages.entry, listed))
        lists.append(f"## {OPTIONAL.get(caption, caption)}\n\n{entries}")
        texts += [pages.markdown(page, at="index") for page in listed if page in pages]
    (site / "llms.txt").write_text("\n\n".join(lists) + "\n", "utf-8")
    (site / "llms-full.txt").write_text("\n".join(texts), "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hook with Sphinx."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
