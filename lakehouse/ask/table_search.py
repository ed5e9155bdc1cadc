"""The search for rows of a table by words: one SELECT, whose texts are parameters.

A row counts by the words of the question that are in it, rare words more than frequent ones. A word is compared with
whole words of the row's values, in any case, with or without a plural's ending. The rows after `MAX_ROWS` are not
looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

MAX_ROWS = 200_000
MAX_WORDS = 12
MAX_VALUE = 2_000
"""Characters of one value in a passage."""

LEAST_SHARE = 0.5
"""A row is found if its score is at least this part of the best one's."""

_WORD = re.compile(r"[^\W_]+")
_KEY_NAMES = ("id", "key", "uid", "uuid")
_SKIPPED_TYPES = ("BLOB", "BIT", "GEOMETRY")
_STOP_WORDS = frozenset(
    """a about all also am an and any are as at be been but by can could did do does each few for from give had has have
    he her here his how i if in into is it its just list many may me more most much my no nor not of off on once only or
    our out over say she should show so some such tell than that the their them then there these they this those to too
    under until up use us very was we were what when where which while who whom whose why will with would you your
    """.split()  # noqa: SIM905 - a list of a hundred strings is a hundred lines
)


class Column(msgspec.Struct, frozen=True):
    """A column of a table."""

    name: str
    type: str


class Statement(NamedTuple):
    """A statement with its parameters."""

    sql: str
    params: list[object]


class FoundRow(NamedTuple):
    """A row that was found: its number in the table, its key, and its values as lines of text.

    `key_column` is None, and the key the row's number, if no column is one.
    """

    number: int
    key: str
    key_column: str | None
    text: str


def find_words(question: str) -> tuple[str, ...]:
    """The words of a question to search for: in lower case, each once, without those that every text has."""
    words = (word.lower() for word in _WORD.findall(question))
    kept = [word for word in words if word not in _STOP_WORDS and (len(word) > 1 or not word.isascii())]
    return tuple(dict.fromkeys(map(_singular, kept)))[:MAX_WORDS]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def searched_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns whose values are text, or become text."""
    return tuple(column for column in columns if not column.type.upper().startswith(_SKIPPED_TYPES))


def make_statement(table: str, columns: Sequence[Column], words: Sequence[str], limit: int) -> Statement:
    """The statement that gives the best rows: number, score, and the columns as text, the best first.

    `columns` are `searched_columns`, at least one; so are `words`.
    """
    number, text, score = (_free_name(name, columns) for name in ("row", "text", "score"))
    shown = ", ".join(f"CAST({_quote(column.name)} AS VARCHAR) AS {_quote(column.name)}" for column in columns)
    values = ", ".join(_quote(column.name) for column in columns)
    cut = ", ".join(f"left({_quote(column.name)}, {MAX_VALUE + 1:d})" for column in columns)
    hits = [f"h{position}" for position in range(len(words))]
    tests = ", ".join(f"CAST(contains({text}, ?) AND regexp_matches({text}, ?) AS INTEGER) AS {hit}" for hit in hits)
    weights = ", ".join(f"ln(1 + count(*) / (1 + sum({hit}))) AS w{position}" for position, hit in enumerate(hits))
    total = " + ".join(f"h{position} * w{position}" for position in range(len(words)))
    sql = (
        f"WITH numbered AS (SELECT row_number() OVER () - 1 AS {number}, {shown} "
        f"FROM (SELECT * FROM {_quote(table)} LIMIT {MAX_ROWS:d})), "
        f"texts AS (SELECT {number}, lower(concat_ws(' ', {values})) AS {text} FROM numbered), "
        f"matches AS MATERIALIZED (SELECT {number}, {tests} FROM texts), "
        f"weights AS (SELECT {weights} FROM matches), "
        f"ranked AS (SELECT {number}, {total} AS {score} FROM matches, weights "
        f"WHERE {' + '.join(hits)} > 0 ORDER BY {score} DESC, {number} LIMIT {limit:d}) "
        f"SELECT numbered.{number}, {score}, {cut} FROM ranked JOIN numbered USING ({number}) "
        f"ORDER BY {score} DESC, numbered.{number}"
    )
    return Statement(sql, [each for word in words for each in (word, _pattern(word))])


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _free_name(name: str, columns: Sequence[Column]) -> str:
    """A quoted name that no column has."""
    taken = {column.name.lower() for column in columns}
    while name in taken:
        name += "_"
    return _quote(name)


def _pattern(word: str) -> str:
    """The word between characters that belong to no word; RE2's `\\b` knows ASCII only."""
    return rf"(?:^|[^\p{{L}}\p{{N}}]){word}(?:e?s)?(?:$|[^\p{{L}}\p{{N}}])"


def read_rows(table: str, columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> Iterator[FoundRow]:
    """The rows of the statement's result, without those that match much less than the best one."""
    key_column = _find_key(table, columns)
    best = max((_score(row) for row in rows), default=0.0)
    for row in rows:
        if _score(row) < LEAST_SHARE * best:
            continue
        values = {column.name: value for column, value in zip(columns, row[2:], strict=True) if value is not None}
        key = None if key_column is None else values.get(key_column)
        yield FoundRow(
            number=int(str(row[0])),
            key=str(row[0] if key is None else key),
            key_column=None if key is None else key_column,
            text="\n".join(f"{name}: {_one_line(str(value))}" for name, value in values.items()),
        )


def _score(row: Sequence[object]) -> float:
    score = row[1]
    return float(score) if isinstance(score, int | float | str) else 0.0


def _find_key(table: str, columns: Sequence[Column]) -> str | None:
    """The column that is the key by its name: `id`, `key`, or `<table>_id` for the table or its singular."""
    last = re.split(r"[/.]", table.lower())[-1]
    wanted = (*_KEY_NAMES, f"{last}_id", f"{_singular(last)}_id", f"{last}_key", f"{_singular(last)}_key")
    by_name = {column.name.lower(): column.name for column in reversed(columns)}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _one_line(value: str) -> str:
    """A value on the line of its column: the lines behind the first one are indented."""
    shown = value if len(value) <= MAX_VALUE else value[:MAX_VALUE] + "…"
    return "\n  ".join(shown.splitlines())
