"""What a command writes, and where that may be closed, full, or left by its reader."""

from __future__ import annotations

import io
import os
import sys


class OutputError(Exception):
    """Standard output cannot be written."""


def say(text: str, *, end: str = "\n") -> None:
    """Write to standard output, now. Raises OutputError, and BrokenPipeError when the reader has seen enough.

    A character that the terminal's encoding does not have is written as JSON writes it (`\\u00e9`), so that a JSON
    document stays one.
    """
    try:
        print(spelt(text, sys.stdout.encoding), end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from None


def spelt(text: str, encoding: str | None) -> str:
    """The text with every character that the encoding does not have replaced by JSON's escape for it."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return "".join(_spelt(character, encoding or "utf-8") for character in text)
    return text


def _spelt(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        units = character.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    return character


def ensure_standard_streams() -> None:
    """Put /dev/null where a standard stream was closed before the start: the first socket would take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)


def write_whatever_comes() -> None:
    """Have standard output and standard error spell out what their encoding does not have, where Python would fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def redirect_to_devnull(*numbers: int) -> None:
    """Put /dev/null in the place of these descriptors, or Python fails once more when it flushes at its exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in numbers:
        os.dup2(null, number)
    os.close(null)
