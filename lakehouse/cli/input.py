"""Text from arguments and standard input, whatever their bytes."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from lakehouse.config.files import other_encoding


class InputError(Exception):
    """Standard input cannot be read. The message has the reason."""


def replace_undecodable(argument: str) -> str:
    """An argument as text that can be encoded: bytes that the terminal's encoding does not have become U+FFFD."""
    try:
        return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # half of a surrogate pair, which is not an undecodable byte
        return argument.encode("utf-8", "replace").decode()


def read_words(words: Sequence[str]) -> str:
    """The words of a command line as one text; standard input if there are none, or only `-`. Raises InputError."""
    return read_prompt() if list(words) in ([], ["-"]) else replace_undecodable(" ".join(words))


def read_prompt() -> str:
    """Read all of standard input as text, without a byte order mark; undecodable bytes become U+FFFD.

    Raises InputError.
    """
    stdin = sys.stdin
    try:
        data = stdin.buffer.read() if isinstance(stdin, io.TextIOWrapper) else stdin.read().encode("utf-8", "replace")
    except (OSError, ValueError) as error:  # ValueError: standard input is closed
        raise InputError(f"standard input cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if (encoding := other_encoding(data)) is not None:
        raise InputError(f"standard input is not UTF-8 text but {encoding}: save it as UTF-8")
    return decode_prompt(data, stdin.encoding)


def decode_prompt(data: bytes, encoding: str | None) -> str:
    """Decode text as UTF-8 or, if it is not UTF-8, in the encoding of the terminal."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode(encoding or "utf-8", "replace")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
