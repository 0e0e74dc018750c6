"""Read a page as a browser does, and find what our templates would never write.

`Page` accepts the elements, attributes and addresses that messages are written with, and no others;
with `of_lists` those of the pages of lists and charts as well.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

_EVERYWHERE: Final = frozenset({"class", "dir", "id", "lang"})
_LINK: Final = frozenset({"href", "rel", "aria-label", "aria-current", "data-key", "download"})
# The attributes of each element that a page or a message may have.
ELEMENTS: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(
        """html head title body p header footer main nav h1 h2 h3 h4 h5 h6 ul li dl div dt dd span
        bdi b strong em s del blockquote figure figcaption code summary kbd thead tbody tr br
        hr""".split(),  # noqa: SIM905 - a list of words
        frozenset[str](),
    ),
    "a": _LINK,
    "article": frozenset({"data-item", "tabindex", "aria-labelledby", "data-marked", "autofocus"}),
    "audio": frozenset({"src", "controls", "preload", "aria-label"}),
    "button": frozenset({"type", "hidden", "data-copy", "aria-label", "aria-haspopup"}),
    "details": frozenset({"open"}),
    "dialog": frozenset({"aria-labelledby"}),
    "form": frozenset({"method"}),
    "img": frozenset({"src", "alt", "loading"}),
    "link": frozenset({"rel", "href"}),
    "main": frozenset({"tabindex"}),
    "meta": frozenset({"charset", "name", "content"}),
    "nav": frozenset({"aria-label"}),
    "ol": frozenset({"start"}),
    "p": frozenset({"role"}),
    "pre": frozenset({"tabindex"}),
    "script": frozenset({"type", "src"}),
    "section": frozenset(),
    "table": frozenset({"tabindex"}),
    "td": frozenset(),
    "th": frozenset(),
    "time": frozenset({"datetime"}),
}
_SHAPE: Final = frozenset({"x", "y", "width", "height", "rx"})
_OF_LISTS: Final[dict[str, frozenset[str]]] = {
    "search": frozenset(),
    "mark": frozenset(),
    "form": frozenset({"method", "action"}),
    "label": frozenset({"for"}),
    "input": frozenset(
        """name type value autocomplete spellcheck data-key aria-describedby
        aria-invalid""".split()  # noqa: SIM905
    ),
    "a": _LINK | {"data-item", "tabindex"},
    "ul": frozenset({"aria-label"}),
    "div": frozenset({"role", "tabindex", "aria-label", "aria-labelledby", "aria-hidden"}),
    "section": frozenset({"aria-labelledby"}),
    "span": frozenset({"aria-hidden"}),
    "th": frozenset({"scope"}),
    "svg": _SHAPE | {"viewbox", "preserveaspectratio", "aria-hidden"},
    "rect": _SHAPE,
    "text": frozenset({"x", "y", "text-anchor"}),
    "line": frozenset({"x1", "x2", "y1", "y2"}),
}
_CLASS: Final = re.compile(r"[a-z0-9 -]{0,60}")
_ID: Final = re.compile(r"(?:[a-z-]+|(?:m|who|source|json)\d+)")
_VOID: Final = frozenset({"meta", "link", "input", "hr", "br", "img"})
_WEB: Final = re.compile(r"(?:(?i:https?|mailto):)[^\x00-\x20\\]*")
_OWN: Final = re.compile(r"(?:\./|(?:\.\./)+|#|\?)[^\x00-\x20]*")
_DATA: Final = re.compile(
    r"data:(?:image/(?:png|jpeg|gif|webp|avif|bmp)|audio/\w+);base64,[A-Za-z0-9+/=\s]*"
)


class Page(HTMLParser):
    """The texts and links of a page or a part of one; `wrong` says what none of ours has.

    `names` are the texts in <bdi>, and `outside` those that are in no <pre>.
    """

    def __init__(self, html: str, *, of_lists: bool = False) -> None:
        super().__init__()
        self._elements = ELEMENTS | _OF_LISTS if of_lists else ELEMENTS
        self.wrong: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.texts: list[str] = []
        self.outside: list[str] = []
        self.names: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.wrong += [f"<{tag}> is not closed" for tag in self._open]

    @property
    def text(self) -> str:
        """All text of the page."""
        return "".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at an element and its attributes."""
        allowed = self._elements.get(tag)
        if allowed is None:
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            if allowed is not None and name not in allowed | _EVERYWHERE:
                self.wrong.append(f"{tag} {name}")
            self._look_at(tag, name, value or "")
        if tag not in _VOID:
            self._open.append(tag)

    def _look_at(self, tag: str, name: str, value: str) -> None:
        if name in ("href", "action"):
            self.links.append(value)
            if not (_OWN.fullmatch(value) or (tag == "a" and _WEB.fullmatch(value))):
                self.wrong.append(f"{tag} {name}={value}")
        if name == "src":
            self.sources.append(value)
            if not (_OWN.fullmatch(value) or _DATA.fullmatch(value)):
                self.wrong.append(f"{tag} {name}={value[:80]}")
        if name == "class" and not _CLASS.fullmatch(value):
            self.wrong.append(f"class={value}")
        if name in ("id", "data-copy") and not _ID.fullmatch(value):
            self.wrong.append(f"{name}={value}")
        if name == "dir" and value not in ("auto", "ltr"):
            self.wrong.append(f"dir={value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at an element that is its own end, as in a drawing."""
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Close the last element, which has to be this one."""
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        """Keep the text; a script has none."""
        self.texts.append(data)
        if "pre" not in self._open:
            self.outside.append(data)
        if "bdi" in self._open:
            self.names.append(data)
        if self._open[-1:] in (["script"], ["style"]) and data.strip():
            self.wrong.append(f"<{self._open[-1]}> with text")

    def handle_comment(self, data: str) -> None:
        """Refuse comments: none is written."""
        self.wrong.append(f"<!--{data}-->")

    def unknown_decl(self, data: str) -> None:
        """Refuse what is no HTML."""
        self.wrong.append(data)

    def handle_pi(self, data: str) -> None:
        """Refuse processing instructions."""
        self.wrong.append(data)
