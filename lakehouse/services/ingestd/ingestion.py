"""One ingest: inspect the file, and under the table's lock prepare, convert or upsert, and commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
import trio

from lakehouse.core.context import Phase
from lakehouse.core.errors import ErrBadRequest, ErrConflict
from lakehouse.services.contracts.rewriting import discard_unused, rewrite_all
from lakehouse.services.contracts.tables import StagedFile, TablePlan, Tables, WritePlan
from lakehouse.services.contracts.traces import SourceEnds, end_rows
from lakehouse.services.contracts.write_engine import Inspection, ParseOptions, WriteEngine
from lakehouse.services.ingestd.answer import Draft, IngestResult, make_answer, make_draft
from lakehouse.services.ingestd.parameters import IngestParameters
from lakehouse.services.ingestd.receiving import Upload

ATTEMPTS = 5
"""How often an upload is planned and written when other programs change its table meanwhile."""

BeforeCommit = Callable[[Draft], Awaitable[None]]
"""Called with what is known when everything is written and nothing is published."""


class Ingestion:
    """Puts uploads into tables."""

    def __init__(
        self, tables: Tables, write_engine: WriteEngine, *, max_bytes: int, ends: SourceEnds | None = None
    ) -> None:
        """`max_bytes` is the limit of the content of a compressed upload; `ends` is told of rows that were replaced."""
        self._tables = tables
        self._engine = write_engine
        self._max_bytes = max_bytes
        self._ends = ends

    async def run(
        self,
        upload: Upload,
        parameters: IngestParameters,
        *,
        commit_id: str,
        begin_phase: Callable[[Phase], None],
        before_commit: BeforeCommit,
    ) -> IngestResult:
        """Ingest one upload. Cancelled before the commit, it leaves the table as it was."""
        begin_phase("scanning")
        inspection = await self._engine.inspect(upload.path, self._make_options(upload, parameters))
        _check_key(inspection, parameters)
        for attempt in range(ATTEMPTS):
            begin_phase("queued")
            try:
                return await self._put(inspection, upload, parameters, commit_id, begin_phase, before_commit)
            except ErrConflict as error:
                if not error.retryable or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _put(
        self,
        inspection: Inspection,
        upload: Upload,
        parameters: IngestParameters,
        commit_id: str,
        begin_phase: Callable[[Phase], None],
        before_commit: BeforeCommit,
    ) -> IngestResult:
        """Put an inspected upload into its table. Raises a retryable ErrConflict if another program was faster."""
        async with self._tables.lock(parameters.name):
            plan = await self._tables.prepare(
                parameters.name,
                inspection.columns,
                mode=parameters.mode,
                evolve=parameters.evolve,
                key=parameters.key,
                open_types=inspection.open_types,
                texts=inspection.texts,
            )
            existing = await self._tables.find(parameters.name)
            begin_phase("writing")
            rewritten: list[StagedFile] = []
            with discard_unused(rewritten):
                files, replaced = await self._write(inspection, plan, parameters, rewritten)
                draft = await trio.to_thread.run_sync(
                    lambda: make_draft(
                        rows_added=inspection.row_count,
                        bytes_in=upload.size,
                        files=[file.path for file in files],
                        existing=existing,
                        warnings=inspection.warnings,
                    )
                )
                await before_commit(draft)
                commit = await self._tables.commit(plan, files, remove=replaced, request_id=commit_id)
        answer = make_answer(draft, commit)
        if existing is None or parameters.mode == "append" or self._ends is None:
            return answer
        retired = await end_rows(self._ends, parameters.name)
        return msgspec.structs.replace(answer, retired=tuple(retired)) if retired else answer

    async def _write(
        self, inspection: Inspection, plan: WritePlan, parameters: IngestParameters, rewritten: list[StagedFile]
    ) -> tuple[Sequence[StagedFile], Sequence[str]]:
        """Write the new files, the newest last, and tell the paths of those that they replace.

        Files of the table that are written again only for a column's new type are added to `rewritten`.
        """
        if plan.existing:
            table = await self._tables.plan(parameters.name)
        else:
            table = TablePlan(name=parameters.name, snapshot_id="", fields=(), files=(), row_count=0)
        files: Sequence[StagedFile]
        replaced: Sequence[str] = ()
        if parameters.mode == "upsert":
            files, replaced = await self._engine.upsert(inspection, plan, table, parameters.key)
        else:
            files = await self._engine.convert(inspection, plan)
        if plan.rewrites:
            others = await rewrite_all(self._engine, table, plan, rewritten, but=replaced)
            files, replaced = [*rewritten, *files], [*replaced, *others]
        return files, replaced

    def _make_options(self, upload: Upload, parameters: IngestParameters) -> ParseOptions:
        return ParseOptions(
            format=parameters.format,
            file_name=upload.file_name,
            content_type=upload.content_type,
            encoding=parameters.encoding,
            delimiter=parameters.delimiter,
            quote=parameters.quote,
            null=parameters.null,
            header=parameters.header,
            skip=parameters.skip,
            types=parameters.types,
            max_bytes=self._max_bytes,
        )


def _check_key(inspection: Inspection, parameters: IngestParameters) -> None:
    names = {column.name for column in inspection.columns}
    for name in parameters.key:
        if name not in names:
            raise ErrBadRequest(f"`key` names the column {name[:120]!r}, which the file does not have", field="key")
