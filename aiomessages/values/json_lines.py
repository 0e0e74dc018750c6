"""JSON on one line, for the formats in which a line or an event is one document."""

from collections.abc import Iterable, Iterator


def on_one_line(document: bytes) -> bytes:
    """Return the JSON without its line breaks and indentation, and otherwise unchanged.

    A JSON string cannot hold a raw line break, so every one is layout. Nothing is parsed: a lone
    surrogate or a number of forty digits would not survive some parsers.
    """
    if b"\n" not in document and b"\r" not in document:
        return document
    return b"".join(line.strip() for line in document.splitlines())


def split_lines(pieces: Iterable[bytes | bytearray]) -> Iterator[bytes]:
    """Yield the lines of a text in pieces, each without its line break; the last one has one too.

    A piece is looked at once: a line of many pieces is joined at its end.
    """
    begun: list[bytes | bytearray] = []
    for piece in pieces:
        first, *others = piece.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun)
            *whole, last = others
            yield from map(bytes, whole)
            begun = [last]
