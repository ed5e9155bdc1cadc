"""Header fields as bytes (RFC 9110, 5), with the checks that keep a value from becoming a second field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Headers = list[tuple[bytes, bytes]]

TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""The bytes of a token (RFC 9110, 5.6.2): of a method, a field's name, a subprotocol."""

_LINE_BREAK_OR_NUL = re.compile(rb"[\r\n\0]")


class InvalidFieldError(ValueError):
    """A field that cannot be sent: its name is no token, or its value holds CR, LF or NUL."""

    def __init__(self, name: bytes, part: Literal["name", "value"]) -> None:
        super().__init__(f"{name!r} is no field name" if part == "name" else f"{name!r} holds CR, LF or NUL")
        self.name = name
        self.part = part


def is_token(value: bytes) -> bool:
    """True for one or more bytes of `TOKEN_BYTES`."""
    return value != b"" and not value.translate(None, TOKEN_BYTES)


def encode_fields(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The fields as lines, each with its line break. Raises `InvalidFieldError`."""
    names = [name for name, _ in fields]
    if b"" in names or b"".join(names).translate(None, TOKEN_BYTES):  # the check of all names costs as much as of one
        raise InvalidFieldError(next(name for name in names if not is_token(name)), "name")
    block = b"".join([b"%b: %b\r\n" % field for field in fields])
    if not block.count(b"\n") == block.count(b"\r") == len(names) or b"\0" in block:  # CR LF at the ends of lines only
        raise InvalidFieldError(next(name for name, value in fields if _LINE_BREAK_OR_NUL.search(value)), "value")
    return block
