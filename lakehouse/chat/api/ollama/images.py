"""Images of Ollama's requests: base64 without a media type, which the bytes give."""

from __future__ import annotations

import binascii
import re

from lakehouse.chat.model.parts import ImagePart, ImageUrl
from lakehouse.core.errors import ErrBadRequest

SIGNATURES: tuple[tuple[bytes, int, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "png"),
    (b"\xff\xd8\xff", 0, "jpeg"),
    (b"GIF87a", 0, "gif"),
    (b"GIF89a", 0, "gif"),
    (b"WEBP", 8, "webp"),
    (b"BM", 0, "bmp"),
    (b"II*\x00", 0, "tiff"),
    (b"MM\x00*", 0, "tiff"),
    (b"ftypheic", 4, "heic"),
    (b"ftypavif", 4, "avif"),
)
"""The first bytes of each format, where they stand, and its media type below `image/`."""

_DATA_URL = re.compile(r"data:[\w.+/-]*(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)


def convert_image(given: str, where: str) -> ImagePart:
    """An image as a part of a message. A `data:` URL, which some clients send, is accepted too.

    Raises `ErrBadRequest` naming `where` for what is not base64, and for bytes of no known format.
    """
    prefix = _DATA_URL.match(given)
    data = re.sub(r"\s", "", given[prefix.end() :] if prefix else given)
    try:
        decoded = binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise ErrBadRequest(f"`{where}` is not valid base64: {error}", field=where) from None
    kind = find_format(decoded)
    if kind is None:
        formats = ", ".join(sorted({name for _, _, name in SIGNATURES}))
        raise ErrBadRequest(f"`{where}` is an image of no known format ({formats})", field=where)
    return ImagePart(image_url=ImageUrl(url=f"data:image/{kind};base64,{data}"))


def find_format(data: bytes) -> str | None:
    """The format that the bytes of an image begin with, as in `image/png`; None for an unknown one."""
    return next((kind for start, offset, kind in SIGNATURES if data.startswith(start, offset)), None)
