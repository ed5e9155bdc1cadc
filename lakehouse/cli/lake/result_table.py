"""Formats rows as a table for the terminal: names, types, alignment, and what does not fit cut off. Without I/O."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import msgspec

from lakehouse.cli.lake.client import Column
from lakehouse.cli.style import Style

GAP = 2
"""Spaces between two columns."""

MIN_WIDTH = 6
"""Characters that a column keeps when the terminal is narrow. If even that is too much, columns are left out."""

_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|DOUBLE|FLOAT|REAL|DECIMAL(\(\d+,\s*\d+\))?", re.IGNORECASE)

# Control characters, newline and tab included, become visible symbols.
_VISIBLE = {code: 0x2400 + code if code < 0x20 else 0xFFFD for code in (*range(0x20), *range(0x7F, 0xA0))}


def render_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    width: int,
    style: Style,
    ellipsis: str = "…",
    types: bool = True,
) -> Iterator[str]:
    """The lines of the table: names, types, a rule, then the rows. No line is wider than `width` characters.

    The line with the types is left out if `types` is false.
    """
    cells = [[format_value(value) for value in row] for row in rows]
    headers = [(column.name, column.type if types else "") for column in columns]
    widths = _column_widths(headers, cells, width)
    shown = [i for i, wanted in enumerate(widths) if wanted]
    right = [is_number(column.type) for column in columns]

    def line(texts: Sequence[str]) -> str:
        parts = [_fit(texts[i], widths[i], ellipsis, right=right[i]) for i in shown]
        if len(shown) < len(columns):
            parts.append(ellipsis)
        return (" " * GAP).join(parts).rstrip()

    yield style.title(line([_visible(column.name) for column in columns]))
    if types:
        yield style.dim(line([column.type for column in columns]))
    yield style.dim((" " * GAP).join("-" * widths[i] for i in shown))
    for row in cells:
        yield line(row)


def is_number(type_name: str) -> bool:
    """Whether values of this type are aligned to the right."""
    return _NUMBER.fullmatch(type_name) is not None


def format_value(value: object) -> str:
    """A value of a JSON answer as text."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case str():
            return _visible(value)
        case int():
            return str(value)
        case float():
            return repr(value)
    return _visible(msgspec.json.encode(value).decode())


def text_width(text: str) -> int:
    """The columns of a terminal that the text takes: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _visible(text: str) -> str:
    return text.translate(_VISIBLE)


def _column_widths(headers: Sequence[tuple[str, str]], cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """The width of each column; 0 for one that is left out because the terminal is too narrow for all."""
    wanted = [
        max(text_width(_visible(name)), len(type_), *(text_width(row[i]) for row in cells), 1)
        for i, (name, type_) in enumerate(headers)
    ]
    least = [min(each, MIN_WIDTH) for each in wanted]
    kept = len(headers)
    while kept > 1 and sum(least[:kept]) + GAP * (kept - 1) + (0 if kept == len(headers) else GAP + 1) > width:
        kept -= 1
    room = width - GAP * (kept - 1) - (0 if kept == len(headers) else GAP + 1)
    return [*_share(wanted[:kept], max(room, 1)), *([0] * (len(headers) - kept))]


def _share(wanted: list[int], room: int) -> list[int]:
    """Cut the widest columns to one width, so that all fit into `room`."""
    if sum(wanted) <= room:
        return wanted
    left, limit = room, 0
    for number, each in enumerate(sorted(wanted)):
        limit = left // (len(wanted) - number)
        if each > limit:
            break
        left -= each
    return [min(each, max(limit, 1)) for each in wanted]


def _fit(text: str, width: int, ellipsis: str, *, right: bool) -> str:
    """The text in exactly `width` columns."""
    taken = text_width(text)
    if taken > width:
        text = _cut(text, width - len(ellipsis)) + ellipsis[: max(width, 0)]
        taken = text_width(text)
    padding = " " * max(0, width - taken)
    return padding + text if right else text + padding


def _cut(text: str, width: int) -> str:
    taken = 0
    for at, character in enumerate(text):
        taken += _character_width(character)
        if taken > width:
            return text[:at]
    return text
