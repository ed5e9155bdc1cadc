"""What stands between the values of a JSON array, or of objects one after another: brackets, commas, white space."""

from __future__ import annotations

import re

from lakehouse.services.engines.writer_child.call_errors import unprocessable

_SPACE = re.compile(r"[ \t\r\n]*")


def skip_space(text: str, position: int) -> int:
    """The position of the next character that is no white space."""
    match = _SPACE.match(text, position)
    return match.end() if match else position


class SequenceState:
    """Where the reader of an array, or of objects one after another, stands."""

    def __init__(self, *, array: bool) -> None:
        self.text = ""
        self.wanted = 0
        """Characters that the buffer must have before it is worth scanning."""
        self.position = 0
        """The end of the last record in the buffer."""
        self.count = 0
        self.closed = False
        self._array = array
        self._opened = not array
        self._lines = 1
        self._counted = 0

    def find_value(self, text: str, position: int) -> int | None:
        """The beginning of the next value, None at the end of the buffer or of the array."""
        position = skip_space(text, max(position, self.position))
        if not self._opened and position < len(text):  # the bracket that `_find_layout` has seen
            self._opened, position = True, skip_space(text, position + 1)
            self.position = position
            if text[position : position + 1] == "]":
                self.closed, self.position = True, position + 1
                position = skip_space(text, position + 1)
        if position == len(text):
            return None
        if self.closed:
            raise unprocessable(f"there is text behind the end of the array of {self.count} elements")
        return self._find_element(text, position) if self._array and self.count else position

    def _find_element(self, text: str, position: int) -> int | None:
        """Behind an element: a comma and the next one, or the end of the array."""
        if text[position] == "]":
            self.closed, self.position = True, position + 1
            return self.find_value(text, position + 1)
        if text[position] != ",":
            raise unprocessable(f"element {self.count} is not followed by a comma", line=self.count)
        position = skip_space(text, position + 1)
        return None if position == len(text) else position

    def place(self, text: str, start: int) -> int:
        """The number of the element, or the line, of the value that begins at `start`."""
        if self._array:
            return self.count + 1
        self._lines += text.count("\n", self._counted, start)
        self._counted = start
        return self._lines

    def accept(self, end: int) -> None:
        """Count a record that ends at `end`."""
        self.count += 1
        self.position = end

    def advance(self) -> None:
        """Forget the records of the buffer that are done."""
        if not self._array:
            self._lines += self.text.count("\n", self._counted, self.position)
            self._counted = 0
        done = self.position > 0
        self.text = self.text[self.position :]
        self.position = 0
        self.wanted = 0 if done else 2 * len(self.text)
