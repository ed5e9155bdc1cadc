"""The work of `lakehouse sql`: one query; a table on a terminal, CSV elsewhere, or the JSON of the answer."""

from __future__ import annotations

import argparse
import re
import sys
from functools import partial
from shutil import get_terminal_size

from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.input import InputError, read_words
from lakehouse.cli.lake.client import ErrorResponse, LakeClient, Result, decode_result
from lakehouse.cli.lake.result_table import render_table
from lakehouse.cli.lake.run import report_error, run_with_client
from lakehouse.cli.lake_options import with_lake
from lakehouse.cli.output import write_diagnostic, write_output, write_output_bytes
from lakehouse.cli.style import Style

TERMINAL_ROWS = 200
"""Rows that are shown on a terminal without --max-rows."""


def run(arguments: argparse.Namespace) -> int:
    """Run one statement and print its result."""
    config = with_lake(load_configuration(arguments).config, arguments.lake)
    try:
        sql = read_words(arguments.sql)
    except InputError as error:
        write_diagnostic(f"lakehouse sql: {error}")
        return 2
    if not sql.strip():
        write_diagnostic("lakehouse sql: there is no statement: put it behind the command, or into standard input")
        return 2
    return run_with_client(config, partial(_run_query, arguments, sql))


async def _run_query(arguments: argparse.Namespace, sql: str, lake: LakeClient) -> int:
    request: dict[str, object] = {"sql": sql}
    if arguments.engine is not None:
        request["engine"] = arguments.engine
    if arguments.timeout is not None:
        request["timeout"] = _read_duration(arguments.timeout)
    if arguments.max_rows is not None:
        request["max_rows"] = arguments.max_rows
    try:
        if arguments.json:
            write_output((await lake.query(request)).decode())
        elif arguments.csv or not sys.stdout.isatty():
            await _print_csv(lake, request)
        else:
            _print_table(decode_result(await lake.query({"max_rows": TERMINAL_ROWS, **request})))
    except ErrorResponse as error:
        report_error(error, sql=sql)
        return 1
    return 0


def _read_duration(text: str) -> float | str:
    """A number of seconds as a number; the other forms of a duration are read by the service."""
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else text


async def _print_csv(lake: LakeClient, request: dict[str, object]) -> None:
    """Write the CSV as it arrives. A stream that breaks off raises, after what has been written."""
    async with lake.stream_query(request, "text/csv") as response:
        while piece := await response.receive():
            write_output_bytes(piece)


def _print_table(result: Result) -> None:
    ellipsis = "…" if _can_encode("…") else "..."
    width = get_terminal_size().columns
    if result.columns:
        for line in render_table(result.columns, result.rows, width=width, style=Style(sys.stdout), ellipsis=ellipsis):
            write_output(line)
    for warning in result.warnings:
        write_diagnostic(f"warning: {warning}")
    rows = f"{result.row_count:,} row{'' if result.row_count == 1 else 's'}"
    more = f"the first {rows} (--max-rows N shows more, --csv all)" if result.truncated else rows
    write_output(Style(sys.stdout).dim(f"{more} in {result.elapsed_ms:,.1f} ms"))


def _can_encode(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
