"""What a message has of images and sounds: their bytes, and the type that these bytes have.

The type that a message names is not believed. SVG is a program, and no image here.
"""

import binascii
import re
from typing import Final, NamedTuple

_FIRST: Final = 64  # characters of base64 that are enough to know a type
_DATA_URI: Final = re.compile(r"\s*data:[^,]{0,200}?;\s*base64\s*,", re.IGNORECASE)
_SIGNATURE: Final = re.compile(
    rb"(?P<png>\x89PNG\r\n\x1a\n)|(?P<jpeg>\xff\xd8\xff)|(?P<gif>GIF8[79]a)"
    rb"|(?P<webp>RIFF.{4}WEBP)|(?P<avif>.{4}ftypavi[fs])|(?P<bmp>BM.{4}\0\0\0\0)"
    rb"|(?P<wav>RIFF.{4}WAVE)|(?P<mp3>ID3|\xff[\xfb\xf3\xf2\xfa])|(?P<flac>fLaC)|(?P<ogg>OggS)"
    rb"|(?P<aac>\xff[\xf1\xf9])|(?P<m4a>.{4}ftyp(?:M4A |M4B |mp42|isom))",
    re.DOTALL,
)
TYPES: Final = {
    **{name: f"image/{name}" for name in ("png", "jpeg", "gif", "webp", "avif", "bmp")},
    **{name: f"audio/{name}" for name in ("wav", "flac", "ogg", "aac")},
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
}


class Medium(NamedTuple):
    """An image, sound or file in a message: its number among them, its base64, and its name."""

    k: int
    encoded: str
    name: str = ""

    @property
    def type(self) -> str | None:
        """The type of the first bytes; None for one that no page shows."""
        found = _SIGNATURE.match(_decoded(self.encoded[:_FIRST]) or b"")
        return TYPES[str(found.lastgroup)] if found else None

    @property
    def size(self) -> int:
        """The number of bytes, as far as it is base64."""
        return len(self.encoded.rstrip("=")) * 3 // 4

    def data(self) -> bytes | None:
        """Return the bytes; None for what is no base64."""
        return _decoded(self.encoded)


def base64_of(uri: str) -> str | None:
    """Return the base64 of a data: URI; None for any other address."""
    found = _DATA_URI.match(uri)
    return uri[found.end() :] if found else None


def _decoded(encoded: str) -> bytes | None:
    try:
        return binascii.a2b_base64(encoded)
    except ValueError:
        return None
