"""The body of a request to `/sql`, and the format that its client accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from lakehouse.config.values import duration
from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.query_engine import Query, ResultFormat

CONTENT_TYPES: Mapping[ResultFormat, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
_MEDIA_TYPES: Mapping[str, ResultFormat] = {
    "application/json": "json",
    "application/*": "json",
    "*/*": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/csv": "csv",
    "text/*": "csv",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.parquet": "parquet",
}


class SqlRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body: one statement, its parameters, and limits, which can only be lowered.

    Without `engine`, the statement runs on the engine of `[queryd] engine`.
    """

    sql: str
    engine: str | None = None
    params: list[object] | dict[str, object] | None = None
    max_rows: int | None = None
    timeout: float | str | None = None
    snapshot: int | str | None = None

    def make_query(self, answer: ResultFormat, max_rows: int) -> Query:
        """Make the query. `max_rows` is the ceiling of a JSON answer. Raises ErrBadRequest for a value out of range."""
        if not self.sql.strip():
            raise ErrBadRequest("`sql` is empty: one SELECT is expected", field="sql")
        if self.max_rows is not None and self.max_rows < 0:
            raise ErrBadRequest("`max_rows` must not be negative", field="max_rows")
        return Query(
            sql=self.sql,
            format=answer,
            params=self.params or (),  # type: ignore[arg-type]  # decoded from JSON
            timeout=self._read_timeout(),
            max_rows=self._read_max_rows(answer, max_rows),
            snapshot_id=self._read_snapshot(),
        )

    def _read_max_rows(self, answer: ResultFormat, ceiling: int) -> int | None:
        if answer != "json":
            return self.max_rows
        return ceiling if self.max_rows is None else min(self.max_rows, ceiling)

    def _read_timeout(self) -> float | None:
        if self.timeout is None:
            return None
        try:
            seconds = duration(self.timeout)
        except ValueError as error:
            raise ErrBadRequest(f"`timeout` {error}", field="timeout") from None
        if seconds == 0:
            raise ErrBadRequest("`timeout` must be longer than zero", field="timeout")
        return seconds

    def _read_snapshot(self) -> str | None:
        if self.snapshot is None:
            return None
        text = str(self.snapshot)
        if not (text.isascii() and text.isdecimal()):
            raise ErrBadRequest("`snapshot` must be the id of a snapshot, a number or its digits", field="snapshot")
        return text


def choose_format(headers: Iterable[tuple[bytes, bytes]]) -> ResultFormat:
    """The known media type that `Accept` prefers; JSON without one. Of equal ones the first is taken."""
    best: ResultFormat = "json"
    best_weight = 0.0
    for name, value in headers:
        if name == b"accept":
            for item in value.decode("latin-1").split(","):
                media_type, weight = _read_media_range(item)
                known = _MEDIA_TYPES.get(media_type)
                if known is not None and weight > best_weight:
                    best, best_weight = known, weight
    return best


def _read_media_range(item: str) -> tuple[str, float]:
    """A media range and its weight; 0 for a weight that is not a number."""
    media_type, *parameters = (part.strip() for part in item.split(";"))
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                weight = min(float(value), 1.0)
            except ValueError:
                weight = 0.0
    return media_type.lower(), weight
