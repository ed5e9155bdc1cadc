"""The changes of traces, and what each of them does within a transaction. All functions block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from lakehouse.core.errors import ErrConflict, ErrNotFound, LakehouseError
from lakehouse.services.pathwayd.trace_rows import NewTrace, Row, TraceWrites, decode_sources, make_trace
from lakehouse.services.pathwayd.traces import Retirement, RowValues, Source, Trace, encode_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """Add a trace; with `replay`, one whose id is there counts a replay and keeps its content."""

    uid: str
    content: bytes
    tags: Sequence[str] = ()
    sources: Sequence[Source] = ()
    predecessor: str | None = None
    replay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Replace the content of a trace, and its tags if some are given."""

    uid: str
    content: bytes
    tags: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Retire a trace by its id, or all traces that are derived from a source, and what is derived from these."""

    uid: str = ""
    source: Source | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireRows:
    """Retire all traces that are derived from rows which a table has no more, and what is derived from these."""

    table: str
    rows: Sequence[RowValues]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Several changes, all of them or none."""

    changes: Sequence[Add | Update | Retire]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameTable:
    """Name a table by its new name in the sources of traces."""

    name: str
    to: str


Change = Add | Update | Retire | RetireRows | Batch | RenameTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a change: the trace after it, or the ids that were retired; or why nothing was changed."""

    trace: Trace | None = None
    retired: Sequence[str] = ()
    error: LakehouseError | None = None


def list_named(changes: Iterable[Change]) -> set[str]:
    """The ids of the traces that changes name."""
    named: set[str] = set()
    for change in changes:
        if isinstance(change, Add):
            sources = (source.trace for source in change.sources)
            named.update({change.uid, change.predecessor or "", *sources})
        elif isinstance(change, Update | Retire):
            named.add(change.uid)
        elif isinstance(change, Batch):
            named |= list_named(change.changes)
    return named - {""}


def apply_change(writes: TraceWrites, change: Change, now: int) -> Outcome:
    """Make one change or none of it: one that is refused has an outcome with an error. `now` is in nanoseconds.

    Raises what the database raises, which ends the transaction.
    """
    try:
        if not isinstance(change, Batch):  # is checked before it writes
            return _apply(writes, change, now)
        with writes.attempt():
            return _apply(writes, change, now)
    except LakehouseError as error:
        if not isinstance(error, ErrNotFound | ErrConflict):
            raise
        return Outcome(error=error)


def _apply(writes: TraceWrites, change: Change, now: int) -> Outcome:
    """Make a change. Raises ErrNotFound, ErrConflict."""
    if isinstance(change, Add):
        return Outcome(trace=make_trace(_add(writes, change, now)))
    if isinstance(change, Update):
        return Outcome(trace=make_trace(_update(writes, change, now)))
    if isinstance(change, Retire):
        return Outcome(retired=_retire(writes, change, now))
    if isinstance(change, RetireRows):
        return Outcome(retired=_retire_rows(writes, change, now))
    if isinstance(change, RenameTable):
        _rename_table(writes, change)
        return Outcome()
    retired: list[str] = []
    for part in change.changes:
        retired += _apply(writes, part, now).retired
    return Outcome(retired=retired)


def _add(writes: TraceWrites, add: Add, now: int) -> Row:
    named = [source.trace for source in add.sources if source.trace]
    found = writes.find_rows({add.uid, *named, *(() if add.predecessor is None else (add.predecessor,))})
    present = found.get(add.uid)
    if present is not None:
        if not add.replay:
            raise ErrConflict(f"there is a trace {add.uid!r} already", field="uid")
        return writes.count_replay(present, now)
    # A new trace has no successor, so no chain can become a circle.
    if add.predecessor is not None and add.predecessor not in found:
        raise ErrNotFound(f"there is no trace {add.predecessor!r}", field="predecessor_uid")
    for number, source in enumerate(add.sources):
        if source.trace:
            _check_source(f"sources[{number}].trace", source.trace, found.get(source.trace))
    return writes.insert(
        NewTrace(
            uid=add.uid,
            content=add.content,
            predecessor=add.predecessor,
            created=now,
            tags=add.tags,
            sources=add.sources,
        )
    )


def _check_source(field: str, uid: str, row: Row | None) -> None:
    if row is None:
        raise ErrNotFound(f"`{field}`: there is no trace {uid!r}", field=field)
    if row.retired:
        message = f"`{field}`: the trace {uid!r} is retired, so nothing can be derived from it"
        raise ErrConflict(message, field=field)


def _update(writes: TraceWrites, update: Update, now: int) -> Row:
    return writes.update(_find(writes, update.uid), update.content, update.tags, now)


def _retire(writes: TraceWrites, retire: Retire, now: int) -> list[str]:
    if retire.source is not None:
        return _retire_derived(writes, [retire.source], now, retire.reason)
    row = _find(writes, retire.uid)
    retired: list[str] = []
    if not row.retired:
        writes.mark_retired([(row.number, Retirement(at_ns=now, reason=retire.reason))])
        retired.append(retire.uid)
    return retired + _retire_derived(writes, [Source(trace=retire.uid)], now, retire.reason)


def _retire_rows(writes: TraceWrites, retire: RetireRows, now: int) -> list[str]:
    """Retire with one pass over the traces of the table, however many rows are gone."""
    retired: list[str] = []
    marked: list[tuple[int, Retirement]] = []
    gone = set(map(encode_row, retire.rows))
    (derived,) = writes.list_derived([Source(table=retire.table)])
    for each in derived:
        for source in decode_sources(each.sources):
            if source.table == retire.table and isinstance(source.row, dict) and encode_row(source.row) in gone:
                cause = Source(table=retire.table, row=source.row)
                marked.append((each.number, Retirement(at_ns=now, reason=retire.reason, source=cause)))
                retired.append(each.uid)
                break
    writes.mark_retired(marked)
    return retired + _retire_derived(writes, [Source(trace=uid) for uid in retired], now, retire.reason)


def _retire_derived(writes: TraceWrites, causes: Sequence[Source], now: int, reason: str) -> list[str]:
    """Retire breadth first, so that each trace has the nearest of its sources as the cause."""
    retired: list[str] = []
    while causes:
        marked: dict[int, tuple[str, Retirement]] = {}
        for cause, derived in zip(causes, writes.list_derived(causes), strict=True):
            for each in derived:
                if each.number not in marked and _ends_with(cause, each.sources):
                    marked[each.number] = each.uid, Retirement(at_ns=now, reason=reason, source=cause)
        writes.mark_retired([(number, retirement) for number, (_, retirement) in marked.items()])
        uids = [uid for uid, _ in marked.values()]
        retired += uids
        causes = [Source(trace=uid) for uid in uids]
    return retired


def _ends_with(cause: Source, sources: bytes) -> bool:
    """Whether what has these sources ends with a cause: a source of the same key, or a part of it, is among them."""
    if cause.snapshot == "" and cause.row == "":
        return True
    return any(each.key == cause.key and cause.covers(each) for each in decode_sources(sources))


def _rename_table(writes: TraceWrites, rename: RenameTable) -> None:
    traces: list[tuple[int, bytes]] = []
    for number, encoded in writes.list_sources(Source(table=rename.name)):
        sources = [
            msgspec.structs.replace(source, table=rename.to) if source.table == rename.name else source
            for source in decode_sources(encoded)
        ]
        traces.append((number, msgspec.json.encode(sources)))
    writes.rename_source(Source(table=rename.name), Source(table=rename.to), traces)


def _find(writes: TraceWrites, uid: str) -> Row:
    row = writes.find_rows([uid]).get(uid)
    if row is None:
        raise ErrNotFound(f"there is no trace {uid!r}", field="uid")
    return row
