"""The text of a statement with its parameters, and where an error that the server locates is in the statement."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.engines.remote.trino.messages import Place

_PREFIX = "EXECUTE IMMEDIATE "
MAX_BIGINT = 2**63 - 1


class Statement:
    """A statement, and `text`, what is sent: with parameters it is an EXECUTE IMMEDIATE."""

    def __init__(self, sql: str, params: Sequence[object]) -> None:
        """Raises ErrBadRequest for a parameter that has no literal."""
        self._sql = sql
        self.text = sql
        if params:
            listed = ", ".join(_write_literal(value, number) for number, value in enumerate(params))
            self.text = f"{_PREFIX}{_quote(sql)} USING {listed}"
        self._in_literal = bool(params)

    def locate(self, line: int, column: int) -> Place | None:
        """Where a line and a column of the server, which count from 1, are in the statement.

        The server counts in the statement of an EXECUTE IMMEDIATE from where its literal begins.
        """
        if self._in_literal and line == 1:
            column -= len(_PREFIX)
        lines = self._sql.split("\n")
        if not 1 <= line <= len(lines):
            return None
        position = sum(len(before) + 1 for before in lines[: line - 1]) + column - 1
        return Place(position, line, column) if 0 <= position <= len(self._sql) else None


def _write_literal(value: object, number: int) -> str:
    """A value as a literal of Trino."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        return str(value) if abs(value) <= MAX_BIGINT else f"DECIMAL '{value}'"
    if isinstance(value, float):
        return f"DOUBLE '{value!r}'"
    if isinstance(value, str):
        return _quote(value)
    raise ErrBadRequest(
        f"`params[{number}]` must be a string, a number, true, false or null for Trino: build an ARRAY or a ROW in the"
        " statement",
        field=f"params[{number}]",
    )


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
