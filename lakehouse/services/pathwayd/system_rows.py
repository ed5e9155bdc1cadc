"""The traces as rows of the system table `pathway_traces`: one for each change of a trace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from lakehouse.services.contracts.row_sources import UnsealedRows
from lakehouse.services.pathwayd.trace_rows import Row, TraceReads, make_trace
from lakehouse.services.pathwayd.traces import Retirement, Source

MAX_CONTENT = 512 * 1024
"""Characters of the content of a trace in its row; more are cut."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_traces(reads: TraceReads, after: int, limit: int) -> UnsealedRows:
    """Read at most `limit` traces that have changed after a change. Raises what the database raises."""
    rows = reads.read_changed(after, limit=limit)
    lines = b"".join(msgspec.json.encode(_make_row(row)) + b"\n" for row in rows)
    return UnsealedRows(count=len(rows), mark=rows[-1].change if rows else after, lines=lines)


def _make_row(row: Row) -> dict[str, object]:
    trace = make_trace(row)
    because: str | None = None
    if isinstance(trace.retirement, Retirement):
        source = trace.retirement.source
        because = trace.retirement.reason or ("" if source is None else source.key)
    sources: Iterable[Source] = () if isinstance(trace.sources, msgspec.UnsetType) else trace.sources
    return {
        "uid": row.uid,
        "content": row.content.decode(errors="replace")[:MAX_CONTENT],
        "predecessor_uid": row.predecessor,
        "created": _read_time(row.created),
        "updated": _read_time(row.updated),
        "retired": trace.retired,
        "retired_because": because,
        "replay_count": row.replays,
        "tags": () if isinstance(trace.tags, msgspec.UnsetType) else trace.tags,
        "sources": [source.key for source in sources],
        "change": row.change,
    }


def _read_time(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
