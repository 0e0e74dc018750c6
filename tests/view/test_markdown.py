"""Markdown of anybody becomes HTML that cannot act, in a time that grows with its length."""

from __future__ import annotations

import cProfile
import re
from typing import TYPE_CHECKING

import pytest
from hostile import CORPUS, LINKS, SHAPES, UNITS, whole
from hypothesis import given
from hypothesis import strategies as st
from markup import Page

from aiomessages.view.rendering.allowance import Allowance
from aiomessages.view.rendering.documents import laid_out
from aiomessages.view.rendering.markdown import code, host_of, words_of
from aiomessages.view.rendering.markdown import markdown as markdown_on

if TYPE_CHECKING:
    from markupsafe import Markup


def markdown(text: str) -> Markup:
    """Return a text as HTML, on a page of its own."""
    return markdown_on(text, Allowance())


SIZE = 20_000  # characters, as many as a page shows of a text


def test_no_text_of_the_corpus_becomes_markup_that_acts() -> None:
    """Each hostile text has the elements, attributes and addresses of the list alone."""
    for text in CORPUS:
        for form in ("{}", "a {} b", "- {}", "> {}", "| a |\n|-|\n| {} |", "**{}**", "`{}`"):
            page = Page(markdown(form.replace("{}", text)))
            assert page.wrong == [], (form, text)
            assert page.sources == []


def test_links_lead_to_the_web_and_say_where() -> None:
    """Each link of the corpus that is left leads to a host, and its host is in the text."""
    seen = set()
    for text in LINKS:
        page = Page(markdown(text))
        for link in page.links:
            host = host_of(link)
            assert host is not None
            # An address in angle brackets is its own text.
            assert host in page.text or text.startswith("<"), text
            seen.add(host)
    assert {"evil.example", "a@b"} <= seen
    assert "bank.example" not in seen


_MARKS = st.sampled_from(
    [*UNITS, *CORPUS[:60], "\n", "\n\n", "a", "    ", "[x](http://a.b)", "|-|-|\n"]
)


@pytest.mark.unmeasured
@given(st.lists(_MARKS, max_size=25).map("".join))
def test_no_mixture_becomes_markup_that_acts(text: str) -> None:
    """Hostile pieces in any order have the elements of the list alone."""
    assert Page(markdown(text)).wrong == []


@pytest.mark.unmeasured
@given(st.text(st.characters(), max_size=200))
def test_no_text_at_all_becomes_markup_that_acts(text: str) -> None:
    """Any characters, half emojis included, have the elements of the list alone."""
    assert Page(markdown(text)).wrong == []


@pytest.mark.unmeasured
@given(
    st.lists(st.sampled_from(["a", "B ", "\n", "\n\n", "é", "。", ", ", "(", "\u202e"])).map(
        "".join
    )
)
def test_prose_is_the_same_without_the_parser(text: str) -> None:
    """A text without any mark of Markdown is written as the parser would write it."""
    with_a_mark = Page(markdown(text + "\n\n***")).text
    assert Page(markdown(text)).text.split() == with_a_mark.split()


# --- what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb", '<p dir="auto">a<br>\nb</p>'),
        ("*a*\nb", '<p dir="auto"><em>a</em><br>\nb</p>'),
        ("a\n\nb", '<p dir="auto">a</p>\n<p dir="auto">b</p>'),
        ("# a", '<h3 dir="auto">a</h3>'),
        (
            "### a\n\n# b\n\n###### c",
            '<h3 dir="auto">a</h3>\n<h3 dir="auto">b</h3>\n<h4 dir="auto">c</h4>',
        ),
        ("- [ ] a\n- [x] b", '<ul dir="auto">\n<li>[ ] a</li>\n<li>[x] b</li>\n</ul>'),
        ("1. a\n   - b", '<ol dir="auto">\n<li>a\n<ul>\n<li>b</li>\n</ul>\n</li>\n</ol>'),
        ("7. a", '<ol start="7" dir="auto">\n<li>a</li>\n</ol>'),
        ("> a", '<blockquote dir="auto">\n<p>a</p>\n</blockquote>'),
        ("~~a~~", '<p dir="auto"><s>a</s></p>'),
        ("`a  b`", '<p dir="auto"><code dir="ltr">a  b</code></p>'),
        ("***", '<hr dir="auto">'),
    ],
)
def test_forms(text: str, expected: str) -> None:
    """Headings begin below those of the page, lines stay lines, and tasks stay text."""
    assert str(markdown(text)).strip().replace("<hr>", '<hr dir="auto">') == expected


def test_tables() -> None:
    """The columns of a table are aligned by classes, as no page may have a style."""
    html = str(markdown("| a | b | c | d |\n|:-|-:|:-:|-|\n| 1 | 2 | 3 | 4 |"))
    assert re.findall(r"<td[^>]*>", html) == [
        '<td class="left">',
        '<td class="right">',
        '<td class="center">',
        "<td>",
    ]
    assert Page(html).wrong == []


@pytest.mark.parametrize(
    "formula",
    [
        "$x_1 + y_1$",
        "$$x_1 * y * z$$",
        "\\(a_1 \\* b_2\\)",
        "\\[ a * b * c \\]",
        "$$\na\n=\n- b\n+ c\n$$",
        "\\[\n\\begin{matrix} a & b \\\\ c & d \\end{matrix}\n\\]",
        "$<b>$",
    ],
)
def test_mathematics_stays_as_it_was_written(formula: str) -> None:
    """A formula is no Markdown, in a line, in a list and as a block of lines."""
    for text in (
        formula,
        f"*a*\n\n{formula}\n\nb",
        f"- {formula.replace(chr(10), chr(10) + '  ')}",
    ):
        page = Page(markdown(text))
        assert formula in page.text
        assert page.wrong == []


def test_a_formula_in_the_text_of_a_link() -> None:
    """A bracket in a formula does not end the text of a link."""
    page = Page(markdown("[half $]a$ open](https://a.example/)"))
    assert page.links == ["https://a.example/"]
    assert "half $]a$ open" in page.text


def test_an_address_that_is_none() -> None:
    """A host in brackets that is no address is no host."""
    assert host_of("http://[a") is None


def test_dollars_that_continue_a_quotation() -> None:
    """An indented line behind a quotation continues it, also one that begins a formula."""
    assert markdown("> a\n    $$\n    b\n    $$").endswith("$$</span></p>\n</blockquote>\n")


def test_a_document_that_would_become_too_long() -> None:
    """JSON of many short values on many levels is not laid out: the indents would be most of it."""
    assert laid_out(f"{'[' * 59}{'1,' * 40_000}1{']' * 59}") is None


def test_a_formula_ends_a_paragraph() -> None:
    """A block of mathematics needs no empty line before it."""
    assert markdown("*a*\n$$\nx * y * z\n$$").count("<p ") == 2


@pytest.mark.parametrize(
    "text",
    [
        "$5 and $6",
        "costs $ 5 $ *x*",
        "$$",
        "$$\nno end",
        "\\[ no end",
        "    $$\n    a\n    $$",
        "$a$5",
        "- $$\na",
        "\\(",
        "$",
    ],
)
def test_prices_are_no_formulas(text: str) -> None:
    """Dollars and brackets without their other half stay as they are."""
    assert 'class="math"' not in markdown(text)
    assert re.sub(r"[\s*\\]|^- ", "", text) == re.sub(r"[\s*\\]", "", Page(markdown(text)).text)


def test_pictures_are_links() -> None:
    """A picture of another host is not loaded: a link says what and where it is."""
    page = Page(markdown("![a *cat*](https://img.example/cat.png) ![](http://x.example/)"))
    assert page.sources == []
    assert page.links == ["https://img.example/cat.png", "http://x.example/"]
    assert page.text == "a *cat* (picture at img.example) picture (picture at x.example)\n"


def test_a_link_in_brackets_needs_no_host_beside_it() -> None:
    """An address that is its own text is not written twice."""
    assert Page(markdown("<https://a.example/x>")).text == "https://a.example/x\n"


def test_invisible_characters_in_code_and_text() -> None:
    """Code shows all marks of direction; a text shows those that turn every letter around."""
    page = Page(markdown("a\u202eb\u2066c `d\u2066e`\n\n```\nf\u200bg\x00\n```"))
    assert page.text.split("\n") == ["a[U+202E]b\u2066c d[U+2066]e", "f[U+200B]g␀", "", ""]


def test_code_of_a_known_language_is_coloured() -> None:
    """Words have classes; the language is named. Code of another language is only shown."""
    page = Allowance()
    assert '<span class="hk">def</span>' in code("def f(): pass", "Python title=x", page)
    assert "<figcaption>Python title=x</figcaption>" in code(
        "def f(): pass", "Python title=x", page
    )
    assert "span" not in code("def f(): pass", "no-such-language", page)
    assert "span" not in code("x = 1\n" * 2000, "python", page)
    assert "span" not in markdown("    x = 1")


def test_nothing_is_lost_below_the_deepest_level() -> None:
    """What the parser would leave out for its depth is shown as plain text."""
    for text in (">" * 60 + " a", "\n".join("  " * n + "- a" for n in range(60)) + "b"):
        page = Page(markdown(text))
        assert page.text == text
        assert page.wrong == []


def test_a_page_colours_only_some_code() -> None:
    """The code of a page is coloured up to a bound; what comes then is shown without colours."""
    text = "```python\n" + "x = 1\n" * 600 + "```\n"
    page = Allowance()
    written = [markdown_on(text, page) for _ in range(30)]
    assert ["hm" in html for html in written] == [True] * 16 + [False] * 14
    assert {Page(html).text for html in written} == {Page(written[0]).text}


@pytest.mark.parametrize(
    "text",
    [
        "[a]: https://lost.example",
        "[a]: <https://lost.example> 'title'\n\nother text",
        "[a]\n\n[a]: http://b.example\n[a]: http://lost.example",
        "[a](http://b.example 'lost')",
        "![a](http://b.example 'lost')",
        "```python lost\nx\n```",
        "| a |\n|-|\n| b | lost |",
        "> - | a |\n>   |-|\n>   | `b | lost` |",
        "a | b\n-|-\nc | d | lost",
    ],
)
def test_markdown_leaves_nothing_out(text: str) -> None:
    """What the rules of Markdown drop is shown: addresses, titles, and cells beside a table."""
    page = Page(markdown(text))
    assert "lost" in page.text
    assert page.wrong == []


def test_whole_tables_and_references_stay() -> None:
    """A table that has no more cells than columns is one, and a link may have its address below."""
    assert "<table" in markdown("a | b\n-|-\n`c \\| d` | e\n| f |")
    assert Page(markdown("[a][1]\n\n[1]: http://b.example")).links == ["http://b.example"]


def test_entities_and_tags_hide_nothing() -> None:
    """A mark that turns letters around is shown however it is written, as are hidden letters."""
    assert Page(markdown("&#x202e;a")).text == "[U+202E]a\n"
    assert Page(markdown("a\U000e0041*b*")).text == "a[U+E0041]b\n"
    scotland = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
    assert Page(markdown(f"{scotland}*b*")).text == f"{scotland}b\n"


@pytest.mark.parametrize("run", ["a." * 100, " \n" * 100])
def test_code_that_is_slow_to_colour(run: str) -> None:
    """Code with a long run of characters or of space, which takes a lexer long, has no colours."""
    assert "span" not in code(f"x = 1\n{run}", "python", Allowance())


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("plain, 5 < 6", "plain, 5 < 6"),
        ("# A *title*\n\nand `code` in\na line", "A title and code in a line"),
        ("- [a link](https://a.example/x)\n- ![a cat](https://a.example/x)", "a link a cat"),
        ("```python\nx = 1\n```", "x = 1"),
        ("costs $x_1$ <b>", "costs $x_1$ <b>"),
        ("\ud83d*x*", "[U+D83D]x"),
        ("***", "***"),
        (" \n", "(no text)"),
        ("    ", "(no text)"),
        ("*a* " * 1000, ("*a* " * 1000).strip()),
    ],
)
def test_titles_have_no_marks(text: str, title: str) -> None:
    """The title of a text is what its Markdown says, on one line; none is empty."""
    assert words_of(text) == title


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "text", [*(whole(unit, SIZE) for unit in UNITS), *SHAPES], ids=range(len(UNITS) + len(SHAPES))
)
def test_no_text_takes_much_longer_than_others(text: str) -> None:
    """Texts that are made to be slow take few function calls a character, and have a page."""
    with cProfile.Profile() as profile:  # no other process changes the number of calls
        page = markdown(text[:SIZE])
    assert sum(entry.callcount for entry in profile.getstats()) < 120 * SIZE
    assert len(page) < 50 * SIZE
