r"""Mathematics in Markdown: rules of the parser that keep a formula as it was written.

They read `$…$`, `\(…\)`, `$$…$$` and `\[…\]`, in a line or as lines.
"""

from typing import Final

from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

_MOST_MATHS: Final = 50, 1000  # lines, and characters in a line of text
_ENDS: Final = {"$$": "$$", "\\[": "\\]"}
_INLINE: Final = {"\\(": "\\)", **_ENDS}


def math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""Read lines from `$$` or `\[` to the end of the formula as they are."""
    if state.is_code_block(start):
        return False
    begin = state.bMarks[start] + state.tShift[start]
    close = _ENDS.get(state.src[begin : begin + 2])
    if close is None:
        return False
    for line in range(start, min(end, start + _MOST_MATHS[0])):
        last = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
        if line > start and state.sCount[line] < state.blkIndent:
            return False
        if last.endswith(close) and (line > start or len(last) >= 4):
            break
    else:
        return False
    if not silent:
        state.line = line + 1
        token = state.push("math_block", "", 0)
        token.content = state.getLines(start, line + 1, state.blkIndent, keepLastLF=False)
        token.map = [start, line + 1]
    return True


def math_inline(state: StateInline, silent: bool) -> bool:
    r"""Read `$…$`, `\(…\)` and the like as they are. A price is no formula."""
    text, begin = state.src, state.pos
    if text[begin] not in "$\\":
        return False
    mark = text[begin : begin + 2]
    close = _INLINE.get(mark, "$" if mark[0] == "$" else None)
    if close is None:
        return False
    opened = begin + len(close)
    end = text.find(close, opened + 1, min(state.posMax, opened + _MOST_MATHS[1]))
    if end < 0:
        return False
    after = end + len(close)
    if close == "$" and (
        text[opened].isspace() or text[end - 1].isspace() or text[after : after + 1].isdigit()
    ):
        return False
    if not silent:
        state.push("math_inline", "", 0).content = text[begin:after]
    state.pos = after
    return True
