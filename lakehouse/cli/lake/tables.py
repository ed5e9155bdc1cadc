"""The work of `lakehouse tables`: the tables of the lake, or the columns of one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from shutil import get_terminal_size

from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.input import replace_undecodable
from lakehouse.cli.lake.client import Column, LakeClient, Table, decode_table, decode_tables
from lakehouse.cli.lake.progress import format_count, format_size
from lakehouse.cli.lake.result_table import render_table
from lakehouse.cli.lake.run import run_with_client
from lakehouse.cli.lake_options import with_lake
from lakehouse.cli.output import write_output
from lakehouse.cli.style import Style

PIPE_WIDTH = 10_000
"""Columns of an output that is no terminal: nothing is cut off."""

_LIST_COLUMNS = tuple(
    Column(name=name, type=type_)
    for name, type_ in (
        ("name", ""),
        ("rows", "BIGINT"),
        ("columns", "BIGINT"),
        ("size", "BIGINT"),
        ("files", "BIGINT"),
        ("updated", ""),
    )
)
_SHOWN_COLUMNS = (Column(name="column", type=""), Column(name="type", type=""))


def run(arguments: argparse.Namespace) -> int:
    """Print the tables, or one of them."""
    config = with_lake(load_configuration(arguments).config, arguments.lake)
    name = None if arguments.name is None else replace_undecodable(arguments.name)
    return run_with_client(config, partial(_show, name, arguments.json))


async def _show(name: str | None, as_json: bool, lake: LakeClient) -> int:
    document = await (lake.tables() if name is None else lake.table(name))
    if as_json:
        write_output(document.decode())
    elif name is None:
        _print_list(decode_tables(document))
    else:
        _print_one(decode_table(document))
    return 0


def _print_list(tables: tuple[Table, ...]) -> None:
    if not tables:
        write_output("the lake has no tables yet: `lakehouse ingest FILE` makes one")
        return
    rows = [
        (
            table.name,
            f"{table.row_count:,}",
            str(len(table.columns)),
            format_size(table.bytes),
            str(len(table.objects)),
            table.updated_at[:19].replace("T", " "),
        )
        for table in tables
    ]
    print_table(_LIST_COLUMNS, rows)


def _print_one(table: Table) -> None:
    rows, files = format_count(table.row_count, "row"), format_count(len(table.objects), "file")
    facts = f"{rows}, {format_size(table.bytes)} in {files}"
    write_output(f"{table.name}: {facts}, snapshot {table.snapshot_id} of {table.updated_at[:19].replace('T', ' ')}")
    write_output("")
    print_table(_SHOWN_COLUMNS, [(column.name, column.type) for column in table.columns])


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below the names of their columns, as wide as the terminal."""
    width = get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH
    for line in render_table(columns, rows, width=width, style=Style(sys.stdout), types=False):
        write_output(line)
