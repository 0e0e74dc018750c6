# ruff: noqa: S704 - each call has a constant of this module, and format() escapes the values
"""Markdown becomes HTML that cannot act: tags are text, links lead to the web only, and say where.

Mathematics stays as it was written. Text that would take long to read as Markdown, or would lose
something by it, is shown as plain text.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block.table import escapedSplit
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from aiomessages.view.visible import exact, readable, short

from .allowance import Allowance
from .highlight import highlighted
from .mathematics import math_block, math_inline

# The parser takes a time that grows with the square of these. With them, 20,000 characters of any
# kind take at most a few times as long as prose does.
_MOST_MARKS: Final = 1000  # of brackets, which may begin a link or a tag
_MOST_CELLS: Final = 20_000  # lines times columns of a table, or levels of a quotation
_MOST_LEVELS: Final = 40  # of tokens; below, the parser drops the rest
_MOST_ADDRESS: Final = 2000  # characters; a browser or a server refuses longer ones
_BLANK: Final = "(no text)"
_MOST_TITLE: Final = 500  # characters of a title
_ALLOWANCE: Final = "allowance"  # in what the parser hands on
_SCHEMES: Final = frozenset({"http", "https", "mailto"})

# Prose without any of these reads the same as Markdown and as plain text.
_MARKED: Final = re.compile(
    r"[\\`*_\[\]<>~|&$!]|^[ \t]*(?:[-+#=]|[0-9]+[.)])|^(?: {2}|\t)|[ \t]$", re.MULTILINE
)
_BORDER: Final = re.compile(r"^[\s>*+-]*\||\|\s*$")  # the bar on each side of a line of a table
_PARAGRAPHS: Final = re.compile(r"\n\s*\n")


def markdown(text: str, allowance: Allowance) -> Markup:
    """Return a text that is written in Markdown as HTML; as plain text, if the page has much."""
    if not allowance.formats(text):
        return plain(text)
    if not _MARKED.search(text):
        return _prose(text)
    lines = text.splitlines()
    widest = max((line.count("|") + line.count(">") for line in lines), default=0)
    if widest * len(lines) > _MOST_CELLS or text.count("[") + text.count("<") > _MOST_MARKS:
        return plain(text)
    # Half an emoji would end the program where it is written into a link.
    tokens = _parsed(readable(text))
    if any(token.level >= _MOST_LEVELS - 1 for token in tokens):
        return plain(text)
    allowance.formats_tokens(sum(1 + len(token.children or ()) for token in tokens))
    environment = {_ALLOWANCE: allowance}
    return Markup(_parser().renderer.render(tokens, _parser().options, environment))


def _parsed(text: str) -> list[Token]:
    """Return the tokens of a text, none of which leaves out a part of it.

    Two do by the rules of Markdown: the address of a link that no place refers to, and the cells of
    a line that has more of them than its table. They stay as they were written.
    """
    found: dict[str, Any] = {}
    tokens = _parser().parse(text, found)
    inner = [child for token in tokens for child in token.children or ()]
    used = {child.attrs.get(name) for child in inner for name in ("href", "src")}
    references = found.get("references", {}).values()
    if found.get("duplicate_refs") or not used.issuperset(item["href"] for item in references):
        tokens = _parser(with_references=False).parse(text)
    return _with_whole_tables(tokens, text.split("\n"))


def _with_whole_tables(tokens: list[Token], lines: list[str]) -> list[Token]:
    kept, at = list[Token](), 0
    while at < len(tokens):
        token = tokens[at]
        if token.type == "table_open" and token.map:
            end = next(n for n in range(at, len(tokens)) if tokens[n].type == "table_close")
            columns = sum(item.type == "th_open" for item in tokens[at:end])
            source = lines[token.map[0] : token.map[1]]
            if any(len(escapedSplit(_BORDER.sub("", line))) > columns for line in source):
                token = Token("code_block", "", 0, content="\n".join(source), level=token.level)
                at = end
        kept.append(token)
        at += 1
    return kept


def plain(text: str) -> Markup:
    """Return a text as HTML in which each line is a line."""
    return Markup('<div class="plain" dir="auto">{}</div>').format(readable(text))


def words_of(text: str) -> str:
    """Return a text that is written in Markdown on one line, without the marks.

    It is for titles: a long one stays as it is written, and none is empty.
    """
    if not _MARKED.search(text) or len(text) > _MOST_TITLE:
        return text.strip() or _BLANK
    found = " ".join(map(_words, _parser().parse(readable(text)))).split()
    return " ".join(found) or text.strip() or _BLANK


def _words(token: Token) -> str:
    if token.children is None:
        return token.content
    return "".join(
        " " if child.type in ("softbreak", "hardbreak") else child.content
        for child in token.children
    )


def _prose(text: str) -> Markup:
    paragraphs = _PARAGRAPHS.split(readable(text).strip())
    return Markup("").join(
        Markup('<p dir="auto">{}</p>\n').format(_broken(paragraph)) for paragraph in paragraphs
    )


def _broken(text: str) -> Markup:
    return Markup("<br>\n").join(line.strip() for line in text.splitlines())


@cache
def _parser(*, with_references: bool = True) -> MarkdownIt:
    """Return the parser. It keeps nothing of a text."""
    options = {"html": False, "linkify": False, "breaks": True, "maxNesting": _MOST_LEVELS}
    parser = MarkdownIt("js-default", options, renderer_cls=_Renderer)
    parser.validateLink = _leads_to_the_web  # type: ignore[method-assign]  # meant to be replaced
    parser.block.ruler.before(
        "fence", "math_block", math_block, {"alt": ["paragraph", "blockquote", "list"]}
    )
    parser.inline.ruler.before("escape", "math_inline", math_inline)
    return parser if with_references else parser.disable("reference")


def _leads_to_the_web(url: str) -> bool:
    return host_of(url) is not None


def host_of(url: str) -> str | None:
    """Return where a link leads: a host, or an address of mail; None if it may be no link."""
    if len(url) > _MOST_ADDRESS:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:  # a host in brackets that is none
        return None
    if parts.scheme not in _SCHEMES or re.search(r"[\x00-\x20\\]", url):
        return None
    return parts.path if parts.scheme == "mailto" else parts.hostname


# --- HTML -----------------------------------------------------------------------------------------


class _Renderer(RendererHTML):
    """Writes the tokens of a text. Each value of the text passes through `escape`.

    Outermost blocks have the direction of their first letter; inner ones follow by style.
    """

    def render(self, tokens: Sequence[Token], options: OptionsDict, env: EnvType) -> Any:
        """Write all tokens, with headings that leave out no level below that of a message."""
        level = 2
        for token in tokens:
            if token.type == "heading_open":
                level = min(level + 1, int(token.tag[1]) + 2, 6)
            if token.type in ("heading_open", "heading_close"):
                token.tag = f"h{level}"
            elif token.type == "table_open":
                token.attrs["tabindex"] = "0"  # a wide one is scrolled by keys, as code is
            elif token.type in ("th_open", "td_open"):
                # The style that would be written here is refused by the browser.
                style = str(token.attrs.pop("style", ""))
                if style:
                    token.attrs["class"] = style.removeprefix("text-align:")
            if token.nesting == 1 and token.level == 0:
                token.attrs["dir"] = "auto"
        return super().render(tokens, options, env)

    def link_open(self, tokens: Sequence[Token], at: int, *_: Any) -> Any:
        token = tokens[at]
        return Markup('<a href="{}" rel="noreferrer noopener">').format(token.attrs["href"])

    def link_close(self, tokens: Sequence[Token], at: int, *_: Any) -> Any:
        """End a link, and say where it leads unless it is written there already."""
        opened = next(
            place
            for place in range(at, -1, -1)
            if tokens[place].type == "link_open" and tokens[place].level == tokens[at].level
        )
        host = host_of(str(tokens[opened].attrs["href"])) or ""
        if tokens[opened].markup == "autolink":
            return Markup("</a>")
        end = Markup('</a> <span class="leads">({})</span>')
        return end.format(_with_title(host, tokens[opened]))

    def image(self, tokens: Sequence[Token], at: int, *_: Any) -> Any:
        """Write a picture as a link: it would be loaded from another host."""
        token = tokens[at]
        link = '<a href="{}" rel="noreferrer noopener">{}</a> <span class="leads">({})</span>'
        url = str(token.attrs["src"])
        leads = _with_title(f"picture at {host_of(url)}", token)
        return Markup(link).format(url, readable(token.content) or "picture", leads)

    def code_inline(self, tokens: Sequence[Token], at: int, *_: Any) -> Any:
        return Markup('<code dir="ltr">{}</code>').format(exact(tokens[at].content))

    def code_block(self, tokens: Sequence[Token], at: int, _: OptionsDict, env: EnvType) -> Any:
        return code(tokens[at].content, "", env[_ALLOWANCE])

    def fence(self, tokens: Sequence[Token], at: int, _: OptionsDict, env: EnvType) -> Any:
        return code(tokens[at].content, tokens[at].info, env[_ALLOWANCE])

    def math_block(self, tokens: Sequence[Token], at: int, *_: Any) -> Any:
        return Markup('<p class="math" dir="ltr">{}</p>\n').format(exact(tokens[at].content))

    def math_inline(self, tokens: Sequence[Token], at: int, *_: Any) -> Any:
        return Markup('<span class="math" dir="ltr">{}</span>').format(exact(tokens[at].content))

    def text(self, tokens: Sequence[Token], at: int, *_: Any) -> Any:
        return escape(readable(tokens[at].content))  # an entity may be any character


def _with_title(place: str, token: Token) -> str:
    """Return where a link leads, with the title that it has."""
    title = readable(str(token.attrs.get("title", "")))
    return f"{place}, {title}" if title else place


def code(text: str, info: str, allowance: Allowance) -> Markup:
    """Return code as a block, with the name of its language."""
    language = "".join(info.split(maxsplit=1)[:1])[:40]
    name = Markup("<figcaption>{}</figcaption>").format(short(info.strip())) if language else ""
    block = '<figure class="code" dir="ltr">{}<pre tabindex="0"><code>{}</code></pre></figure>\n'
    return Markup(block).format(name, highlighted(text, language, allowance))
