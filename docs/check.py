"""Check the built site, `python docs/check.py build/site`: one line for each fault, exit code 1.

Sphinx checks its own references; this program reads a page as a browser does. A page must load
nothing from other hosts, every link within the site must have a target, every public name and field
must be described, and llms.txt must list every page.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from extensions.fields import public_fields
from extensions.public import public_names

# The attributes and links that a browser loads by itself; a person follows other links.
LOADING: Final = {"src", "srcset", "poster", "data"}
LOADING_LINKS: Final = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "manifest"}
# Patterns of an address that a style sheet or a script would load.
IN_STYLES: Final = re.compile(r"(?:url\(|@import)\s*[\"']?\s*((?:https?:)?//[^\"')\s]+)")
IN_SCRIPTS: Final = re.compile(r"[\"'`]((?:https?:)?//[\w.-]+\.\w+[^\"'`\s]*)")
NAMESPACES: Final = ("http://www.w3.org/",)  # names of XML, which no browser loads
# The link of a text in Markdown to another file of the site, without its anchor.
IN_MARKDOWN: Final = re.compile(r"\]\(([\w./-]+\.\w+)(?:#[^)\s]*)?\)")
MADE_BY_SPHINX: Final = {"genindex", "search"}


class Page(HTMLParser):
    """A page: the URLs that it loads, its links, its anchors, and what it describes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.described: set[str] = set()
        self._names: list[list[str]] = []  # of the entries of the reference that are open
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the URLs and anchors of a start tag."""
        given = {name: value or "" for name, value in attrs}
        self.anchors.update(filter(None, [given.get("id"), given.get("name")]))
        self.loaded += [given[name] for name in LOADING & given.keys()]
        self.loaded += IN_STYLES.findall(given.get("style", ""))
        if tag == "link" and LOADING_LINKS & set(given.get("rel", "").split()):
            self.loaded.append(given["href"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "dl":
            self._names.append([])
        elif tag == "dt" and self._names and given.get("id"):
            self._names[-1].append(given["id"])
        elif tag == "p" and self._names:  # the first element of a description
            self.described.update(self._names[-1])

    def handle_endtag(self, tag: str) -> None:
        """Note the end of an entry."""
        if tag == "dl":
            self._names.pop()


def faults(site: Path) -> Iterator[str]:
    """Yield the faults of the site, one sentence each."""
    pages = {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}
    for name, page in sorted(pages.items()):
        yield from (f"{name} loads {url}" for url in page.loaded if _is_elsewhere(url))
        yield from (f"{name} links to {url}" for url in page.links if _is_broken(url, name, pages))
    for pattern, found in (("*.css", IN_STYLES), ("*.js", IN_SCRIPTS)):
        for path in sorted(site.rglob(pattern)):
            loaded = found.findall(path.read_text("utf-8"))
            yield from (
                f"{path.name} loads {url}" for url in loaded if not url.startswith(NAMESPACES)
            )
    yield from _faults_for_programs(site, pages)
    described = set().union(*(page.described for page in pages.values()))
    names = [f"{module}.{name}" for name, module in public_names()]
    for name in (*names, *public_fields({*names, *described})):
        if name not in described:
            yield f"the reference does not describe {name}"


def _faults_for_programs(site: Path, pages: Iterable[str]) -> Iterator[str]:
    """Yield the faults of llms.txt and of the Markdown: links without a target, missing pages."""
    lists = site / "llms.txt"
    if not lists.exists():
        yield "there is no llms.txt"
        return
    for path in (lists, *sorted(site.rglob("*.md"))):
        for link in IN_MARKDOWN.findall(path.read_text("utf-8")):
            if not (path.parent / link).is_file():
                yield f"{path.relative_to(site)} links to {link}"
    listed = {link.rpartition(".")[0] for link in IN_MARKDOWN.findall(lists.read_text("utf-8"))}
    for name in sorted({page.removesuffix(".html") for page in pages} - listed - MADE_BY_SPHINX):
        if name != "index":  # which the list itself stands for
            yield f"llms.txt does not list {name}"


def _is_elsewhere(url: str) -> bool:
    return bool(urlsplit(url).netloc)


def _is_broken(url: str, page: str, pages: dict[str, Page]) -> bool:
    """Return whether a link within the site has no target; links to other sites are not checked."""
    parts = urlsplit(urljoin(page, url))
    if parts.scheme or parts.netloc:
        return False
    target = pages.get(unquote(parts.path))
    return target is None or unquote(parts.fragment) not in target.anchors


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    sys.exit("\n".join(found) if found else None)
