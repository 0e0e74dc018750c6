"""JSON on one line, for the formats in which a line or an event is one document."""


def on_one_line(document: bytes) -> bytes:
    """Return the JSON without its line breaks and indentation, and otherwise unchanged.

    A JSON string cannot hold a raw line break, so every one is layout. Nothing is parsed: a lone
    surrogate or a number of forty digits would not survive some parsers.
    """
    if b"\n" not in document and b"\r" not in document:
        return document
    return b"".join(line.strip() for line in document.splitlines())
