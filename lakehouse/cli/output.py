"""Standard output and error of the commands, which may be closed, full, a broken pipe or of a limited encoding."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class OutputError(Exception):
    """Standard output cannot be written."""


def write_output(text: str, *, end: str = "\n") -> None:
    """Write to standard output and flush it. Raises OutputError, and BrokenPipeError when the reader closed the pipe.

    A character that the terminal's encoding does not have is written as a JSON escape (`\\u00e9`), so that a JSON
    document stays valid.
    """
    with _output_errors():
        print(escape_unencodable(text, sys.stdout.encoding), end=end, flush=True)


def write_output_bytes(data: bytes) -> None:
    """Write text in UTF-8 to standard output as it is, and flush it. Raises what `write_output` does."""
    with _output_errors():
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.buffer.write(data)
        else:
            sys.stdout.write(data.decode())
        sys.stdout.flush()


@contextmanager
def _output_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from None


def write_diagnostic(text: str, *, end: str = "\n") -> None:
    """Write to standard error and flush it. Where that cannot be written, the text is lost and the command goes on: the
    exit status still reports the result. A broken pipe is raised as by `write_output`."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass


def escape_unencodable(text: str, encoding: str | None) -> str:
    """The text with every character that the encoding does not have replaced by its JSON escape."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return "".join(_escape_character(character, encoding or "utf-8") for character in text)
    return text


def _escape_character(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        units = character.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    return character


def ensure_standard_streams() -> None:
    """Open /dev/null for every standard stream that is closed: otherwise the first socket would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)


def escape_unencodable_output() -> None:
    """Let standard output and standard error escape the characters that their encoding does not have, instead of
    failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def redirect_to_devnull(*numbers: int) -> None:
    """Replace these descriptors by /dev/null, so that the flush at the exit of Python does not fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in numbers:
        os.dup2(null, number)
    os.close(null)
