"""A regular expression for the lines of a large NDJSON file that tell nothing new.

The first lines are scanned one by one, and tell keys, their order and kinds. A line that matches the expression made of
them is valid JSON, has each key once, and only values of kinds that their columns have shown already, so it need not be
scanned: it is only counted. The expression runs in C (RE2, in pyarrow) at several times the speed of the scanner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lakehouse.services.engines.writer_child.json_kinds import ARRAY, BOOLEAN, FRACTION, INTEGER, OBJECT, STRING, Node

if TYPE_CHECKING:
    from lakehouse.services.engines.writer_child.json_source import JsonColumns

MIN_FILE = 16 * 2**20
"""Bytes of a file for which it is worth to import pyarrow."""
MAX_LINE = 2**20
MAX_PATTERN = 20_000
MAX_REBUILDS = 8
REBUILD_SHARE, GIVE_UP_SHARE = 0.02, 0.6
"""Shares of lines that did not match: the expression is made again, or no longer used."""

_HEX = "[0-9A-Fa-f]"
_ESCAPES = (
    r'\\["\\/bfnrt]',
    rf"\\u(?:[0-9A-CEFa-cef]{_HEX}{{3}}|[dD][0-7]{_HEX}{{2}})",
    rf"\\u[dD][89ABab]{_HEX}{{2}}\\u[dD][C-Fc-f]{_HEX}{{2}}",
)
_TEXT = rf'"(?:[^"\\\x00-\x1f]|{"|".join(_ESCAPES)})*"'
_SCALARS = {  # fractions have at most 15 digits, which a double always gives back
    BOOLEAN: "true|false",
    INTEGER: "0|-?[1-9][0-9]{0,14}",
    FRACTION: "|".join(
        rf"-?(?:0|[1-9][0-9]{{0,{whole - 1}}})\.[0-9]{{1,{15 - whole}}}" for whole in (1, 3, 5, 7, 9, 11, 13)
    ),
    STRING: _TEXT,
}
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


class LinePattern:
    """Selects the lines that have to be scanned."""

    def __init__(self, columns: JsonColumns) -> None:
        self._columns = columns
        self._pattern: str | None = None
        self._rebuilds = 0
        self._missed = 1.0
        """The share of the last lines that did not match."""

    def select(self, lines: Sequence[str]) -> list[int] | None:
        """The positions of the lines to scan; None for all of them."""
        if self._rebuilds > MAX_REBUILDS or not self._columns.row_count:
            return None
        if self._missed > REBUILD_SHARE and self._rebuilds < MAX_REBUILDS:
            self._rebuilds += 1
            self._pattern = make_pattern(self._columns)
        if self._pattern is None or len(max(lines, key=len)) > MAX_LINE:
            return None
        import pyarrow as pa
        import pyarrow.compute as pc

        matches = pc.match_substring_regex(pa.array(lines, pa.string()), self._pattern)
        positions: list[int] = pc.indices_nonzero(pc.invert(matches)).to_pylist()
        self._missed = len(positions) / len(lines)
        if self._missed > GIVE_UP_SHARE and self._rebuilds > 1:
            self._rebuilds = MAX_REBUILDS + 1
        return positions


def make_pattern(columns: JsonColumns) -> str | None:
    """The expression for lines like those that have been counted; None if it would be too long."""
    records = [_object(order, columns.nodes) for order in columns.orders]
    pattern = rf"^(?:{'|'.join(records)})[ \t\r]*$"
    return pattern if records and len(pattern) <= MAX_PATTERN else None


def _object(order: Iterable[str], nodes: dict[str, Node]) -> str:
    return r"\{" + ", ?".join(f'"{_escape(key)}": ?(?:{_value(nodes[key])})' for key in order) + r"\}"


def _value(node: Node) -> str:
    """The values of the kinds that a node has shown. Kinds without an expression are left to the scanner."""
    choices = ["null", *(pattern for kind, pattern in _SCALARS.items() if node.kinds & kind)]
    if node.kinds & OBJECT:
        choices += [_object(order, node.fields) for order in node.orders]
    if node.kinds & ARRAY:
        element = "" if node.element is None else _value(node.element)
        choices.append(rf"\[(?:(?:{element})(?:, ?(?:{element}))*)?\]" if element else r"\[\]")
    return "|".join(choices)


def _escape(key: str) -> str:
    """A key as it stands in JSON. One that needs an escape there is never matched."""
    return _PUNCTUATION.sub(r"\\\1", key)
