"""The work of `lakehouse ingest`: uploads files, one after the other, with progress and warnings."""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
import unicodedata
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec
import trio

from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.input import replace_undecodable
from lakehouse.cli.lake.client import ErrorResponse, Ingested, LakeClient, decode_ingested
from lakehouse.cli.lake.progress import UploadProgress, format_size, is_shown
from lakehouse.cli.lake.run import report_error, run_with_client
from lakehouse.cli.lake_options import with_lake
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.core.groups import unwrap_single

STDIN = "-"
_COMPRESSION = re.compile(r"\.(gz|zst)$", re.IGNORECASE)
_FORMAT = re.compile(r"\.(csv|tsv|txt|json|ndjson|jsonl|parquet|arrow|feather|ipc)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file and the table that it is put into."""

    file: str
    table: str


def run(arguments: argparse.Namespace) -> int:
    """Upload the files. Returns 1 if one of them was refused; the others are uploaded none the less."""
    config = with_lake(load_configuration(arguments).config, arguments.lake)
    uploads = [Upload(file, arguments.name or table_name(file)) for file in arguments.files]
    if problem := _find_problem(arguments, uploads):
        write_diagnostic(f"lakehouse ingest: {problem}")
        return 2
    return run_with_client(config, partial(_ingest_all, arguments, uploads))


def table_name(file: str) -> str:
    """The name of the table for a file: its stem, with characters that a name cannot have as `_`."""
    stem = _FORMAT.sub("", _COMPRESSION.sub("", Path(replace_undecodable(file)).name))
    plain = unicodedata.normalize("NFKD", stem)
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.") or "upload"


def _find_problem(arguments: argparse.Namespace, uploads: Sequence[Upload]) -> str | None:
    """What is wrong with the arguments together."""
    if arguments.mode == "upsert" and not arguments.key:
        return "--mode upsert needs --key COLUMN,…"
    if arguments.key and arguments.mode != "upsert":
        return "--key belongs to --mode upsert"
    if STDIN in arguments.files and not arguments.name:
        return "standard input has no name: give the table one with --name"
    if any("=" not in each for each in arguments.types):
        return "--type takes COLUMN=TYPE, such as --type zip=VARCHAR"
    tables = [upload.table.lower() for upload in uploads]
    if arguments.mode == "replace" and len(set(tables)) < len(tables):
        return "two files would be the same table, and the second would replace the first: use --mode append"
    return None


def query_parameters(arguments: argparse.Namespace, table: str) -> dict[str, str]:
    """The parameters of the route for one upload."""
    found: dict[str, str | None] = {
        "name": table,
        "mode": arguments.mode,
        "key": arguments.key,
        "evolve": "true" if arguments.evolve else None,
        "format": arguments.format,
        "encoding": arguments.encoding,
        "delimiter": arguments.delimiter,
        "quote": arguments.quote,
        "null": arguments.null,
        "header": "false" if arguments.no_header else None,
        "skip": None if arguments.skip is None else str(arguments.skip),
        "types": _types_document(arguments.types),
    }
    return {name: replace_undecodable(value) for name, value in found.items() if value is not None}


def _types_document(types: Sequence[str]) -> str | None:
    pairs: Mapping[str, str] = dict(each.rpartition("=")[::2] for each in types)
    return msgspec.json.encode(pairs).decode() if pairs else None


async def _ingest_all(arguments: argparse.Namespace, uploads: Sequence[Upload], lake: LakeClient) -> int:
    status = 0
    for upload in uploads:
        try:
            answer = await _ingest(arguments, upload, lake)
        except (ErrorResponse, OSError, BaseExceptionGroup) as caught:
            error = unwrap_single(caught)
            if not isinstance(error, ErrorResponse | OSError):
                raise
            _report_failure(upload.file, error)
            status = 1
            continue
        if arguments.json:
            write_output(answer.decode())
        else:
            _print_answer(upload.file, decode_ingested(answer))
    return status


def _report_failure(file: str, error: ErrorResponse | OSError) -> None:
    shown = replace_undecodable(file)
    if isinstance(error, ErrorResponse):
        report_error(error, subject=shown)
    else:
        write_diagnostic(f"{shown}: {error.strerror or error}")


async def _ingest(arguments: argparse.Namespace, upload: Upload, lake: LakeClient) -> bytes:
    with _open(upload.file) as (file, size):
        async with _progress(upload.table, size) as progress:
            return await lake.ingest(
                file,
                replace_undecodable(Path(upload.file).name),
                size,
                parameters=query_parameters(arguments, upload.table),
                on_progress=progress.advance,
            )


@contextmanager
def _open(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file, and its size if it has one."""
    if name == STDIN:
        yield sys.stdin.buffer, None
        return
    with Path(name).open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        yield file, status.st_size if stat.S_ISREG(status.st_mode) else None


@asynccontextmanager
async def _progress(name: str, size: int | None) -> AsyncIterator[UploadProgress]:
    progress = UploadProgress(name, size)
    async with trio.open_nursery() as nursery:
        if is_shown():
            nursery.start_soon(progress.show)
        yield progress
        nursery.cancel_scope.cancel()


def _print_answer(file: str, answer: Ingested) -> None:
    added = "" if answer.rows_added == answer.row_count else f" ({answer.rows_added:,} added)"
    sizes = f"{format_size(answer.bytes_in)} stored as {format_size(answer.bytes_stored)}"
    write_output(f"{answer.name}: {answer.row_count:,} rows{added}, {len(answer.columns)} columns, {sizes}")
    shown = replace_undecodable(file)
    for warning in answer.warnings:
        place = shown if warning.line is None else f"{shown}:{warning.line}"
        column = "" if warning.column is None else f"{warning.column}: "
        write_diagnostic(f"warning: {place}: {column}{warning.message}")
