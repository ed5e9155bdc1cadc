"""What tests and measurements of the retrieval engine share: an engine over a folder, and vectors as bytes."""

from __future__ import annotations

import os
import secrets
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from lakehouse.config.urls import separate_credentials
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.host.composition import EMBEDDED_MODEL
from lakehouse.services.lake.directory import open_directory
from lakehouse.services.postgres.database import open_postgres
from lakehouse.services.retrieval.client import LakeRetrieval, open_retrieval
from lakehouse.services.retrieval.store_engine import StoreRetrieval
from lakehouse.services.vector_stores.chroma.store import make_chroma_store
from lakehouse.services.vector_stores.postgres.store import PostgresVectorStore
from lakehouse.services.vector_stores.qdrant.store import make_qdrant_store
from tools.kit.lake_crashes.service import find_descendants
from tools.kit.scaleout.vector_servers import VectorServer


@asynccontextmanager
async def open_engine(path: Path) -> AsyncIterator[LakeRetrieval]:
    """The engine of the lake in a folder, for the length of the block."""
    async with (
        open_directory(path) as directory,
        open_retrieval(directory, model=EMBEDDED_MODEL, model_name=WORDLLAMA) as engine,
    ):
        yield engine


@asynccontextmanager
async def open_store_engine(path: Path, url: str) -> AsyncIterator[StoreRetrieval]:
    """The engine of a lake whose indexes are in PostgreSQL, for the length of the block."""
    async with (
        open_engine(path) as local,
        open_postgres(separate_credentials(url), schema="lakehouse_lake", load_password=str) as database,
    ):
        yield StoreRetrieval(PostgresVectorStore(database), local)


@asynccontextmanager
async def open_server_engine(path: Path, server: VectorServer) -> AsyncIterator[StoreRetrieval]:
    """The engine of a lake whose indexes are on a server of Qdrant or Chroma, for the length of the block."""
    make = make_qdrant_store if server.kind == "qdrant" else make_chroma_store
    async with open_engine(path) as local:
        store = make(server.url, f"lakehouse_{secrets.token_hex(4)}", lambda: server.key)
        try:
            yield StoreRetrieval(store, local)
        finally:
            store.close()


def vector(*components: float) -> bytes:
    """A vector as the engine takes it."""
    return array("f", components).tobytes()


def cpu_seconds(pid: int) -> float:
    """The processor time of all threads of a process, in seconds."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_bytes().split()[0]) for thread in threads) / 1e9


async def wait_idle(pid: int, *, quiet: float = 0.02) -> float:
    """Wait until a process has used no processor time for `quiet` seconds. Returns the seconds until then."""
    began = last_change = trio.current_time()
    spent = cpu_seconds(pid)
    while trio.current_time() - last_change < quiet:
        await trio.sleep(0.002)
        now = cpu_seconds(pid)
        if now - spent > 0.0005:
            spent, last_change = now, trio.current_time()
    return last_change - began


def pid_of(engine: LakeRetrieval) -> int:
    """The process of a running engine."""
    pid = engine.process.pid
    assert pid is not None
    os.kill(pid, 0)
    return pid


def list_forks(pid: int) -> list[int]:
    """The processes below an engine: the one that forks writers of the keyword index, and the writer if there is one."""
    return [process.pid for process in find_descendants(pid)]
