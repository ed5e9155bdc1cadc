"""The write engine: a pool of sandboxed children that read uploads and write Parquet files (`writer_child`)."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from lakehouse.config.lake_tables import LakeTable
from lakehouse.core.errors import (
    ErrBadRequest,
    ErrForbidden,
    ErrInsufficientStorage,
    ErrTooLarge,
    ErrUnavailable,
    ErrUnprocessable,
    ErrUnsupportedMediaType,
    LakehouseError,
)
from lakehouse.process.calls.pool import ChildPool, open_pool
from lakehouse.process.calls.pool_policy import PoolPolicy
from lakehouse.process.errors import CallFailed, ChildExited, PoolUnavailable
from lakehouse.services.contracts.tables import IN_FOLDER, DataFile, LocalFiles, StagedFile, TablePlan, WritePlan
from lakehouse.services.contracts.write_engine import Inspection, ParseOptions, Rewritten
from lakehouse.services.engines.hardened import MIB, EngineKind, EngineStarter, make_engine_spec
from lakehouse.services.engines.table_files import describe_fields, describe_files
from lakehouse.services.engines.writer_child import call_errors, messages
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.lake.memory import EngineShare, share_memory
from lakehouse.telemetry.gauges import Gauge, Readings
from lakehouse.telemetry.metric_store import Family

REMOVAL_TIMEOUT = 10.0
MAX_FILE = 16 * 1024 * MIB
"""Bytes of one file that an engine writes: a copy of an upload, or temporary files."""
MAX_MEMORY = 768 * MIB
"""Bytes of one engine: more makes it no faster, as files are read as streams."""
MAPPED = 1024 * MIB
"""Bytes that pyarrow maps, and DuckDB for each column of a wide file. They are mostly not used."""
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""The other allocators of pyarrow reserve a gigabyte of the address space."""
ERRORS: Mapping[str, type[LakehouseError]] = {
    call_errors.BAD_REQUEST: ErrBadRequest,
    call_errors.FORBIDDEN: ErrForbidden,
    call_errors.TOO_LARGE: ErrTooLarge,
    call_errors.UNSUPPORTED: ErrUnsupportedMediaType,
    call_errors.UNPROCESSABLE: ErrUnprocessable,
    call_errors.OUT_OF_MEMORY: ErrUnprocessable,
    call_errors.DISK_FULL: ErrInsufficientStorage,
}
_ENGINES = Family("ingestd_engines", "gauge", "Write engines that run.", ("state",))
_WAITING = Family("ingestd_waiting", "gauge", "Calls that wait for a write engine.")
ReplyType = TypeVar("ReplyType", bound=msgspec.Struct)


class EngineWriter:
    """The write engine of one lake, as `open_write_engine` opens it. Implements the contract `WriteEngine`."""

    def __init__(self, directory: LakeDirectory, pool: ChildPool, local_files: LocalFiles = IN_FOLDER) -> None:
        self.pool = pool
        self._local_files = local_files
        self._directory = directory
        self._rewritten: set[Path] = set()

    def gauges(self) -> Iterable[Gauge]:
        """The gauges of the pool."""
        pool = self.pool

        def states() -> Readings:
            return [(("busy",), pool.in_use), (("idle",), pool.idle)]

        return (Gauge(_ENGINES, states), Gauge(_WAITING, lambda: [((), pool.waiting)]))

    async def inspect(self, upload: Path, options: ParseOptions) -> Inspection:
        """Read the whole upload; copies that are needed are written beside it."""
        request = messages.InspectRequest(
            upload=self._relative(upload), staging=self._relative(upload.parent), options=options
        )
        reply = await self._call(request, messages.InspectReply)
        return Inspection(
            format=reply.format,
            columns=reply.columns,
            row_count=reply.row_count,
            warnings=reply.warnings,
            source=upload,
            recipe=bytes(reply.recipe),
            open_types=reply.open_types,
            texts=reply.texts,
        )

    async def convert(self, inspection: Inspection, plan: WritePlan) -> Sequence[StagedFile]:
        """Write the inspected upload into a new folder beside it."""
        async with self._new_folder(inspection.source.parent) as folder:
            request = messages.ConvertRequest(
                recipe=msgspec.Raw(inspection.recipe), target=self._make_target(folder, plan)
            )
            return self._read_files(await self._call(request, messages.WriteReply))

    async def upsert(
        self, inspection: Inspection, plan: WritePlan, table: TablePlan, key: Sequence[str]
    ) -> tuple[Sequence[StagedFile], Sequence[str]]:
        """Write the new rows and the kept rows of the touched files into a new folder beside the upload."""
        async with self._new_folder(inspection.source.parent) as folder:
            request = messages.UpsertRequest(
                recipe=msgspec.Raw(inspection.recipe),
                target=self._make_target(folder, plan),
                table=_describe_table(table, table.files),
                key=list(key),
            )
            async with self._local_files.hold(table.files):
                reply = await self._call(request, messages.WriteReply)
            return self._read_files(reply), reply.replaced

    async def rewrite(
        self, table: TablePlan, plan: WritePlan, files: Sequence[DataFile], *, where: str = ""
    ) -> Rewritten:
        """Write the rows of some files into a new folder in the staging directory."""
        self._remove_empty()
        async with self._new_folder(self._directory.staging) as folder:
            request = messages.RewriteRequest(
                table=_describe_table(table, files), target=self._make_target(folder, plan), where=where
            )
            async with self._local_files.hold(files):
                reply = await self._call(request, messages.WriteReply)
            self._rewritten.add(folder)
            return Rewritten(files=self._read_files(reply), replaced=reply.replaced, rows_left_out=reply.rows_left_out)

    async def _call(self, request: messages.Request, reply: type[ReplyType]) -> ReplyType:
        try:
            answer = await self.pool.call(msgspec.json.encode(request))
        except CallFailed as error:
            raise _make_error(error) from error
        except ChildExited as error:
            message = "the write engine ended while it read this file: the file needs more memory or time than it has"
            raise ErrUnprocessable(message) from error
        except PoolUnavailable as error:
            raise ErrUnavailable(str(error), retry_after=error.retry_after) from error
        return msgspec.json.decode(answer, type=reply)

    @asynccontextmanager
    async def _new_folder(self, parent: Path) -> AsyncIterator[Path]:
        """The path of a folder for the child to make; it is removed if the block fails or is cancelled."""
        folder = parent / f"write-{secrets.token_hex(8)}"
        try:
            yield folder
        except BaseException:
            with trio.CancelScope(shield=True, relative_deadline=REMOVAL_TIMEOUT):
                await trio.to_thread.run_sync(_remove, folder, abandon_on_cancel=True)
            raise

    def _make_target(self, folder: Path, plan: WritePlan) -> messages.Target:
        return messages.Target(folder=self._relative(folder), columns=plan.columns, field_ids=plan.field_ids)

    def _read_files(self, reply: messages.WriteReply) -> list[StagedFile]:
        return [StagedFile(path=self._directory.path / file.path, rows=file.rows) for file in reply.files]

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._directory.path)) if path.is_absolute() else str(path)

    def _remove_empty(self) -> None:
        """Remove the folders of earlier rewrites, whose files have been moved."""
        for folder in list(self._rewritten):
            with suppress(OSError):
                folder.rmdir()
            if not folder.exists():
                self._rewritten.discard(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".new").unlink(missing_ok=True)


def _describe_table(table: TablePlan, files: Iterable[DataFile]) -> messages.TableInfo:
    return messages.TableInfo(fields=describe_fields(table.fields), files=describe_files(files))


def _make_error(error: CallFailed) -> LakehouseError:
    kind = ERRORS.get(error.kind)
    if kind is None:
        return LakehouseError("the write engine failed; the log has the reason")
    details = msgspec.json.decode(bytes(error.details))
    return kind(str(error), details=details if isinstance(details, dict) and details else None)


def make_kind(share: EngineShare) -> EngineKind:
    """The engine's process: it reads staged files and the tables' files, and writes staged files."""
    return EngineKind(
        name="the write engine",
        target="lakehouse.services.engines.writer_child.main:serve_writer",
        memory=min(share.memory, MAX_MEMORY),
        threads=share.threads,
        read=("datasets", "system", "cache"),
        write=("staging",),
        max_spill=MAX_FILE,
        mapped=MAPPED,
    )


@asynccontextmanager
async def open_write_engine(
    directory: LakeDirectory, lake: LakeTable, *, local_files: LocalFiles = IN_FOLDER
) -> AsyncIterator[EngineWriter]:
    """Open the write engine for the length of the block. Its processes start with the first calls.

    `local_files` brings the files that are written again here.
    """
    share = share_memory(lake).write
    spec = make_engine_spec(make_kind(share), directory=directory.path)
    spec = replace(spec, environment={**spec.environment, **ENVIRONMENT})
    policy = PoolPolicy(size=share.engines, max_calls=0)
    async with open_pool(spec, policy, start=EngineStarter(directory.open_spill)) as pool:
        yield EngineWriter(directory, pool, local_files)
