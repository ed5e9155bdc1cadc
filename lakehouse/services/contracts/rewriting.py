"""The files of a table written again, for a commit that replaces them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from lakehouse.services.contracts.tables import DataFile, StagedFile, TablePlan, WritePlan
from lakehouse.services.contracts.write_engine import WriteEngine

TARGET_SIZE = 128 * 1024 * 1024
"""Bytes of the files that are written again as one. A deletion writes whole files, so larger ones make it slower."""


async def rewrite_all(
    engine: WriteEngine,
    table: TablePlan,
    plan: WritePlan,
    written: list[StagedFile],
    *,
    but: Collection[str] = (),
) -> Sequence[str]:
    """Write all files of a table with the columns of the plan; those with the paths `but` are left out."""
    left_out = set(but)
    batches = make_batches(file for file in table.files if file.path not in left_out)
    return await rewrite_batches(engine, table, plan, batches, written)


async def rewrite_batches(
    engine: WriteEngine,
    table: TablePlan,
    plan: WritePlan,
    batches: Iterable[Sequence[DataFile]],
    written: list[StagedFile],
) -> Sequence[str]:
    """Write batches of files of a table again, with the columns of the plan.

    The new files are added to `written`, and the paths of the replaced ones are returned. Raises ErrUnprocessable for a
    value that does not fit into its column's new type.
    """
    replaced: list[str] = []
    for batch in batches:
        rewritten = await engine.rewrite(table, plan, batch)
        written += rewritten.files
        replaced += rewritten.replaced
    return replaced


def make_batches(files: Iterable[DataFile]) -> Iterator[Sequence[DataFile]]:
    """Divide files, in their order, into batches of at most `TARGET_SIZE` bytes; a larger file is one by itself."""
    batch: list[DataFile] = []
    size = 0
    for file in files:
        if batch and size + file.size > TARGET_SIZE:
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


@contextmanager
def discard_unused(files: Sequence[StagedFile]) -> Iterator[None]:
    """Delete the staged files that are left at the end of the block: a commit has moved them, anything else has not."""
    try:
        yield
    finally:
        for file in files:
            with suppress(OSError):
                file.path.unlink(missing_ok=True)
                file.path.parent.rmdir()
