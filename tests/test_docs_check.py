"""The check of the built documentation finds each fault, and reports nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))

from check import faults
from extensions.fields import public_fields
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


def entry(name: str) -> str:
    """Return an entry of the reference, as Sphinx writes it."""
    return f'<dl><dt id="{name}">{name}</dt><dd><p>A description.</p></dd></dl>'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of two pages, the second with every public name and field."""
    names = [f"{module}.{name}" for name, module in public_names()]
    entries = "".join(map(entry, [*names, *public_fields(names)]))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/page.html").write_text(
        f'<h1 id="place">x</h1>{entries}<a href="../index.html">'
    )
    (tmp_path / "index.html").write_text("")
    (tmp_path / "llms.txt").write_text("# x\n\n> x\n\n## x\n\n- [x](sub/page.md): x\n")
    (tmp_path / "sub/page.md").write_text(
        "[x](page.html#place), [y](https://elsewhere.example/y.md)"
    )
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


@pytest.mark.parametrize(
    "name",
    [
        "aiomessages.MessagesError.hint",  # an attribute of a class
        "aiomessages.Message.id",  # a field of a Struct
        "aiomessages.Message.text",  # a property
        "aiomessages.server.LocalServer.api_key",  # set by __init__
        "aiomessages.archive.sync",  # a function
    ],
)
def test_a_name_without_a_description_is_reported(site: Path, name: str) -> None:
    """A public name or field that the reference lacks, or does not describe, is reported."""
    page = site / "sub/page.html"
    whole = page.read_text("utf-8")
    for replacement in ("", entry(name).replace("<p>A description.</p>", "")):
        page.write_text(whole.replace(entry(name), replacement))
        assert list(faults(site)) == [f"the reference does not describe {name}"]


def test_fields_of_values_inside_others_are_described(site: Path) -> None:
    """The fields of a class that only the reference names have to be described as well."""
    page = site / "sub/page.html"
    name = "aiomessages.models.Audio"
    page.write_text(page.read_text("utf-8") + entry(name))
    fields = ("data", "expires_at", "id", "transcript")
    assert list(faults(site)) == [
        f"the reference does not describe {name}.{field}" for field in fields
    ]


def test_a_page_that_no_program_finds_is_reported(site: Path) -> None:
    """A page that llms.txt does not list is reported, and so is a list that is missing."""
    (site / "new.html").write_text("")
    assert list(faults(site)) == ["llms.txt does not list new"]
    (site / "llms.txt").unlink()
    assert list(faults(site)) == ["there is no llms.txt"]


def test_a_broken_link_of_a_text_is_reported(site: Path) -> None:
    """A link of llms.txt, or of a page's Markdown, that leads to no file is reported."""
    (site / "sub/page.md").write_text("[x](other.md#place)")
    with (site / "llms.txt").open("a") as lists:
        lists.write("- [y](y.md): y\n")
    assert list(faults(site)) == ["llms.txt links to y.md", "sub/page.md links to other.md"]
