"""Read a page as a browser does, and find what our templates would never write."""

from __future__ import annotations

from html.parser import HTMLParser

ELEMENTS = frozenset(
    """html head meta title link script body a header p nav button footer main h1 h2 h3 dialog dl
    div dt dd kbd form label input search details summary section ul ol li span bdi mark time code
    svg rect line text table thead tbody tr th td strong em article aside figure pre blockquote
    del hr br img audio""".split()  # noqa: SIM905 - a list of words
)
ATTRIBUTES = frozenset(
    """lang charset name content rel href type src class id aria-label aria-current hidden
    aria-haspopup aria-labelledby role method action for value dir autocomplete spellcheck data-key
    data-item tabindex download datetime aria-hidden aria-describedby aria-invalid viewbox width
    height x y x1 x2 y1 y2 rx text-anchor preserveaspectratio scope data-copy data-marked open alt
    controls start title aria-live autofocus""".split()  # noqa: SIM905
)
VOID = {"meta", "link", "input", "hr", "br", "img"}


class Markup(HTMLParser):
    """The links, texts and names (<bdi>) of a page; `wrong` is what does not belong there."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.names: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        self.wrong += [f"<{tag}> is not closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at an element and its attributes."""
        in_a_drawing = "svg" in self._open
        if tag not in ELEMENTS and not (in_a_drawing and tag == "title"):
            self.wrong.append(f"<{tag}>")
        self.wrong += [f"{tag} {name}" for name, _ in attrs if name not in ATTRIBUTES]
        for name, value in attrs:
            if name in ("href", "src", "action"):
                self.links.append(value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at an element that is its own end, as in a drawing."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Close the last element, which has to be this one."""
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        """Keep the text, but that of sources: they are there to be copied as they are."""
        if "pre" not in self._open:
            self.texts.append(data)
        if "bdi" in self._open:
            self.names.append(data)

    def handle_comment(self, data: str) -> None:
        """Refuse comments: none is written."""
        self.wrong.append(f"<!--{data}-->")

    def unknown_decl(self, data: str) -> None:
        """Refuse what is no HTML."""
        self.wrong.append(data)

    def handle_pi(self, data: str) -> None:
        """Refuse processing instructions."""
        self.wrong.append(data)
