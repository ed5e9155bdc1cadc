"""A statement as tokens: words, quoted names, strings, numbers and symbols, without white space and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The kind of a token."""

    WORD = "word"
    NAME = "name"
    STRING = "string"
    NUMBER = "number"
    SYMBOL = "symbol"


@dataclass(frozen=True, slots=True)
class Token:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexer:
    """What a dialect quotes with. `names` and `strings` are the characters around quoted names and strings.

    With `backslash`, a backslash in a string takes the next character along, unless the string is raw (``r'…'``). With
    `nested`, comments nest.
    """

    names: str = '"'
    strings: str = "'"
    backslash: bool = False
    nested: bool = False

    def read(self, sql: str) -> list[Token]:
        """The tokens of a statement. Raises Unterminated."""
        return list(self._read(sql))

    def _read(self, sql: str) -> Iterator[Token]:
        at = 0
        while at < len(sql):
            start = at
            if found := _SPACE.match(sql, at):
                at = found.end()
            elif sql.startswith("/*", at):
                at = self._skip_comment(sql, at)
            elif sql[at] in self.names:
                at = _find_end(sql, at, backslash=False, what="a quoted name")
                quote = sql[start]
                yield Token(Kind.NAME, sql[start + 1 : at - 1].replace(quote * 2, quote).lower(), start, at)
            elif sql[at] in self.strings:
                at = _find_end(sql, at, backslash=self.backslash, what="a string")
                yield Token(Kind.STRING, sql[start + 1 : at - 1], start, at)
            elif self.backslash and sql[at] in "rR" and sql[at + 1 : at + 2] in set(self.strings):
                at = _find_end(sql, at + 1, backslash=False, what="a string")
                yield Token(Kind.STRING, sql[start + 2 : at - 1], start, at)
            elif found := _WORD.match(sql, at):
                at = found.end()
                yield Token(Kind.WORD, found[0].lower(), start, at)
            elif found := _NUMBER.match(sql, at):
                at = found.end()
                yield Token(Kind.NUMBER, found[0], start, at)
            else:
                at += 1
                yield Token(Kind.SYMBOL, sql[start], start, at)

    def _skip_comment(self, sql: str, start: int) -> int:
        """The end of the comment that begins at `start`."""
        depth = 0
        for found in _COMMENT_MARK.finditer(sql, start):
            if found[0] == "/*":
                depth = depth + 1 if self.nested else 1
            elif depth:
                depth -= 1
                if not depth:
                    return found.end()
        raise Unterminated("a comment", start)


_SPACE = re.compile(r"(?:\s|--[^\r\n]*)+")
_WORD = re.compile(r"[^\W\d][\w$]*")
_NUMBER = re.compile(r"\d[\w.]*")
_COMMENT_MARK = re.compile(r"/\*|\*/")


def _find_end(sql: str, start: int, *, backslash: bool, what: str) -> int:
    """The end of a quoted text that begins at `start`: a doubled quote is one of its characters."""
    quote, at = sql[start], start + 1
    while at < len(sql):
        if backslash and sql[at] == "\\":
            at += 2
        elif sql[at] != quote:
            at += 1
        elif sql.startswith(quote, at + 1):
            at += 2
        else:
            return at + 1
    raise Unterminated(what, start)
