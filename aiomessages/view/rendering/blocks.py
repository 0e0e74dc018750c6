# ruff: noqa: S704 - each call has a constant of this module, and format() escapes the values
"""Each part of a message as HTML. Every value passes through `Markup.format`, which escapes it."""

from collections.abc import Callable
from functools import singledispatchmethod
from typing import Any, Final

from markupsafe import Markup

from aiomessages.view.visible import exact, visible

from .documents import laid_out
from .highlight import highlighted
from .markdown import host_of, markdown, plain
from .media import Medium
from .parts import Call, Citation, Document, File, Left, Refusal, RemoteImage, Text

MOST: Final = 20_000  # characters of a text that are shown
_OPEN_LINES: Final = 6  # of a document that is shown at once
_PREVIEW: Final = 80  # characters of one that is folded
# As Markdown, or in colours; what comes then is shown without.
ALLOWANCE: Final = 200_000
_NOT_MARKDOWN: Final = frozenset({"tool", "function"})


class Blocks:
    """Writes the parts of messages, and counts how much was formatted, so that a page stays quick.

    `medium` returns the address of a medium in a message, if the page has one; `whole` is the
    address of all text of the message.
    """

    def __init__(
        self,
        *,
        medium: Callable[[int], str] | None = None,
        whole: str | None = None,
        role: str = "",
        allowance: list[int] | None = None,
    ) -> None:
        self._medium = medium
        self._whole = whole
        self._role = role
        self._left = [ALLOWANCE] if allowance is None else allowance

    @singledispatchmethod
    def write(self, part: Any) -> Markup:
        """Return a part as HTML."""
        raise TypeError(part)

    @write.register
    def _(self, part: Text) -> Markup:
        document = laid_out(part.text) if self._may_format(part.text) else None
        if document is not None:
            return self._folded(document, "JSON")
        text = part.text[:MOST]
        format_ = plain if self._role in _NOT_MARKDOWN or not self._may_format(text) else markdown
        self._left[0] -= len(text)
        return format_(text) + self._cut(part.text)

    @write.register
    def _(self, part: Refusal) -> Markup:
        block = '<div class="refusal"><p class="label">Refused</p>{}</div>'
        return Markup(block).format(self.write(Text(part.text)))

    @write.register
    def _(self, part: Document) -> Markup:
        return self._json(part.text, part.title)

    @write.register
    def _(self, part: Call) -> Markup:
        """Write what a tool is given; its name is the title of the call."""
        return self._json(part.given, "Arguments") if part.given else Markup("")

    @write.register
    def _(self, part: RemoteImage) -> Markup:
        host = host_of(part.url)
        if host is None:
            note = '<p class="label">An image at an address that is no link: <code>{}</code></p>'
            return Markup(note).format(exact(part.url[: _PREVIEW * 4]))
        link = '<p class="label">Image: <a href="{}" rel="noreferrer noopener">{}</a> '
        return Markup(link + '<span class="leads">({})</span></p>').format(
            part.url, exact(part.url[: _PREVIEW * 4]), host
        )

    @write.register
    def _(self, part: Medium) -> Markup:
        type, size = part.type, _size(part.size)
        label = ", ".join(filter(None, [visible(part.name), type, size]))
        if type is None:
            note = '<p class="label">A file that is not shown here: {}</p>'
            return Markup(note).format(label)
        url = self._medium(part.k) if self._medium else f"data:{type};base64,{part.encoded}"
        if type.startswith("image/"):
            figure = '<figure class="medium"><img src="{}" alt="{}" loading="lazy"></figure>'
            return Markup(figure).format(url, f"Image of this message ({label})")
        figure = '<figure class="medium"><audio src="{}" controls preload="none" aria-label="{}">'
        figure += "</audio><figcaption>{}</figcaption></figure>"
        return Markup(figure).format(url, f"Sound of this message ({label})", label)

    @write.register
    def _(self, part: File) -> Markup:
        note = '<p class="label">File: <bdi><code>{}</code></bdi></p>'
        return Markup(note).format(visible(part.name))

    @write.register
    def _(self, part: Citation) -> Markup:
        host = host_of(part.url)
        title = visible(part.title[: _PREVIEW * 4])
        if host is None:
            return Markup('<p class="label">Source: <bdi>{}</bdi></p>').format(title)
        link = '<p class="label">Source: <a href="{}" rel="noreferrer noopener"><bdi>{}</bdi></a> '
        return Markup(link + '<span class="leads">({})</span></p>').format(part.url, title, host)

    @write.register
    def _(self, part: Left) -> Markup:
        note = '<p class="label">and {} more, which the JSON of the message has</p>'
        return Markup(note).format(f"{part.number:,}")

    def _may_format(self, text: str) -> bool:
        return len(text) <= self._left[0]

    def _json(self, text: str, title: str) -> Markup:
        document = laid_out(text) if self._may_format(text) else None
        return self._folded(text if document is None else document, title)

    def _folded(self, document: str, title: str) -> Markup:
        """Return a document that can be folded, and is if it is long, with its beginning."""
        shown = document[:MOST]
        self._left[0] -= len(shown)
        lines = shown.count("\n") + 1
        is_short = lines <= _OPEN_LINES and len(shown) <= _PREVIEW * _OPEN_LINES
        preview = "" if is_short else " ".join(shown[: 4 * _PREVIEW].split())[:_PREVIEW] + "…"
        block = (
            '<details class="json"{}><summary>{}<span class="preview"> {}</span></summary>'
            '<pre dir="ltr" tabindex="0"><code>{}</code></pre>{}</details>\n'
        )
        return Markup(block).format(
            Markup(" open") if is_short else "",
            visible(title[:_PREVIEW]),
            exact(preview),
            highlighted(shown, "json"),
            self._cut(document),
        )

    def _cut(self, text: str) -> Markup:
        if len(text) <= MOST:
            return Markup("")
        note = f"These are the first {MOST:,} of {len(text):,} characters."
        link = (
            Markup(' <a href="{}">Open all of it</a>.').format(self._whole) if self._whole else ""
        )
        return Markup('<p class="cut">{}{}</p>').format(note, link)


def pretty(text: str) -> Markup:
    """Return JSON with one member a line, and in colours, as far as it is not long."""
    return highlighted(laid_out(text) or text, "json")


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
