"""The check of the built documentation finds each fault, and reports nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))

from check import faults
from extensions.public import public_names

FAULTS = {
    '<script src="https://cdn.example/a.js"></script>': "index.html loads https://cdn.example/a.js",
    '<img src="//cdn.example/a.png">': "index.html loads //cdn.example/a.png",
    '<link rel="icon" href="https://icons.example/a">': "index.html loads https://icons.example/a",
    '<p style="background: url(https://cdn.example/a)">': "index.html loads https://cdn.example/a",
    '<a href="nowhere.html">x</a>': "index.html links to nowhere.html",
    '<a href="#nowhere">x</a>': "index.html links to #nowhere",
    '<a href="sub/page.html#nowhere">x</a>': "index.html links to sub/page.html#nowhere",
}
GOOD = [
    '<a href="https://elsewhere.example/">a link that a person follows</a>',
    '<a href="sub/page.html#place">x</a><a href="#">x</a><a href="">x</a>',
    '<link rel="stylesheet" href="site.css"><img src="data:image/png;base64,AA==">',
]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of two pages, the second with every public name."""
    names = "".join(f'<dt id="{module}.{name}"></dt>' for name, module in public_names())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/page.html").write_text(f'<h1 id="place">x</h1>{names}<a href="../index.html">')
    (tmp_path / "index.html").write_text("")
    (tmp_path / "site.css").write_text("a { background: url(data:image/svg+xml;base64,AA==) }")
    (tmp_path / "site.js").write_text(
        'const svg = "http://www.w3.org/2000/svg"; // https://b.example'
    )
    return tmp_path


@pytest.mark.parametrize(("html", "fault"), FAULTS.items())
def test_a_fault_of_a_page_is_found(site: Path, html: str, fault: str) -> None:
    """A resource from another host, and a link that leads nowhere, are reported."""
    (site / "index.html").write_text(html)
    assert list(faults(site)) == [fault]


@pytest.mark.parametrize("html", GOOD)
def test_an_allowed_link_is_not_reported(site: Path, html: str) -> None:
    """Links to other sites, and resources of the site itself, are no faults."""
    (site / "index.html").write_text(html)
    assert list(faults(site)) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.css", '@import "https://fonts.example/b";'),
        ("a.css", "@font-face { src: url(https://fonts.example/b) }"),
        ("a.js", 'import("https://fonts.example/b")'),
    ],
)
def test_a_fault_of_a_style_sheet_or_a_script_is_found(site: Path, name: str, text: str) -> None:
    """A font or a script from another host is reported in style sheets and scripts too."""
    (site / name).write_text(text)
    assert list(faults(site)) == [f"{name} loads https://fonts.example/b"]


def test_a_missing_public_name_is_reported(site: Path) -> None:
    """A public name without a place in the reference is reported."""
    page = site / "sub/page.html"
    page.write_text(page.read_text("utf-8").replace('id="aiomessages.Message"', ""))
    assert list(faults(site)) == ["the reference has no aiomessages.Message"]
