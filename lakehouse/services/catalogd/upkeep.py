"""Deletion of rows, compaction of small files, columns of wider types. All write some of a table's files again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrNotFound, ErrUnprocessable
from lakehouse.services.contracts.catalog import Column, Manifest
from lakehouse.services.contracts.rewriting import (
    TARGET_SIZE,
    discard_unused,
    make_batches,
    rewrite_all,
    rewrite_batches,
)
from lakehouse.services.contracts.tables import (
    ColumnChanges,
    Commit,
    DataFile,
    StagedFile,
    TablePlan,
    Tables,
    WritePlan,
)
from lakehouse.services.contracts.write_engine import WriteEngine

SMALL_SIZE = TARGET_SIZE * 3 // 4
"""Files below this size are compacted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The result: the table, how many rows were deleted, how many files it had, and what it gave up."""

    manifest: Manifest
    rows_deleted: int = 0
    files_before: int
    warnings: Sequence[str] = ()


async def delete_rows(tables: Tables, engine: WriteEngine, name: str, where: str) -> Upkeep:
    """Delete the rows for which an expression is true. Raises ErrNotFound, ErrBadRequest, ErrForbidden."""
    if not where.strip():
        raise ErrBadRequest("`where` is required: an SQL expression over the table's columns", field="where")
    async with tables.lock(name):
        manifest, plan, table = await _prepare(tables, name)
        rewritten = await engine.rewrite(table, plan, table.files, where=where)
        before = len(table.files)
        with discard_unused(rewritten.files):
            if not rewritten.replaced:
                return Upkeep(manifest=manifest, files_before=before)
            commit = await tables.commit(plan, rewritten.files, remove=rewritten.replaced)
        return Upkeep(
            manifest=commit.manifest,
            rows_deleted=rewritten.rows_left_out,
            files_before=before,
            warnings=commit.warnings,
        )


async def optimize_table(tables: Tables, engine: WriteEngine, name: str) -> Upkeep:
    """Write small files, and files with deletes, again as few larger ones. Raises ErrNotFound."""
    async with tables.lock(name):
        manifest, plan, table = await _prepare(tables, name)
        before = len(table.files)
        batches = list(choose_batches(table.files))
        if not batches:
            return Upkeep(manifest=manifest, files_before=before)
        files: list[StagedFile] = []
        with discard_unused(files):
            replaced = await rewrite_batches(engine, table, plan, batches, files)
            commit = await tables.commit(plan, files, remove=replaced)
        return Upkeep(manifest=commit.manifest, files_before=before, warnings=commit.warnings)


async def change_columns(tables: Tables, engine: WriteEngine, name: str, changes: ColumnChanges) -> Commit:
    """Change the columns of a table. Raises ErrNotFound, ErrConflict, ErrUnprocessable."""
    if await tables.needs_rewrite(name, changes):
        return await _retype_columns(tables, engine, name, dict(changes.widen))
    return await tables.change_columns(name, changes)


async def _retype_columns(tables: Tables, engine: WriteEngine, name: str, wanted: Mapping[str, str]) -> Commit:
    """Give columns types that Iceberg does not widen theirs to: all files are written again.

    Raises ErrUnprocessable for a value that the new type does not hold.
    """
    async with tables.lock(name):
        manifest = await find_table(tables, name)
        missing = wanted.keys() - {column.name for column in manifest.columns}
        if missing:
            raise ErrUnprocessable(f"the table has no column {min(missing)!r}", details={"column": min(missing)})
        columns = [
            Column(name=column.name, type=wanted.get(column.name, column.type), nullable=column.nullable)
            for column in manifest.columns
        ]
        try:
            plan = await tables.prepare(name, columns, mode="rewrite", evolve=True)
        except ErrConflict as error:
            raise ErrUnprocessable(error.message, details=error.details) from None
        files: list[StagedFile] = []
        with discard_unused(files):
            replaced = await rewrite_all(engine, await tables.plan(name), plan, files)
            return await tables.commit(plan, files, remove=replaced)


async def find_table(tables: Tables, name: str) -> Manifest:
    """A table at its newest snapshot. Raises ErrNotFound."""
    manifest = await tables.find(name)
    if manifest is None:
        raise ErrNotFound(f"there is no table {name!r}")
    return manifest


async def _prepare(tables: Tables, name: str) -> tuple[Manifest, WritePlan, TablePlan]:
    manifest = await find_table(tables, name)
    plan = await tables.prepare(name, manifest.columns, mode="rewrite")
    return manifest, plan, await tables.plan(name)


def choose_batches(files: Sequence[DataFile]) -> Iterator[Sequence[DataFile]]:
    """The files that are to be compacted, in batches that make one file each."""
    compacted = (file for file in files if file.size < SMALL_SIZE or file.deletes)
    for batch in make_batches(compacted):
        if len(batch) > 1 or batch[0].deletes:
            yield batch
