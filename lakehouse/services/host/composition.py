"""The composition of the lake: which service is given which parts of it.

    LakeDirectory ─┬─ ObjectStore
                   ├─ Tables ─────── QueryEngine
                   ├─ WriteEngine
                   ├─ RetrievalEngine ── Embedder
                   └─ DocumentExtractor

Every part is opened at once and costs little before it is used: children are started with the first call,
or when the first upload begins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lakehouse.asgi.types import App
from lakehouse.config import Config
from lakehouse.services.catalogd.app import make_catalogd_app
from lakehouse.services.documents.extractor import PooledExtractor, open_document_extractor
from lakehouse.services.embedd.app import make_embedd_app
from lakehouse.services.embedding.embedder import ModelEmbedder
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.engines.query import DuckdbQueryEngine, open_query_engine
from lakehouse.services.engines.writer import EngineWriter, open_write_engine
from lakehouse.services.host.embedding import open_lake_embedder
from lakehouse.services.ingestd.app import make_ingestd_app
from lakehouse.services.ingestd.corpora import Corpora
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.matrixd.app import make_matrixd_app
from lakehouse.services.observerd.app import make_observerd_app
from lakehouse.services.observerd.store import OperationStore, open_operation_store
from lakehouse.services.pathwayd.app import make_pathwayd_app
from lakehouse.services.pathwayd.service import Traces, open_traces
from lakehouse.services.pathwayd.store import SourceExists
from lakehouse.services.queryd.app import make_queryd_app
from lakehouse.services.retrieval.client import LakeRetrieval, open_retrieval
from lakehouse.services.storaged.app import make_storaged_app
from lakehouse.services.storaged.store import LakeObjectStore, open_object_store
from lakehouse.services.tables.client import LakeTables, open_tables
from lakehouse.services.vectord.app import make_vectord_app
from lakehouse.telemetry.gauges import Gauge

EMBEDDED_MODEL = "lakehouse.services.embedding.wordllama:load_default_model"
"""The function by which the retrieval engine's child loads the embedded model; this process does not import it."""


@dataclass(frozen=True, slots=True)
class OpenServices:
    """The open services: their applications by name, and their gauges."""

    apps: Mapping[str, App]
    gauges: tuple[Gauge, ...] = ()


@runtime_checkable
class HasGauges(Protocol):
    """A part of the lake, or an application, with gauges of its own."""

    def gauges(self) -> Iterable[Gauge]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeParts:
    """The open parts of a lake, with which its services are made."""

    directory: LakeDirectory
    config: Config
    object_store: LakeObjectStore
    tables: LakeTables
    query_engine: DuckdbQueryEngine
    write_engine: EngineWriter
    retrieval: LakeRetrieval
    embedder: ModelEmbedder
    extractor: PooledExtractor

    def list_parts(self) -> tuple[object, ...]:
        """The parts that may have gauges."""
        engines = (self.query_engine, self.write_engine, self.retrieval)
        return (self.tables, *engines, self.embedder, self.extractor)

    def warm_documents(self) -> None:
        """Start what a document needs, in the background, while it is received."""
        self.extractor.pool.warm()
        self.retrieval.warm()

    traces: Traces
    operations: OperationStore

    def warm(self) -> None:
        """Start what an upload and the query after it need, in the background, while the upload is received."""
        for pool in (self.tables.process.pool, self.write_engine.pool, self.query_engine.pool):
            pool.warm()


@asynccontextmanager
async def open_parts(directory: LakeDirectory, config: Config, *, relay: str = "") -> AsyncIterator[LakeParts]:
    """All parts of the lake, for the length of the block. Raises OSError, sqlite3.Error.

    `relay` is the socket of a relay to the providers; without it they are called with the keys of this process.
    """
    async with (
        open_object_store(directory) as object_store,
        open_tables(directory, config.lake) as tables,
        open_query_engine(directory, tables, config.lake) as query_engine,
        open_write_engine(directory, config.lake) as write_engine,
        open_retrieval(directory, model=EMBEDDED_MODEL, model_name=WORDLLAMA) as retrieval,
        open_lake_embedder(retrieval, directory, config, relay=relay) as embedder,
        open_document_extractor() as extractor,
        open_traces(directory, retrieval, model=WORDLLAMA, exists=_make_checks(object_store, tables)) as traces,
        open_operation_store(directory) as operations,
    ):
        yield LakeParts(
            directory=directory,
            config=config,
            object_store=object_store,
            tables=tables,
            query_engine=query_engine,
            write_engine=write_engine,
            retrieval=retrieval,
            embedder=embedder,
            extractor=extractor,
            traces=traces,
            operations=operations,
        )


@asynccontextmanager
async def open_apps(directory: LakeDirectory, config: Config, *, relay: str = "") -> AsyncIterator[OpenServices]:
    """The applications of all embedded services, for the length of the block. Raises what `open_parts` raises."""
    async with open_parts(directory, config, relay=relay) as lake:
        apps = make_apps(lake)
        yield OpenServices(apps, tuple(_gauges_of((*apps.values(), *lake.list_parts()))))


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
        "catalogd": make_catalogd_app(tables, lake.object_store, writer, directory, config.lake, lake.traces),
        "ingestd": make_ingestd_app(
            tables, writer, directory, config.ingestd, warm=lake.warm, corpora=_make_corpora(lake)
        ),
        "queryd": make_queryd_app(lake.query_engine, config.lake, config.queryd),
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
        return tables.has(name)

    return {"object": has_object, "table": has_table}


def _gauges_of(parts: Iterable[object]) -> Iterator[Gauge]:
    for part in parts:
        if isinstance(part, HasGauges):
            yield from part.gauges()
