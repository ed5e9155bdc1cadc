"""The documents of vectord's answers."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from lakehouse.asgi.responses import Response
from lakehouse.services.contracts.retrieval import Hits, IndexInfo, Merged, Written


class SourceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The table to which an index is kept.

    `snapshot_id` is the snapshot of the last sync; `behind` is the number of snapshots that have been committed since,
    null if that is unknown. `complete` is false if a sync of several transactions was cut short.
    """

    table: str
    key: str
    text: list[str]
    metadata: list[str]
    snapshot_id: str | None
    complete: bool
    behind: int | None


def make_info(info: IndexInfo, source: SourceDocument | None) -> dict[str, object]:
    """The document of one index."""
    return {
        "name": info.name,
        "dimension": info.dimension,
        "distance": info.distance,
        "model": info.model or None,
        "length": info.length,
        "exact": info.exact,
        "recall": 1.0 if info.exact else info.recall,
        "version": info.version,
        "keyword": info.keyword,
        "keyword_lag": info.keyword_lag,
        "approximate": info.approximate,
        "fields": info.fields,
        "bytes": info.memory,
        "created_at": datetime.fromtimestamp(info.created_ms / 1000, UTC),
        "source": source,
    }


def make_added(written: Written) -> dict[str, object]:
    """The answer to an upload of items."""
    return {
        "added": written.added,
        "replaced": written.replaced,
        "length": written.length,
        "version": written.version,
    }


def make_deleted(written: Written) -> dict[str, object]:
    """The answer to a deletion of items."""
    return {"deleted": written.deleted, "length": written.length, "version": written.version}


def make_merged(merged: Merged) -> dict[str, object]:
    """The answer to a merge; `length` is that of the destination."""
    return {"merged": merged.merged, "skipped": merged.skipped, "length": merged.length}


def make_results(hits: Hits, *, has_text: bool) -> Response:
    """The answer to a search: the engine's JSON in a document."""
    tail: dict[str, object] = {"exact": hits.exact, "version": hits.version}
    if has_text:
        tail |= {"model": hits.model or None, "keyword_lag": hits.keyword_lag}
    return Response(b'{"results":' + hits.results + b"," + msgspec.json.encode(tail)[1:])
