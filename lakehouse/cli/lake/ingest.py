"""The work of `lakehouse ingest`: uploads files and folders, one after the other, with progress and warnings."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.input import replace_undecodable
from lakehouse.cli.lake.client import ErrorResponse, Ingested, LakeClient, decode_document, decode_ingested
from lakehouse.cli.lake.folders import STDIN, Folder, Upload, plan
from lakehouse.cli.lake.ingest_documents import FolderUpload, print_document, report_failure
from lakehouse.cli.lake.parameters import query_parameters
from lakehouse.cli.lake.progress import UploadProgress, format_count, format_size, is_shown
from lakehouse.cli.lake.run import run_with_client
from lakehouse.cli.lake.upload import open_file
from lakehouse.cli.lake_options import with_lake
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.core.groups import unwrap_single


def run(arguments: argparse.Namespace) -> int:
    """Upload the files. Returns 1 if one of them was refused; the others are uploaded none the less."""
    config = with_lake(load_configuration(arguments).config, arguments.lake)
    try:
        uploads = [plan(file, name=arguments.name, file_format=arguments.format) for file in arguments.files]
    except OSError as error:
        write_diagnostic(f"{replace_undecodable(str(error.filename))}: {error.strerror}")
        return 1
    if problem := _find_problem(arguments, uploads):
        write_diagnostic(f"lakehouse ingest: {problem}")
        return 2
    return run_with_client(config, partial(_ingest_all, arguments, uploads))


def _find_problem(arguments: argparse.Namespace, uploads: Sequence[Upload | Folder]) -> str | None:
    """What is wrong with the arguments together."""
    if arguments.mode == "upsert" and not arguments.key:
        return "--mode upsert needs --key COLUMN,…"
    if arguments.key and arguments.mode != "upsert":
        return "--key belongs to --mode upsert"
    if STDIN in arguments.files and not arguments.name:
        return "standard input has no name: give the table or the corpus one with --name"
    if any("=" not in each for each in arguments.types):
        return "--type takes COLUMN=TYPE, such as --type zip=VARCHAR"
    tables = [each.name.lower() for each in uploads if isinstance(each, Upload) and each.document is None]
    if arguments.mode == "replace" and len(set(tables)) < len(tables):
        return "two files would be the same table, and the second would replace the first: use --mode append"
    return None


async def _ingest_all(arguments: argparse.Namespace, uploads: Sequence[Upload | Folder], lake: LakeClient) -> int:
    status = 0
    for upload in uploads:
        if isinstance(upload, Folder):
            status = max(status, await FolderUpload(arguments, upload, lake).run())
            continue
        try:
            answer = await _ingest(arguments, upload, lake)
        except (ErrorResponse, OSError, BaseExceptionGroup) as caught:
            error = unwrap_single(caught)
            if not isinstance(error, ErrorResponse | OSError):
                raise
            report_failure(upload.file, error)
            status = 1
            continue
        if arguments.json:
            write_output(answer.decode())
        elif upload.document is not None:
            print_document(upload.file, decode_document(answer))
        else:
            _print_answer(upload.file, decode_ingested(answer))
    return status


async def _ingest(arguments: argparse.Namespace, upload: Upload, lake: LakeClient) -> bytes:
    with open_file(upload.file) as (file, size):
        async with _progress(upload.name, size) as progress:
            return await lake.ingest(
                file,
                replace_undecodable(Path(upload.file).name),
                size,
                parameters=query_parameters(arguments, upload),
                on_progress=progress.advance,
            )


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
    rows, columns = format_count(answer.row_count, "row"), format_count(len(answer.columns), "column")
    write_output(f"{answer.name}: {rows}{added}, {columns}, {sizes}")
    shown = replace_undecodable(file)
    if len(answer.columns) == 1 and file.endswith(".txt"):
        write_diagnostic(f"{shown} was read as a table of one column: --format text stores it as a document")
    for warning in answer.warnings:
        place = shown if warning.line is None else f"{shown}:{warning.line}"
        column = "" if warning.column is None else f"{warning.column}: "
        write_diagnostic(f"warning: {place}: {column}{warning.message}")
