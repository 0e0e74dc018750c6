"""Check the built site, `python docs/check.py build/site`: one line for each fault, exit code 1.

Sphinx knows its own references; here a page is read as a browser reads it. What it loads must come
from the site, every link within the site must lead somewhere, and every public name must be there.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from extensions.public import public_names

# What a browser loads by itself, where a link is followed by a person.
LOADING: Final = {"src", "srcset", "poster", "data"}
LOADING_LINKS: Final = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "manifest"}
# Behind these stands an address that a style sheet or a script would load.
IN_STYLES: Final = re.compile(r"(?:url\(|@import)\s*[\"']?\s*((?:https?:)?//[^\"')\s]+)")
IN_SCRIPTS: Final = re.compile(r"[\"'`]((?:https?:)?//[\w.-]+\.\w+[^\"'`\s]*)")
NAMESPACES: Final = ("http://www.w3.org/",)  # names of XML, which nobody loads


class Page(HTMLParser):
    """A page: what it loads, where its links lead, and which places it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = {""}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a start tag says."""
        given = {name: value or "" for name, value in attrs}
        self.places.update(filter(None, [given.get("id"), given.get("name")]))
        self.loaded += [given[name] for name in LOADING & given.keys()]
        self.loaded += IN_STYLES.findall(given.get("style", ""))
        if tag == "link" and LOADING_LINKS & set(given.get("rel", "").split()):
            self.loaded.append(given["href"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


def faults(site: Path) -> Iterator[str]:
    """Yield what is wrong with the site, one sentence each."""
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
    documented = set().union(*(page.places for page in pages.values()))
    for name, module in public_names():
        if f"{module}.{name}" not in documented:
            yield f"the reference has no {module}.{name}"


def _is_elsewhere(url: str) -> bool:
    return bool(urlsplit(url).netloc)


def _is_broken(url: str, page: str, pages: dict[str, Page]) -> bool:
    """Tell whether a link of a page leads to no place of the site; others are not asked."""
    parts = urlsplit(urljoin(page, url))
    if parts.scheme or parts.netloc:
        return False
    target = pages.get(unquote(parts.path))
    return target is None or unquote(parts.fragment) not in target.places


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    sys.exit("\n".join(found) if found else None)
