"""The citation marks of an answer, checked while the answer arrives.

A mark is a number in square brackets, `[1]`. Models also write `[1, 3]`, `[2-4]`, `[^1]` and `【1†source】`; all of
them become `[n]` for each passage that exists. A mark that points at no passage is removed, with the blanks before it.
Spans and blocks of code are left as they are (`values[0]` is no citation), and cite nothing.

Text that may be the beginning of a mark is held back until the next piece decides; all other text is passed on at once.
At most `MAX_HELD` characters are held back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_HELD = 160
_NUMBER = r"\^?\d{1,6}"
_JOINT = r" ?[,;\u2013-] ?"
_TOKEN = re.compile(
    rf"(?P<gap>[ \t]{{0,8}})(?:\[ ?(?P<plain>{_NUMBER}(?:{_JOINT}{_NUMBER}){{0,11}}) ?\]"
    r"|\u3010 ?(?P<wide>\d{1,6}) ?(?:[\u2020\u2021:][^\u3011\n]{0,60})?\u3011)"
    r"|(?P<ticks>`+)|(?P<line>\n)"
)
_UNDECIDED = re.compile(
    r"[ \t]{0,8}(?:\[[ \d,;^\u2013-]{0,128}|\u3010[ \d]{0,8}(?:[\u2020\u2021:][^\u3011\n]{0,60})?)\Z|[ \t]{1,8}\Z|`+\Z"
)
"""The longest beginnings of marks are shorter than `MAX_HELD`, so text is checked alike in whatever pieces it comes."""

_OPEN = re.compile(r"\[[ \d,;^\u2013-]*\Z")
_RANGE = re.compile(rf"(?P<first>{_NUMBER})(?: ?[\u2013-] ?(?P<last>{_NUMBER}))?")
MAX_RANGE = 64
_FENCE = 3
"""Backticks from which a line on begins or ends a block of code."""


class CitationMarks:
    """Checks the marks of one answer against passages `1` to `count`. `cited` has the numbers that were found."""

    def __init__(self, count: int) -> None:
        self.cited: set[int] = set()
        self._count = count
        self._held = ""
        self._code = 0  # the backticks that have opened the span or the block of code, 0 outside of code
        self._block = False
        self._line_is_blank = True
        self._passed = ""  # the end of what has been passed on

    def feed(self, piece: str) -> str:
        """The text that is decided with this piece, marks checked."""
        text = self._held + piece
        undecided = _UNDECIDED.search(text, max(0, len(text) - MAX_HELD))
        end = len(text) if undecided is None else undecided.start()
        self._held = text[end:]
        return "".join(self._check(text[:end]))

    def finish(self) -> str:
        """The rest of the answer, which was held back."""
        text, self._held = self._held, ""
        return "".join(self._check(text))

    def _check(self, text: str) -> Iterator[str]:
        at = 0
        for token in _TOKEN.finditer(text):
            yield self._pass(text[at : token.start()])
            at = token.end()
            if token["ticks"]:
                self._take_backticks(len(token["ticks"]))
            elif token["line"]:
                self._end_line()
            elif not self._code:
                yield self._pass(self._rewrite(token))
                continue
            yield self._pass(token[0])
        yield self._pass(text[at:])

    def _pass(self, text: str) -> str:
        if text and not text.isspace():
            self._line_is_blank = False
        self._passed = (self._passed + text)[-MAX_HELD:]
        return text

    def _take_backticks(self, count: int) -> None:
        """Open or close code: a block by a line's first three backticks, a span by as many as opened it."""
        if not self._code:
            self._code = count
            self._block = count >= _FENCE and self._line_is_blank
        elif count >= self._code and self._line_is_blank if self._block else count == self._code:
            self._code, self._block = 0, False

    def _end_line(self) -> None:
        self._line_is_blank = True
        if not self._block:
            self._code = 0  # a backtick that nothing closes is a backtick

    def _rewrite(self, mark: re.Match[str]) -> str:
        numbers = [number for number in _read_numbers(mark["plain"] or mark["wide"]) if 1 <= number <= self._count]
        self.cited.update(numbers)
        if numbers:
            return mark["gap"] + "".join(f"[{number}]" for number in dict.fromkeys(numbers))
        return "[]" if _OPEN.search(self._passed) else ""  # in `[[9]1]` the removal would make a mark


def _read_numbers(mark: str) -> Iterator[int]:
    """The numbers of a mark in their order; both ends of a range and what lies between."""
    for found in _RANGE.finditer(mark):
        first = int(found["first"].lstrip("^"))
        last = first if found["last"] is None else int(found["last"].lstrip("^"))
        yield from range(first, last + 1) if first <= last <= first + MAX_RANGE else (first, last)
