"""Objects of the storage that become a table: they are read, compared with what is claimed, and written into the table.

The table has files of its own, so a later change of an object does not touch it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio

from lakehouse.core.errors import ErrConflict, ErrNotFound, ErrUnprocessable
from lakehouse.services.catalogd.requests import ClaimedObject, Registration
from lakehouse.services.contracts.catalog import Manifest
from lakehouse.services.contracts.object_store import ObjectStore
from lakehouse.services.contracts.tables import Commit, StagedFile, Tables
from lakehouse.services.contracts.write_engine import Inspection, ParseOptions, WriteEngine
from lakehouse.services.lake.directory import LakeDirectory


class Registrar:
    """Registers objects as tables."""

    def __init__(self, tables: Tables, store: ObjectStore, engine: WriteEngine, directory: LakeDirectory) -> None:
        self._tables = tables
        self._store = store
        self._engine = engine
        self._directory = directory

    async def register(self, request: Registration) -> Commit:
        """Create the table, or replace the rows of the one that has the same fingerprint.

        Raises ErrConflict for another fingerprint, ErrNotFound for a missing object, ErrUnprocessable for an object
        that is not what is claimed.
        """
        _check_fingerprint(await self._tables.find(request.name), request)
        async with self._directory.stage() as folder:
            inspections = [
                await self._inspect(claimed, folder / str(number)) for number, claimed in enumerate(request.objects)
            ]
            _check_together(request, inspections)
            async with self._tables.lock(request.name):
                _check_fingerprint(await self._tables.find(request.name), request)
                return await self._write(request, inspections)

    async def _inspect(self, claimed: ClaimedObject, folder: Path) -> Inspection:
        """Copy an object into a new folder, in which the engine may write further files, and read it."""
        info = await self._store.find(claimed.key)
        if info is None:
            raise _missing(claimed.key)
        if claimed.size is not None and claimed.size != info.size:
            raise _untrue(claimed.key, "size", info.size, claimed.size)
        await trio.Path(folder).mkdir()
        path = folder / "object.parquet"
        async with self._store.read(claimed.key) as reader, await trio.open_file(path, "wb") as file:
            async for piece in reader:
                await file.write(piece)
        try:
            inspection = await self._engine.inspect(path, ParseOptions(format="parquet", file_name=path.name))
        except ErrUnprocessable as error:
            details = {**(error.details or {}), "key": claimed.key}
            raise ErrUnprocessable(f"the object {claimed.key!r}: {error.message}", details=details) from None
        if claimed.rows is not None and claimed.rows != inspection.row_count:
            raise _untrue(claimed.key, "rows", inspection.row_count, claimed.rows)
        return inspection

    async def _write(self, request: Registration, inspections: Sequence[Inspection]) -> Commit:
        plan = await self._tables.prepare(
            request.name, inspections[0].columns, mode="replace", label=request.schema_fingerprint
        )
        files: list[StagedFile] = []
        for inspection in inspections:
            files += await self._engine.convert(inspection, plan)
        return await self._tables.commit(plan, files)


def _check_fingerprint(present: Manifest | None, request: Registration) -> None:
    if present is not None and present.schema_fingerprint != request.schema_fingerprint:
        raise ErrConflict(
            f"the table {request.name!r} has another schema: its fingerprint is {present.schema_fingerprint!r},"
            f" not {request.schema_fingerprint[:80]!r}",
            details={"was": present.schema_fingerprint, "is": request.schema_fingerprint},
        )


def _check_together(request: Registration, inspections: Sequence[Inspection]) -> None:
    """Raise ErrUnprocessable unless all objects have the same columns, and together the claimed rows."""
    first = {column.name: column.type for column in inspections[0].columns}
    for claimed, inspection in zip(request.objects, inspections, strict=True):
        columns = {column.name: column.type for column in inspection.columns}
        if columns != first:
            differences = [
                {"column": name, "was": first.get(name), "is": columns.get(name)}
                for name in {**first, **columns}
                if first.get(name) != columns.get(name)
            ]
            raise ErrUnprocessable(
                f"the object {claimed.key!r} has other columns than the first one",
                details={"key": claimed.key, "differences": differences},
            )
    rows = sum(inspection.row_count for inspection in inspections)
    if request.row_count is not None and request.row_count != rows:
        raise ErrUnprocessable(
            f"`row_count` is not true: the objects have {rows} rows, not {request.row_count}",
            field="row_count",
            details={"was": rows, "is": request.row_count},
        )


def _missing(key: str) -> ErrNotFound:
    return ErrNotFound(f"there is no object {key!r} in the storage", details={"key": key})


def _untrue(key: str, field: str, actual: int, claimed: int) -> ErrUnprocessable:
    return ErrUnprocessable(
        f"the {field} of the object {key!r} is not true: it is {actual}, not {claimed}",
        field="objects",
        details={"key": key, "was": actual, "is": claimed},
    )
