"""The part of `lakehouse ingest` for documents: a file, or a folder whose files are uploaded several at a time."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

import trio

from lakehouse.cli.input import replace_undecodable
from lakehouse.cli.lake.client import ErrorResponse, IngestedDocument, LakeClient, decode_document
from lakehouse.cli.lake.folders import Folder, Upload
from lakehouse.cli.lake.parameters import query_parameters
from lakehouse.cli.lake.progress import FolderProgress, format_count, is_shown
from lakehouse.cli.lake.run import report_error
from lakehouse.cli.lake.upload import open_file
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.core.groups import unwrap_single

AT_A_TIME = 8
"""Files that are uploaded at a time: the service reads two of them, and the others wait for the disk together."""
MAX_LISTED = 20
"""Skipped files that are listed by name."""


def print_document(file: str, answer: IngestedDocument) -> None:
    """Print the answer to one document."""
    pages = "" if answer.pages is None else f" from {format_count(answer.pages, 'page')}"
    write_output(
        f"{answer.corpus}: {format_count(answer.passages, 'passage')}{pages} of {answer.source}, "
        f"{answer.length:,} in the corpus, embedding model {answer.model}"
    )
    print_warnings(file, answer)


def print_warnings(file: str, answer: IngestedDocument) -> None:
    """Print the warnings about one document."""
    for warning in answer.warnings:
        write_diagnostic(f"warning: {replace_undecodable(file)}: {warning.message}")


@dataclass
class FolderUpload:
    """The upload of a folder. `answers` are those of the files that were taken."""

    arguments: argparse.Namespace
    folder: Folder
    lake: LakeClient
    answers: list[tuple[str, IngestedDocument]] = field(default_factory=list)
    failed: int = 0

    async def run(self) -> int:
        """Upload all files and print what came of it. Returns 1 if one of them was refused or there is none."""
        progress = FolderProgress(self.folder.name, len(self.folder.uploads))
        pending = iter(self.folder.uploads)
        async with trio.open_nursery() as nursery:
            if is_shown():
                nursery.start_soon(progress.show)
            async with trio.open_nursery() as workers:
                for _ in range(AT_A_TIME):
                    workers.start_soon(self._work, pending, progress)
            nursery.cancel_scope.cancel()
        self._print()
        return 1 if self.failed or not self.folder.uploads else 0

    async def _work(self, pending: Iterator[Upload], progress: FolderProgress) -> None:
        for upload in pending:
            passages = await self._upload(upload)
            progress.advance(passages)

    async def _upload(self, upload: Upload) -> int:
        """Upload one file. Returns the number of its passages, 0 if it was refused."""
        try:
            with open_file(upload.file) as (file, size):
                data = await self.lake.ingest(
                    file,
                    upload.source,
                    size,
                    parameters=query_parameters(self.arguments, upload),
                    on_progress=lambda _: None,
                )
        except (ErrorResponse, OSError, BaseExceptionGroup) as caught:
            error = unwrap_single(caught)
            if not isinstance(error, ErrorResponse | OSError):
                raise
            report_failure(upload.file, error)
            self.failed += 1
            return 0
        answer = decode_document(data)
        self.answers.append((upload.file, answer))
        if self.arguments.json:
            write_output(data.decode())
        print_warnings(upload.file, answer)
        return answer.passages

    def _print(self) -> None:
        if self.answers and not self.arguments.json:
            passages = sum(answer.passages for _, answer in self.answers)
            length = max(answer.length for _, answer in self.answers)
            found = f"{format_count(passages, 'passage')} of {format_count(len(self.answers), 'file')}"
            write_output(
                f"{self.folder.name}: {found}, {length:,} in the corpus, embedding model {self.answers[0][1].model}"
            )
        if not self.folder.uploads:
            write_diagnostic(f"{replace_undecodable(self.folder.path)}: the folder has no documents")
        if skipped := self.folder.skipped:
            shown = ", ".join(skipped[:MAX_LISTED])
            more = f" and {len(skipped) - MAX_LISTED} more" if len(skipped) > MAX_LISTED else ""
            write_diagnostic(f"skipped, as no documents: {shown}{more}")


def report_failure(file: str, error: ErrorResponse | OSError) -> None:
    """Print why a file was not taken."""
    shown = replace_undecodable(file)
    if isinstance(error, ErrorResponse):
        report_error(error, subject=shown)
    else:
        write_diagnostic(f"{shown}: {error.strerror or error}")
