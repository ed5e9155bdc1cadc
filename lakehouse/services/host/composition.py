"""The composition of the lake: which service is given which parts of it.

    LakeDirectory ─┬─ Warehouse, of a lake beyond one machine: under ObjectStore, Tables and the engines
                   ├─ ObjectStore
                   ├─ Tables ─────── QueryEngine
                   ├─ RemoteEngines, on servers
                   ├─ WriteEngine ── SystemTables
                   ├─ RetrievalEngine ─┬─ Embedder
                   │                   ├─ Traces
                   │                   └─ its store, of indexes that services share
                   ├─ DocumentExtractor
                   └─ OperationStore

Every part is opened at once and costs little before it is used: children are started with the first call,
or when the first upload begins.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lakehouse.asgi.types import App
from lakehouse.config import Config
from lakehouse.process.tasks import open_background
from lakehouse.services.catalogd.app import make_catalogd_app
from lakehouse.services.contracts.query_engine import QueryEngine
from lakehouse.services.contracts.row_sources import RowSource
from lakehouse.services.contracts.tables import LocalFiles
from lakehouse.services.documents.extractor import PooledExtractor, open_document_extractor
from lakehouse.services.embedd.app import make_embedd_app
from lakehouse.services.embedding.embedder import ModelEmbedder
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.engines.query import DuckdbQueryEngine, open_query_engine
from lakehouse.services.engines.remote.configured import RemoteEngines, open_remote_engines
from lakehouse.services.engines.writer import EngineWriter, open_write_engine
from lakehouse.services.host.databases import RecordDatabases, open_databases
from lakehouse.services.host.embedding import open_lake_embedder
from lakehouse.services.host.vector_stores import open_engine
from lakehouse.services.ingestd.app import make_ingestd_app
from lakehouse.services.ingestd.corpora import Corpora
from lakehouse.services.ingestd.shared_records import SharedRecords, remove_daily
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.matrixd.app import make_matrixd_app
from lakehouse.services.observerd.app import make_observerd_app
from lakehouse.services.observerd.postgres_records import open_postgres_records as open_shared_operations
from lakehouse.services.observerd.records import OperationRecords
from lakehouse.services.observerd.records import open_local_records as open_local_operations
from lakehouse.services.observerd.store import OperationStore
from lakehouse.services.observerd.system_rows import read_operations
from lakehouse.services.pathwayd.app import make_pathwayd_app
from lakehouse.services.pathwayd.postgres_records import open_postgres_records as open_shared_traces
from lakehouse.services.pathwayd.records import TraceRecords
from lakehouse.services.pathwayd.records import open_local_records as open_local_traces
from lakehouse.services.pathwayd.service import Traces, open_traces
from lakehouse.services.pathwayd.store import SourceExists
from lakehouse.services.pathwayd.system_rows import read_traces
from lakehouse.services.pathwayd.table_rows import TableRows
from lakehouse.services.queryd.app import make_queryd_app
from lakehouse.services.retrieval.client import LakeRetrieval, open_retrieval
from lakehouse.services.retrieval.store_engine import StoreRetrieval
from lakehouse.services.storaged.app import make_storaged_app
from lakehouse.services.storaged.store import LakeObjectStore, open_object_store
from lakehouse.services.system_tables.catalog import SqlTables, SystemTables, open_system_tables
from lakehouse.services.system_tables.record_rows import RecordRows
from lakehouse.services.tables.client import LakeTables, open_tables
from lakehouse.services.vectord.app import make_vectord_app
from lakehouse.services.warehouse.configured import make_settings
from lakehouse.services.warehouse.warehouse import Warehouse, open_warehouse
from lakehouse.telemetry.gauges import Gauge

EMBEDDED_MODEL = "lakehouse.services.embedding.wordllama:load_default_model"
"""The function by which the retrieval engine's child loads the embedded model; this process does not import it."""


@dataclass(frozen=True, slots=True)
class OpenServices:
    """The open services: their applications by name, their gauges, and the system tables."""

    apps: Mapping[str, App]
    gauges: tuple[Gauge, ...] = ()
    system_tables: SystemTables | None = None


@runtime_checkable
class HasGauges(Protocol):
    """A part of the lake, or an application, with gauges of its own."""

    def gauges(self) -> Iterable[Gauge]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeParts:
    """The open parts of a lake, with which its services are made."""

    directory: LakeDirectory
    config: Config
    warehouse: Warehouse
    object_store: LakeObjectStore
    tables: LakeTables
    query_engine: DuckdbQueryEngine
    remote_engines: RemoteEngines
    write_engine: EngineWriter
    retrieval: LakeRetrieval | StoreRetrieval
    embedder: ModelEmbedder
    extractor: PooledExtractor
    traces: Traces
    operations: OperationStore
    system_tables: SystemTables | None

    def list_parts(self) -> tuple[object, ...]:
        """The parts that may have gauges."""
        engines = (self.query_engine, self.remote_engines, self.write_engine, self.retrieval)
        return (self.tables, *engines, self.embedder, self.extractor, self.warehouse.files)

    def list_query_engines(self) -> Mapping[str, QueryEngine]:
        """The engines that a statement can name."""
        return {"duckdb": self.query_engine, **self.remote_engines.engines}

    def warm_documents(self) -> None:
        """Start what a document needs, in the background, while it is received."""
        self.extractor.pool.warm()
        self.retrieval.warm()

    def warm(self) -> None:
        """Start what an upload and the query after it need, in the background, while the upload is received."""
        for pool in (self.tables.process.pool, self.write_engine.pool, self.query_engine.pool):
            pool.warm()


@asynccontextmanager
async def open_parts(directory: LakeDirectory, config: Config, *, relay: str = "") -> AsyncIterator[LakeParts]:
    """All parts of the lake, for the length of the block. Raises OSError, sqlite3.Error.

    `relay` is the socket of a relay to the providers; without it they are called with the keys of this process.
    """
    settings = make_settings(config.lake, os.environ)
    share_index = bool(config.vectord.store and config.pathwayd.store)  # else it would have traces of one service alone
    async with (
        open_warehouse(settings, directory, config.lake) as warehouse,
        open_object_store(directory, warehouse.bucket) as object_store,
        open_tables(directory, config.lake, warehouse=settings, files=warehouse.files) as tables,
        open_write_engine(directory, config.lake, local_files=warehouse.local_files) as write_engine,
        open_databases(config.lake, os.environ) as databases,
        _open_trace_records(directory, databases, config) as trace_records,
        _open_operation_records(directory, databases, config) as operation_records,
        _open_system_tables(directory, write_engine, config, trace_records, operation_records) as system_tables,
        _open_query_engine(directory, tables, system_tables, warehouse.local_files, config) as query_engine,
        open_remote_engines(directory, config.queryd, config.lake, os.environ) as remote_engines,
        open_retrieval(directory, model=EMBEDDED_MODEL, model_name=WORDLLAMA) as local,
        open_engine(config, os.environ, local, databases) as retrieval,
        open_lake_embedder(local, directory, config, relay=relay) as embedder,
        open_document_extractor() as extractor,
        open_traces(
            trace_records,
            retrieval if share_index else local,
            model=WORDLLAMA,
            shares_index=share_index,
            exists=_make_checks(object_store, tables),
            rows=TableRows(query_engine),
        ) as traces,
        open_background() as background,
    ):
        if warehouse.bucket is not None:
            background.start_soon(remove_daily, warehouse.bucket)
        yield LakeParts(
            directory=directory,
            config=config,
            warehouse=warehouse,
            object_store=object_store,
            tables=tables,
            query_engine=query_engine,
            remote_engines=remote_engines,
            write_engine=write_engine,
            retrieval=retrieval,
            embedder=embedder,
            extractor=extractor,
            traces=traces,
            operations=OperationStore(operation_records),
            system_tables=system_tables,
        )


def _open_trace_records(
    directory: LakeDirectory, databases: RecordDatabases, config: Config
) -> AbstractAsyncContextManager[TraceRecords]:
    if not config.pathwayd.store:
        return open_local_traces(directory)
    return open_shared_traces(databases.find(config.pathwayd.store), warehouse=config.lake.warehouse)


def _open_operation_records(
    directory: LakeDirectory, databases: RecordDatabases, config: Config
) -> AbstractAsyncContextManager[OperationRecords]:
    if not config.observerd.store:
        return open_local_operations(directory)
    return open_shared_operations(databases.find(config.observerd.store))


@asynccontextmanager
async def _open_system_tables(
    directory: LakeDirectory,
    engine: EngineWriter,
    config: Config,
    traces: TraceRecords,
    operations: OperationRecords,
) -> AsyncIterator[SystemTables | None]:
    """The system tables, None if they are off."""
    if not config.observe.system_tables.enabled:
        yield None
        return
    sources: Mapping[str, RowSource] = {
        "pathwayd": RecordRows(traces, count=lambda reads, after: reads.count_changed(after), read=read_traces),
        "observerd": RecordRows(operations, count=lambda reads, after: reads.count_after(after), read=read_operations),
    }
    async with open_system_tables(directory, engine, config, sources) as system_tables:
        yield system_tables


def _open_query_engine(
    directory: LakeDirectory, tables: LakeTables, system: SystemTables | None, local_files: LocalFiles, config: Config
) -> AbstractAsyncContextManager[DuckdbQueryEngine]:
    if system is None:
        return open_query_engine(directory, tables, config.lake, local_files=local_files)
    return open_query_engine(
        directory,
        SqlTables(tables, system),
        config.lake,
        hold_files=system.hold_files,
        freeze_system_tables=system.freeze,
        local_files=local_files,
    )


@asynccontextmanager
async def open_apps(directory: LakeDirectory, config: Config, *, relay: str = "") -> AsyncIterator[OpenServices]:
    """The applications of all embedded services, for the length of the block. Raises what `open_parts` raises."""
    async with open_parts(directory, config, relay=relay) as lake:
        apps = make_apps(lake)
        yield OpenServices(apps, tuple(_gauges_of((*apps.values(), *lake.list_parts()))), lake.system_tables)


def make_apps(lake: LakeParts) -> Mapping[str, App]:
    """The applications of the services with the parts of an open lake, by name."""
    config, directory, tables, writer = lake.config, lake.directory, lake.tables, lake.write_engine
    vectord = make_vectord_app(
        lake.retrieval,
        lake.embedder,
        lake.query_engine,
        tables,
        directory,
        embedded_model=WORDLLAMA,
    )
    return {
        "storaged": make_storaged_app(lake.object_store, config.storaged, lake.traces),
        "catalogd": make_catalogd_app(
            tables, lake.object_store, writer, directory, config.lake, lake.traces, lake.system_tables
        ),
        "ingestd": make_ingestd_app(
            tables,
            writer,
            directory,
            config.ingestd,
            warm=lake.warm,
            corpora=_make_corpora(lake),
            shared=None if lake.warehouse.bucket is None else SharedRecords(lake.warehouse.bucket),
            ends=lake.traces,
            shares_corpora=bool(config.vectord.store),
        ),
        "queryd": make_queryd_app(lake.list_query_engines(), config.lake, config.queryd),
        "embedd": make_embedd_app(lake.embedder),
        "vectord": vectord,
        "matrixd": make_matrixd_app(
            lake.retrieval,
            lake.embedder,
            config.matrixd,
            default_model=lake.embedder.resolve(""),
            embedded_model=WORDLLAMA,
            weak_models=config.models.get("weak_models", ()),
            list_corpora=vectord.list_indexes,
        ),
        "pathwayd": make_pathwayd_app(lake.traces.store, lake.traces.meanings),
        "observerd": make_observerd_app(lake.operations),
    }


def _make_corpora(lake: LakeParts) -> Corpora:
    return Corpora(
        lake.extractor,
        lake.retrieval,
        lake.embedder,
        embedded_model=WORDLLAMA,
        default_model=lake.embedder.resolve(""),
        warm=lake.warm_documents,
    )


def _make_checks(object_store: LakeObjectStore, tables: LakeTables) -> Mapping[str, SourceExists]:
    """How the traces find out whether a source of a kind is there."""

    async def has_object(key: str) -> bool:
        return await object_store.find(key) is not None

    async def has_table(name: str) -> bool:
        return await tables.has(name)

    return {"object": has_object, "table": has_table}


def _gauges_of(parts: Iterable[object]) -> Iterator[Gauge]:
    for part in parts:
        if isinstance(part, HasGauges):
            yield from part.gauges()
