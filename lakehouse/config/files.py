"""Text files of the operator: their paths, and their UTF-8 text with or without a byte order mark."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class TextError(ValueError):
    """The bytes are not UTF-8 text. The message follows the name of the file: "is not UTF-8 text"."""


def read_text(path: str | Path) -> str:
    """Read the text of a file, without a byte order mark.

    Raises OSError, TextError, and ValueError for a NUL in the path.
    """
    return decode_text(Path(path).read_bytes())


def decode_text(data: bytes) -> str:
    """Decode UTF-8 without a byte order mark, line ends converted to newlines. Raises TextError."""
    if (encoding := other_encoding(data)) is not None:
        raise TextError(f"is not UTF-8 text but {encoding}: save it as UTF-8")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        raise TextError("is not UTF-8 text") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def other_encoding(data: bytes) -> str | None:
    """The encoding of the byte order mark at the beginning, if that is not UTF-8."""
    return next((encoding for mark, encoding in _OTHER_MARKS if data.startswith(mark)), None)


def expand_home(path: str) -> str:
    """Replace `~` or `~user` at the beginning of a path by that home directory.

    Raises ValueError with a clause that follows the name of a key.
    """
    if "\0" in path:
        raise ValueError("must be a path: it has a NUL character in it")
    expanded = os.path.expanduser(path)  # noqa: PTH111 - `Path.expanduser` raises for an unknown home directory
    if expanded.startswith("~"):
        user = expanded.partition("/")[0]
        raise ValueError(f'begins with {user}, but the home directory of that user is not known (got "{path}")')
    return expanded
