"""What a model, a user or a server may send to a page."""

from __future__ import annotations

from typing import Final

# --- texts ----------------------------------------------------------------------------------------

TAGS: Final = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<math><mtext></mtext><a href=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<style>*{display:none}</style>",
    '<p style="position:fixed;inset:0">',
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<form action=//evil.example><button>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?>",
    "</pre></code></article></main><h1>taken over</h1>",
    "</textarea></title></style></template><script>alert(1)</script>",
    "<details open ontoggle=alert(1)>",
    "<a href=javascript:alert(1) onclick=alert(1)>x</a>",
    "<x\x00y onclick=alert(1)>",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;script&#62;",
    "{{ 7 * 7 }}{% raw %}{# x #}{{ ''.__class__.__mro__ }}",
]
_TARGETS: Final = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "java\tscript:alert(1)",
    "java\nscript:alert(1)",
    "\x01javascript:alert(1)",
    "javascript&colon;alert(1)",
    "javascript&#58;alert(1)",
    "&#x6A;avascript:alert(1)",
    "&#106&#97&#118ascript:alert(1)",
    "javascript\\:alert(1)",
    "javascript%3Aalert(1)",
    "vbscript:msgbox(1)",
    "data:text/html,<script>alert(1)</script>",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "data:image/svg+xml;base64,PHN2Zy8+",
    "data:image/png;base64,iVBORw0KGgo=",
    "file:///etc/passwd",
    "blob:http://127.0.0.1/1",
    "view-source:http://evil.example",
    "//evil.example/x",
    "/c/other?token=x",
    "?m=1",
    "#m1",
    "http:/\\evil.example",
    "http://[::1",
    "https://bank.example@evil.example/",
    "https://bank.example\\@evil.example/",
    "http://\u202eelpmaxe.live",
    "http://evil.example/\ud800",
    "http://xn--/",
    "http://a b",
    'http://a" onclick="alert(1)',
    "http://a'><script>alert(1)</script>",
    "http:",
    "mailto:a@b?subject=<script>",
]
LINKS: Final = [
    form.format(target)
    for target in _TARGETS
    for form in (
        "[x]({})",
        "[x](<{}>)",
        '[x]({} "a\'b")',
        "[x][1]\n\n[1]: {}",
        "[1]\n\n[1]: <{}>",
        "<{}>",
        "![x]({})",
        "![x][1]\n\n[1]: {}",
        "[![x]({0})]({0})",
        "[x]( {} )",
        "{}",
    )
]
FENCES: Final = [
    f"```{info}\n<script>alert(1)</script>\n```"
    for info in (
        *("html", "javascript", "no-such-language", "<script>", '"onclick="x', "python onclick=x"),
        *(
            "../../etc/passwd",
            "__import__",
            "\x00",
            "\ud800",
            "\u202e",
            "x" * 5000,
            "{{ 7 }}",
            "PHP",
        ),
    )
]
CHARACTERS: Final = [
    "\x00",
    "a\x00b\x07\x1b[31m\x7f\x85\ufffe",
    "\ud800",
    "\udc00\ud800 x",
    "\u202etxt.exe\u202c",
    "\u2066\u202e\u2067\u2068",
    "\u2028\u2029\ufeff\u200b\U000e0041",
    "a\r\nb\rc",
    "مرحبا world שלום 123",
    "中文字符，没有空格。" * 20,
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "Z" + "\u0300" * 500,
]
CORPUS: Final = [*TAGS, *LINKS, *FENCES, *CHARACTERS]

# Beginnings that a parser may read again and again, in the time of their square.
UNITS: Final = [
    *("[", "]", "![", "[a](", "[a](<", "[a]: <", "[[]", "![[", "(", ")", "[a]: b\n", "[](", "]("),
    *(
        ">",
        "> ",
        "> a\n",
        ">- ",
        "> - a\n",
        "- ",
        "* a\n",
        "1. ",
        "- a\n\n  b\n",
        "+ \n",
        "  - a\n",
    ),
    *("*", "_", "*a **a ", "_a __a ", "a**b", "*a_ ", "~", "~~a", "**a*", "***a"),
    *("`", "`a", "``a`", "```\n", "~~~\n", "``` a\n", "\\", "\\`"),
    *(
        "<",
        "<a ",
        "<!--",
        "<?",
        "<![CDATA[",
        "<a b=",
        "</",
        "<http://",
        "<a@b",
        "&",
        "&a",
        "&#",
        "&amp;",
    ),
    *("|", "|a", "|-", "a|b\n", "|a|\n|-|\n", "a\n-|-\n", "a\n===\n", "***\n", "# ", "#\n", "a\n"),
    *("$", "$a", "$$", "$$\n", "\\(", "\\[", "\\[\n", "\\)", "$a$", "$ a"),
    *(
        " ",
        "\t",
        "\n",
        "    a\n",
        " \n",
        "\xa0",
        "a ",
        "http://a.b ",
        "{",
        '{"a":',
        "[1,",
        "\u202e",
    ),
]


def whole(unit: str, size: int) -> str:
    """Return a text of about so many characters that repeats a unit."""
    return unit * (size // len(unit))


# A few that no repetition makes.
SHAPES: Final = [
    "|a" * 5000 + "\n" + "|-" * 5000 + "\n" + "a\n" * 2000,  # a table of 5,000 columns
    "> " * 50 + "a\n" * 9000,
    "\n".join("  " * level + "- a" for level in range(180)),
    "\n".join("> " * level + "a" for level in range(180)),
    "".join("`" * length + " " for length in range(190)),
    "".join(f"[{n}]: x\n" for n in range(2500)) + "[1][2]" * 100,
    "[" * 3000 + "a" + "](b)" * 3000,
    "*" * 10_000 + "a" + "*" * 9_000,
]
