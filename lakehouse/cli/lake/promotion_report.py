"""What `lakehouse promote` prints: tables, objects, what was compared, what stays, and the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from lakehouse.cli.lake.client import Column
from lakehouse.cli.lake.progress import format_size
from lakehouse.cli.lake.result_table import render_table
from lakehouse.cli.lake.tables import PIPE_WIDTH
from lakehouse.cli.lake.warehouse_lines import Tables, write_lines
from lakehouse.cli.style import Style
from lakehouse.services.promotion.messages import TableSource
from lakehouse.services.promotion.promoter import Outcome
from lakehouse.services.promotion.staying import list_staying

_COLUMNS = tuple(
    Column(name=name, type=type_)
    for name, type_ in (
        ("table", ""),
        ("rows", "BIGINT"),
        ("snapshots", "BIGINT"),
        ("tags", "BIGINT"),
        ("files", "BIGINT"),
        ("size", "BIGINT"),
        ("compared", ""),
    )
)


class ReportedTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table. `compared`: "values" of the newest snapshot, "rows" for their number, "" for nothing."""

    name: str
    dropped: bool
    rows: int
    snapshots: int
    tags: int
    files: int
    bytes: int
    compared: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a promotion. `state` is `planned`, `promoted`, or `promoted before`."""

    state: str
    folder: str
    warehouse: str
    catalog: str
    tables: Sequence[ReportedTable]
    objects: int
    files: int
    bytes: int
    copied: int
    removed: int
    traces: int | None
    operations: int | None
    stays: dict[str, str]
    configuration: str


def make_report(outcome: Outcome, folder: Path, warehouse: str, tables: Tables, *, dry_run: bool) -> Report:
    """The report of an outcome."""
    state = "promoted before" if outcome.again else "planned" if dry_run else "promoted"
    return Report(
        state=state,
        folder=str(folder),
        warehouse=warehouse,
        catalog=str(tables["lake"]["catalog"]),
        tables=[_report_table(table, outcome) for table in outcome.plan.tables],
        objects=len(outcome.plan.objects),
        files=len(outcome.plan.files),
        bytes=outcome.plan.size,
        copied=outcome.copied,
        removed=outcome.removed,
        traces=None if outcome.records is None else outcome.records.traces,
        operations=None if outcome.records is None else outcome.records.operations,
        stays=dict(list_staying(folder, records="pathwayd" in tables)),
        configuration="\n".join(write_lines(tables)),
    )


def _report_table(table: TableSource, outcome: Outcome) -> ReportedTable:
    checked = outcome.find_checked(table.entry)
    return ReportedTable(
        name=table.entry.shown,
        dropped=table.entry.dropped,
        rows=table.rows if checked is None else checked.rows,
        snapshots=table.snapshots,
        tags=table.tags,
        files=len(table.files),
        bytes=sum(file.size for file in table.files),
        compared="" if checked is None else "values" if checked.hashed else "rows",
    )


def format_report(report: Report, style: Style) -> Iterator[str]:
    """The lines of a report for people."""
    if report.tables:
        yield from render_table(
            _COLUMNS, [_format_table(table) for table in report.tables], width=PIPE_WIDTH, style=style, types=False
        )
        yield ""
    files = f"{report.files:,} files of {format_size(report.bytes)}"
    objects = f"{len(report.tables)} tables and {report.objects:,} objects, {files}"
    match report.state:
        case "planned":
            yield f"would be promoted to {report.warehouse}: {objects}"
        case "promoted before":
            yield f"promoted to {report.warehouse} before, and nothing was done: {objects}"
        case _:
            removed = f", {report.removed} removed that the lake does not have any more" if report.removed else ""
            yield f"promoted to {report.warehouse}: {objects} ({report.copied:,} copied by this run{removed})"
    if report.traces is not None:
        yield f"{report.traces:,} traces and {report.operations:,} operations are in PostgreSQL"
    if report.stays:
        yield f"stays in {report.folder}, which goes on to be the folder of one service:"
        yield from (f"  {name:<14} {what}" for name, what in report.stays.items())
    if report.state != "planned":
        yield "a service on the warehouse has in its configuration:"
        yield from (f"  {line}" for line in report.configuration.splitlines())
        yield "and the keys in key_file or its environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, PGPASSWORD"


def _format_table(table: ReportedTable) -> tuple[str, ...]:
    numbers = (f"{table.rows:,}", f"{table.snapshots:,}", f"{table.tags:,}", f"{table.files:,}")
    return (table.name, *numbers, format_size(table.bytes), table.compared)
