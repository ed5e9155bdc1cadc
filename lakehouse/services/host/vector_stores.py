"""Where the indexes of a lake are: in its folder, or in a store that services share.

A store is imported where the configuration has it: most lakes have none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from lakehouse.config import Config, VectordTable
from lakehouse.config.urls import BaseURL
from lakehouse.config.warehouse_values import CHROMA, POSTGRESQL, QDRANT
from lakehouse.core.errors import ErrUpstream
from lakehouse.core.extras import install_hint, missing_modules
from lakehouse.services.contracts.vector_store import VectorStore
from lakehouse.services.host.databases import RecordDatabases
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.key_file import KeyFile, KeyFileError
from lakehouse.services.postgres.address import make_schema_name
from lakehouse.services.retrieval.client import LakeRetrieval
from lakehouse.services.vector_stores.keys import CHROMA_TOKEN, QDRANT_KEY

if TYPE_CHECKING:
    from lakehouse.services.retrieval.store_engine import StoreRetrieval
    from lakehouse.services.vector_stores.chroma.store import ChromaStore
    from lakehouse.services.vector_stores.qdrant.store import QdrantStore


def find_problem(vectord: VectordTable) -> str:
    """What is missing for the store of the configuration, an empty string if nothing is."""
    absent = missing_modules("psycopg2") if vectord.store.startswith(POSTGRESQL) else []
    return f"vectord.store {install_hint('postgres', absent)}" if absent else ""


@asynccontextmanager
async def open_store(
    config: Config, environment: Mapping[str, str], databases: RecordDatabases
) -> AsyncIterator[VectorStore]:
    """The store of the configuration, which has one. No connection is opened before one is needed."""
    found = config.vectord.store
    if found.startswith(POSTGRESQL):
        from lakehouse.services.vector_stores.postgres.store import PostgresVectorStore

        yield PostgresVectorStore(databases.find(found))
        return
    make: Callable[[str, str, Callable[[], str]], QdrantStore | ChromaStore]
    if found.startswith(QDRANT):
        from lakehouse.services.vector_stores.qdrant.store import make_qdrant_store

        kind, variable, make = QDRANT, QDRANT_KEY, make_qdrant_store
    else:
        from lakehouse.services.vector_stores.chroma.store import make_chroma_store

        kind, variable, make = CHROMA, CHROMA_TOKEN, make_chroma_store
    secrets = KeyFile(config.lake.key_file, {variable: environment.get(variable, "")})
    server = found.removeprefix(kind)
    if isinstance(found, BaseURL):
        server = BaseURL(server, found.authorization, found.secrets)

    def load_key() -> str:
        try:
            return secrets.load().get(variable, "")
        except KeyFileError as error:
            raise ErrUpstream(str(error), provider=found) from None

    store = make(server, make_schema_name(config.lake.name), load_key)
    try:
        yield store
    finally:
        store.close()


@asynccontextmanager
async def open_engine(
    config: Config, environment: Mapping[str, str], local: LakeRetrieval, databases: RecordDatabases
) -> AsyncIterator[LakeRetrieval | StoreRetrieval]:
    """The retrieval engine of the configuration: `local`, or one over a store. Raises LakeError without a package."""
    if not config.vectord.store:
        yield local
        return
    if problem := find_problem(config.vectord):
        raise LakeError(problem)
    from lakehouse.services.retrieval.store_engine import StoreRetrieval

    async with open_store(config, environment, databases) as store:
        yield StoreRetrieval(store, local)
