"""Names in paths: decoded once, by whoever knows which part of the raw path is the name."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from lakehouse.asgi.router import make_not_found
from lakehouse.core.errors import ErrBadRequest


def decode_name(encoded: bytes, field: str = "name") -> str:
    """The name in a part of a raw path. Raises ErrBadRequest if it is not UTF-8, ErrNotFound if it is empty."""
    try:
        name = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise ErrBadRequest(f"the {field} in the path is not UTF-8", field=field) from None
    if not name:
        raise make_not_found()
    return name
