"""The system tables and their columns. A field id is never used for another column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lakehouse.services.contracts.catalog import SYSTEM_SCHEMA, Column
from lakehouse.services.contracts.tables import TableField

Source = Literal["traffic", "pathwayd", "observerd"]
"""Where rows come from: batches of workers, or a service (`RowSource`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemTable:
    """A table. `rows_of` is the table whose rows it is made of, by `query` with these in the place of `{rows}`.

    `columns` are those that a query sees, `fields` those of the files.
    """

    name: str
    source: Source = "traffic"
    fields: Sequence[TableField] = ()
    columns: Sequence[Column] = ()
    rows_of: str = ""
    query: str = ""

    @property
    def full_name(self) -> str:
        """The name in the catalog."""
        return f"{SYSTEM_SCHEMA}/{self.name}"


def _fields(*columns: str) -> tuple[TableField, ...]:
    """Fields from `name TYPE`, with the ids 1, 2 and so on."""
    pairs = [column.split(" ", 1) for column in columns]
    return tuple(TableField(id=number, name=name, type=kind) for number, (name, kind) in enumerate(pairs, 1))


def _columns(*columns: str) -> tuple[Column, ...]:
    pairs = [column.split(" ", 1) for column in columns]
    return tuple(Column(name=name, type=kind) for name, kind in pairs)


def _table(name: str, *columns: str, source: Source = "traffic") -> SystemTable:
    return SystemTable(name=name, source=source, fields=_fields(*columns), columns=_columns(*columns))


_REQUEST_COLUMNS = (
    "time TIMESTAMP WITH TIME ZONE",
    "request_id VARCHAR",
    "trace_id VARCHAR",
    "session VARCHAR",
    "agent VARCHAR",
    "principal VARCHAR",
    "method VARCHAR",
    "route VARCHAR",
    "status INTEGER",
    "outcome VARCHAR",
    "error VARCHAR",
    "tier VARCHAR",
    "upstream VARCHAR",
    "provider VARCHAR",
    "model VARCHAR",
    "attempt_count INTEGER",
    "input_tokens BIGINT",
    "output_tokens BIGINT",
    "cached_tokens BIGINT",
    "reasoning_tokens BIGINT",
    "cost_usd DOUBLE",
    "first_piece_ms DOUBLE",
    "total_ms DOUBLE",
    "upstream_ms DOUBLE",
    "own_ms DOUBLE",
    "passages INTEGER",
    "citations INTEGER",
    "left_out VARCHAR[]",
    "adjusted VARCHAR[]",
    "requested_model VARCHAR",
    "bytes_in BIGINT",
    "bytes_out BIGINT",
)

REQUESTS = SystemTable(
    name="requests",
    fields=_fields(*_REQUEST_COLUMNS, "attempts VARCHAR"),
    columns=_columns(*_REQUEST_COLUMNS),
    query="SELECT * EXCLUDE (attempts) FROM {rows}",
)
"""The rows of the files have the attempts as well (`telemetry.traffic.RecordedAttempts`), as JSON."""

_RECORDED_ATTEMPTS = """{
    "began": "DOUBLE",
    "records": [{
        "upstream": "VARCHAR", "model": "VARCHAR", "started": "DOUBLE", "why": "VARCHAR", "ended": "DOUBLE",
        "first_piece": "DOUBLE", "status": "INTEGER", "error": "VARCHAR"
    }]
}"""

ATTEMPTS = SystemTable(
    name="attempts",
    rows_of="requests",
    columns=_columns(
        "time TIMESTAMP WITH TIME ZONE",
        "request_id VARCHAR",
        "number INTEGER",
        "provider VARCHAR",
        "model VARCHAR",
        "reason VARCHAR",
        "result VARCHAR",
        "status INTEGER",
        "first_piece_ms DOUBLE",
        "total_ms DOUBLE",
    ),
    query=f"""
        SELECT time - to_microseconds(CAST((began - made.started) * 1000000 + total_ms * 1000 AS BIGINT)) AS time,
            request_id, number, made.upstream AS provider, made.model AS model, coalesce(made.why, 'first') AS reason,
            CASE WHEN made.ended IS NULL THEN 'cancelled' ELSE coalesce(made.error, 'ok') END AS result,
            made.status AS status, round((made.first_piece - made.started) * 1000, 3) AS first_piece_ms,
            round((coalesce(made.ended, began + total_ms / 1000) - made.started) * 1000, 3) AS total_ms
        FROM (
            SELECT time, request_id, total_ms, recorded.began AS began, unnest(recorded.records) AS made,
                CAST(unnest(range(1, len(recorded.records) + 1)) AS INTEGER) AS number
            FROM (
                SELECT time, request_id, total_ms, from_json(attempts, '{_RECORDED_ATTEMPTS}') AS recorded
                FROM {{rows}} WHERE attempts IS NOT NULL))""",  # noqa: S608 - constants
)
"""What a record leaves out has its default (`core.attempts.AttemptRecord`)."""

CONTENTS = _table(
    "contents",
    "time TIMESTAMP WITH TIME ZONE",
    "request_id VARCHAR",
    "messages VARCHAR",
    "answer VARCHAR",
)

DROPPED_ROWS = _table("dropped_rows", "time TIMESTAMP WITH TIME ZONE", "worker INTEGER", "rows BIGINT")

SESSIONS = SystemTable(
    name="sessions",
    rows_of="requests",
    columns=_columns(
        "session VARCHAR",
        "began TIMESTAMP WITH TIME ZONE",
        "last TIMESTAMP WITH TIME ZONE",
        "agents BIGINT",
        "requests BIGINT",
        "failed BIGINT",
        "attempts BIGINT",
        "input_tokens BIGINT",
        "output_tokens BIGINT",
        "cached_tokens BIGINT",
        "reasoning_tokens BIGINT",
        "cost_usd DOUBLE",
        "total_ms DOUBLE",
    ),
    query="""
        SELECT session, min(time - to_microseconds(CAST(total_ms * 1000 AS BIGINT))) AS began, max(time) AS last,
            count(DISTINCT agent) AS agents, count(*) AS requests,
            count(*) FILTER (outcome <> 'answered' OR status >= 400) AS failed,
            CAST(sum(attempt_count) AS BIGINT) AS attempts, CAST(sum(input_tokens) AS BIGINT) AS input_tokens,
            CAST(sum(output_tokens) AS BIGINT) AS output_tokens, CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens,
            CAST(sum(reasoning_tokens) AS BIGINT) AS reasoning_tokens, sum(cost_usd) AS cost_usd,
            sum(total_ms) AS total_ms
        FROM {rows} WHERE session IS NOT NULL GROUP BY session""",
)

_TRACE_COLUMNS = (
    "uid VARCHAR",
    "content VARCHAR",
    "predecessor_uid VARCHAR",
    "created TIMESTAMP WITH TIME ZONE",
    "updated TIMESTAMP WITH TIME ZONE",
    "retired BOOLEAN",
    "retired_because VARCHAR",
    "replay_count BIGINT",
    "tags VARCHAR[]",
    "sources VARCHAR[]",
)

PATHWAY_TRACES = SystemTable(
    name="pathway_traces",
    source="pathwayd",
    fields=_fields(*_TRACE_COLUMNS, "change BIGINT"),
    columns=_columns(*_TRACE_COLUMNS),
    query="""
        SELECT * EXCLUDE (change) FROM {rows}
        QUALIFY row_number() OVER (PARTITION BY uid ORDER BY change DESC) = 1""",
)
"""The rows of the files are versions of traces; the newest of each counts."""

OBSERVER_OPS = _table(
    "observer_ops",
    "number BIGINT",
    "time TIMESTAMP WITH TIME ZONE",
    "endpoint VARCHAR",
    "source VARCHAR",
    "event_kind VARCHAR",
    "success BOOLEAN",
    "duration_ms DOUBLE",
    "input_summary VARCHAR",
    "output_summary VARCHAR",
    "error VARCHAR",
    "staffer_id VARCHAR",
    "sig_hash VARCHAR",
    "role VARCHAR",
    "city VARCHAR",
    "state VARCHAR",
    "count BIGINT",
    "rescue_attempted BOOLEAN",
    "rescue_succeeded BOOLEAN",
    source="observerd",
)

TABLES = (REQUESTS, ATTEMPTS, SESSIONS, CONTENTS, DROPPED_ROWS, PATHWAY_TRACES, OBSERVER_OPS)


def list_tables(*, contents: bool) -> tuple[SystemTable, ...]:
    """The tables of a service that records `contents` or does not."""
    return tuple(table for table in TABLES if contents or table is not CONTENTS)
