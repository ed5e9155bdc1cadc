"""What a person says to a command: arguments and standard input, in whatever bytes they come."""

from __future__ import annotations

import io
import sys

from lakehouse.config.files import other_encoding


class InputError(Exception):
    """Standard input cannot be read; the message says why."""


def clean(argument: str) -> str:
    """An argument as text that can be sent: bytes in it that are not of the terminal's encoding become U+FFFD."""
    try:
        return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # half of a surrogate pair, which no bytes stand for
        return argument.encode("utf-8", "replace").decode()


def read_prompt() -> str:
    """All of standard input as text, without a byte order mark; bytes that are not of its encoding become U+FFFD.

    Raises InputError.
    """
    stdin = sys.stdin
    try:
        data = stdin.buffer.read() if isinstance(stdin, io.TextIOWrapper) else stdin.read().encode("utf-8", "replace")
    except (OSError, ValueError) as error:  # ValueError: it was closed meanwhile
        raise InputError(f"standard input cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if (encoding := other_encoding(data)) is not None:
        raise InputError(f"standard input is not UTF-8 text but {encoding}: save it as UTF-8")
    return decode_prompt(data, stdin.encoding)


def decode_prompt(data: bytes, encoding: str | None) -> str:
    """Text in UTF-8, or else in the encoding of the terminal."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode(encoding or "utf-8", "replace")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
