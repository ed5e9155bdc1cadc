"""A statement as tokens: words, quoted names, strings, numbers and symbols, without white space and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import NamedTuple


class Kind(Enum):
    """The kind of a token."""

    WORD = "word"
    NAME = "name"
    STRING = "string"
    NUMBER = "number"
    SYMBOL = "symbol"


class Token(NamedTuple):
    """A token. `text` is lower case for words and quoted names, without the quotes. Positions are in characters."""

    kind: Kind
    text: str
    position: int
    end: int

    def is_word(self, *texts: str) -> bool:
        """Whether it is one of these words, not quoted."""
        return self.kind is Kind.WORD and self.text in texts

    def is_symbol(self, text: str) -> bool:
        """Whether it is this symbol."""
        return self.kind is Kind.SYMBOL and self.text == text


class Unterminated(ValueError):
    """A string, a quoted name or a comment has no end."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(f"{what} has no end")
        self.position = position


class Ambiguous(ValueError):
    """Servers disagree on where a comment or a string ends."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(f"servers disagree on the end of {what}: write it in another way")
        self.position = position


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexer:
    """What a dialect quotes with. `names` and `strings` are the characters around quoted names and strings.

    With `backslash`, a backslash in a string takes the next character along, unless the string is raw (``r'…'``). With
    `nested`, comments nest. With `hints`, what is in ``/*+ … */`` is no comment. With `joined`, a comment of one line
    that ends with a backslash has the next line as well. With `strict`, what servers read in several ways is refused.
    """

    names: str = '"'
    strings: str = "'"
    backslash: bool = False
    nested: bool = False
    hints: bool = False
    joined: bool = False
    strict: bool = False

    def read(self, sql: str, *, limit: int | None = None) -> list[Token]:
        """The tokens of a statement, up to a limit. Raises Unterminated, and Ambiguous if the lexer is strict."""
        return list(islice(self._read(sql), limit))

    def _read(self, sql: str) -> Iterator[Token]:
        at = 0
        while at < len(sql):
            if (end := self._skip_blank(sql, at)) == at:
                token = self._read_token(sql, at)
                end = token.end
                yield token
            at = end

    def _skip_blank(self, sql: str, at: int) -> int:
        """The end of the white space or of the comment that begins at `at`, or `at` if a token does."""
        if self.strict and (found := _AMBIGUOUS.match(sql, at)):
            raise Ambiguous("a comment" if found[0][0] in "-/" else "a string", at)
        if (found := _SPACE.match(sql, at)) or (found := (_JOINED_LINES if self.joined else _LINE).match(sql, at)):
            return found.end()
        is_comment = sql.startswith("/*", at) and not (self.hints and sql.startswith("/*+", at))
        return self._skip_comment(sql, at) if is_comment else at

    def _read_token(self, sql: str, start: int) -> Token:
        character = sql[start]
        if character in self.names:
            end = _find_end(sql, start, what="a quoted name")
            return Token(Kind.NAME, sql[start + 1 : end - 1].replace(character * 2, character).lower(), start, end)
        if character in self.strings:
            end = _find_end(sql, start, backslash=self.backslash, what="a string")
            return Token(Kind.STRING, sql[start + 1 : end - 1], start, end)
        if self.backslash and character in "rR" and sql[start + 1 : start + 2] in set(self.strings):
            end = _find_end(sql, start + 1, doubled=False, what="a string")
            return Token(Kind.STRING, sql[start + 2 : end - 1], start, end)
        if found := _WORD.match(sql, start):  # in both cases: some engines take U+017F for S
            return Token(Kind.WORD, found[0].upper().lower(), start, found.end())
        if found := _NUMBER.match(sql, start) or (_HINT_MARK.match(sql, start) if self.hints else None):
            return Token(Kind.NUMBER if character.isdigit() else Kind.SYMBOL, found[0], start, found.end())
        return Token(Kind.SYMBOL, character, start, start + 1)

    def _skip_comment(self, sql: str, start: int) -> int:
        """The end of the comment that begins at `start`."""
        depth = 0
        for found in (_MARK_BESIDE_HINTS if self.hints else _COMMENT_MARK).finditer(sql, start):
            if found[0] == "/*":
                depth = depth + 1 if self.nested else 1
            elif depth:
                depth -= 1
                if not depth:
                    return found.end()
        raise Unterminated("a comment", start)


_SPACE = re.compile(r"\s+")
_LINE = re.compile(r"--[^\r\n]*")
_JOINED_LINES = re.compile(r"--(?:\\\n|[^\r\n])*")
_WORD = re.compile(r"[^\W\d][\w$]*")
_NUMBER = re.compile(r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_COMMENT_MARK = re.compile(r"/\*|\*/")
_HINT_MARK = re.compile(r"/\*\+|\*/")
_MARK_BESIDE_HINTS = re.compile(r"/\*(?!\+)|\*/")
_AMBIGUOUS = re.compile(
    r"--[^\r\n]*(?:(?<=\\)\r?\n|\r(?!\n))"  # the end of the line, or not
    r"|/\*!"  # a comment, or a part of the statement
    r"|/\*\+(?:(?!\*/).)*?(?:['\"`]|--|/\*)"  # a hint, whose end may be quoted
    r"|\$(?:[^\W\d]\w*)?\$",  # a string between dollars, or no string
    re.DOTALL,
)


def _find_end(sql: str, start: int, *, what: str, backslash: bool = False, doubled: bool = True) -> int:
    """The end of a quoted text that begins at `start`. A quote that is `doubled` is one of its characters."""
    quote, at = sql[start], start + 1
    while at < len(sql):
        if backslash and sql[at] == "\\":
            at += 2
        elif sql[at] != quote:
            at += 1
        elif doubled and sql.startswith(quote, at + 1):
            at += 2
        else:
            return at + 1
    raise Unterminated(what, start)
