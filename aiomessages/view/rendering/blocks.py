# ruff: noqa: S704 - each call has a constant of this module, and format() escapes the values
"""Each part of a message as HTML. Every value passes through `Markup.format`, which escapes it."""

from collections.abc import Callable
from functools import singledispatchmethod
from typing import Final

from markupsafe import Markup

from aiomessages.view.visible import exact, short

from .allowance import Allowance
from .documents import is_document, laid_out
from .highlight import highlighted
from .markdown import host_of, markdown, plain
from .media import Medium
from .parts import Call, Citation, Document, File, Left, Refusal, RemoteImage, Text

_OPEN_LINES: Final = 6  # of a document that is shown at once
_PREVIEW: Final = 80  # characters of one that is folded
_NOT_MARKDOWN: Final = frozenset({"tool", "function"})


class Blocks:
    """Writes the parts of messages, as far as the allowance of a page goes.

    `medium` returns the address of a medium in a message, if the page has one; `whole` is the
    address of all text of the message.
    """

    def __init__(
        self,
        *,
        medium: Callable[[int], str] | None = None,
        whole: str | None = None,
        role: str = "",
        allowance: Allowance | None = None,
    ) -> None:
        self._medium = medium
        self._whole = whole
        self._role = role
        self._allowance = allowance or Allowance()

    @singledispatchmethod
    def write(self, part: Left) -> Markup:
        """Return a part as HTML. Each kind of part has a method here; this one is of Left."""
        note = '<p class="label">and {} more, which the JSON of the message has</p>'
        return Markup(note).format(f"{part.number:,}")

    @write.register
    def _(self, part: Text) -> Markup:
        if is_document(part.text) and (document := self._laid_out(part.text)) is not None:
            return self._folded(document, "JSON", "json")
        text = self._allowance.shows(part.text)
        if not part.text.strip():
            return Markup('<p class="label">nothing but space</p>')
        is_plain = self._role in _NOT_MARKDOWN
        shown = plain(text) if is_plain else markdown(text, self._allowance)
        return shown + self._cut(text, part.text)

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
            return Markup(note).format(short(part.url))
        link = '<p class="label">Image: <a href="{}" rel="noreferrer noopener">{}</a> '
        return Markup(link + '<span class="leads">({})</span></p>').format(
            part.url, short(part.url), short(host)
        )

    @write.register
    def _(self, part: Medium) -> Markup:
        type, size = part.type, _size(part.size)
        label = ", ".join(filter(None, [short(part.name), type, size]))
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
        return Markup(note).format(short(part.name))

    @write.register
    def _(self, part: Citation) -> Markup:
        host = host_of(part.url)
        title = short(part.title)
        if host is None:
            return Markup('<p class="label">Source: <bdi>{}</bdi></p>').format(title)
        link = '<p class="label">Source: <a href="{}" rel="noreferrer noopener"><bdi>{}</bdi></a> '
        return Markup(link + '<span class="leads">({})</span></p>').format(
            part.url, title, short(host)
        )

    def _laid_out(self, text: str) -> str | None:
        return laid_out(text) if self._allowance.formats(text) else None

    def _json(self, text: str, title: str) -> Markup:
        document = self._laid_out(text)
        if document is None:
            return self._folded(text, title, "")
        return self._folded(document, title, "json")

    def _folded(self, document: str, title: str, language: str) -> Markup:
        """Return a document that can be folded, and is if it is long, with its beginning."""
        shown = self._allowance.shows(document)
        lines = shown.count("\n") + 1
        is_short = lines <= _OPEN_LINES and len(shown) <= _PREVIEW * _OPEN_LINES
        preview = "" if is_short else " ".join(shown[: 4 * _PREVIEW].split())[:_PREVIEW] + "…"
        block = (
            '<details class="json"{}><summary>{}<span class="preview"> {}</span></summary>'
            '<pre dir="ltr" tabindex="0"><code>{}</code></pre>{}</details>\n'
        )
        return Markup(block).format(
            Markup(" open") if is_short else "",
            short(title),
            exact(preview),
            highlighted(shown, language, self._allowance),
            self._cut(shown, document),
        )

    def _cut(self, shown: str, text: str) -> Markup:
        if len(shown) == len(text):
            return Markup("")
        note = f"These are the first {len(shown):,} of {len(text):,} characters."
        link = (
            Markup(' <a href="{}">Open all of it</a>.').format(self._whole) if self._whole else ""
        )
        return Markup('<p class="cut">{}{}</p>').format(note, link)


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
