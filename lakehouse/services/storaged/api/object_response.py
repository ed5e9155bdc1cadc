"""The headers of an object's response, and its content type. Pure functions."""

from __future__ import annotations

import re
from urllib.parse import quote

from lakehouse.core.errors import ErrBadRequest

DEFAULT_CONTENT_TYPE = "application/octet-stream"
MAX_CONTENT_TYPE = 255

_CONTENT_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(;[\x20-\x7e\t]*)?")

_ACTIVE = frozenset(
    (
        "application/mathml+xml",
        "application/xhtml+xml",
        "application/xml",
        "application/xslt+xml",
        "image/svg+xml",
        "multipart/x-mixed-replace",
        "text/html",
        "text/xml",
        "text/xsl",
    )
)
"""Media types in which a browser runs scripts, with the rights of the page at `/`. They are sent as attachments."""


def read_content_type(value: bytes | None) -> str:
    """The content type to store, from the header of an upload. Raises ErrBadRequest."""
    text = "" if value is None else value.decode("latin-1").strip()
    if not text:
        return DEFAULT_CONTENT_TYPE
    if len(text) > MAX_CONTENT_TYPE or not _CONTENT_TYPE.fullmatch(text):
        raise ErrBadRequest(f"Content-Type is no media type of at most {MAX_CONTENT_TYPE} characters, such as text/csv")
    return text


def make_object_headers(key: str, content_type: str) -> list[tuple[bytes, bytes]]:
    """The headers of an object's responses besides those of its content."""
    headers = [(b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff")]
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _ACTIVE or media_type.endswith("+xml"):
        name = quote(key.rpartition("/")[2], safe="")
        headers.append((b"content-disposition", f"attachment; filename*=UTF-8''{name}".encode()))
    return headers
