"""The engines of the configuration, opened: a pool of children for each, whose processes start with the first query."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass

from lakehouse.config import LakeTable, QuerydTable
from lakehouse.config.query_engine_tables import REMOTE_ENGINES, list_engines
from lakehouse.core.extras import install_hint, missing_modules
from lakehouse.process.calls.pool import ChildPool, open_pool
from lakehouse.process.calls.pool_policy import PoolPolicy
from lakehouse.services.engines.hardened import MIB, NETWORK_PATHS, EngineKind, EngineStarter, make_engine_spec
from lakehouse.services.engines.query import MAX_WAITING, QUEUE_TIMEOUT, choose_spill
from lakehouse.services.engines.query_messages import PARQUET_PIPE
from lakehouse.services.engines.remote.client import Client
from lakehouse.services.engines.remote.clients import make_client
from lakehouse.services.engines.remote.engine import RemoteQueryEngine
from lakehouse.services.engines.remote.secrets import VARIABLES, SecretSource
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.telemetry.gauges import Gauge, Readings
from lakehouse.telemetry.metric_store import Family

TARGET = "lakehouse.services.engines.remote_child.run:run"
MEMORY = 512 * MIB
"""Bytes of one child: the client, the rows under way, and the buffers of the answer's format."""
ENVIRONMENT_VARIABLES = tuple(name for names in VARIABLES.values() for name in names if name)

_ENGINES = Family(
    "queryd_remote_queries", "gauge", "Statements on other engines, and idle processes.", ("engine", "state")
)
_WAITING = Family("queryd_remote_waiting", "gauge", "Statements that wait for another engine.", ("engine",))


@dataclass(frozen=True, slots=True)
class RemoteEngines:
    """The open engines by name."""

    engines: Mapping[str, RemoteQueryEngine]

    def gauges(self) -> Iterable[Gauge]:
        """The gauges of their pools."""
        if not self.engines:
            return ()
        return (Gauge(_ENGINES, self._read_states), Gauge(_WAITING, self._read_waiting))

    def _read_states(self) -> Readings:
        busy = [((name, "busy"), pool.in_use) for name, pool in self._list_pools()]
        return [*busy, *(((name, "idle"), pool.idle) for name, pool in self._list_pools())]

    def _read_waiting(self) -> Readings:
        return [((name,), pool.waiting) for name, pool in self._list_pools()]

    def _list_pools(self) -> list[tuple[str, ChildPool]]:
        return [(name, engine.pool) for name, engine in self.engines.items()]


@asynccontextmanager
async def open_remote_engines(
    directory: LakeDirectory, queryd: QuerydTable, lake: LakeTable, environment: Mapping[str, str]
) -> AsyncIterator[RemoteEngines]:
    """Open the configured engines for the length of the block. Their processes start with the first statements.

    `environment` is where passwords and tokens are looked up that `[queryd] key_file` lacks.
    """
    async with AsyncExitStack() as stack:
        engines = {}
        for name in list_engines(queryd):
            if name in REMOTE_ENGINES:
                client = make_client(name, queryd, lake)
                secrets = SecretSource(name, queryd.key_file, environment)
                opened = open_remote_engine(directory, client, secrets, timeout=lake.query_timeout)
                engines[name] = await stack.enter_async_context(opened)
        yield RemoteEngines(engines)


@asynccontextmanager
async def open_remote_engine(
    directory: LakeDirectory, client: Client, secrets: SecretSource, *, timeout: float
) -> AsyncIterator[RemoteQueryEngine]:
    """Open one engine for the length of the block. `timeout` is the longest time of a statement in seconds."""
    kind = EngineKind(
        name=f"the engine {client.dialect.engine}",
        target=TARGET,
        memory=MEMORY,
        threads=1,
        max_spill=choose_spill(directory, client.max_queries),
        mapped=client.mapped,
        network=client.network,
        files=(*client.files, *(NETWORK_PATHS if client.network else ())),
        environment={"ARROW_DEFAULT_MEMORY_POOL": "system", **client.environment},
    )
    policy = PoolPolicy(
        size=client.max_queries,
        max_waiting=MAX_WAITING,
        queue_timeout=QUEUE_TIMEOUT,
        reset_timeout=client.cancel_time,
        max_reset_timeout=client.max_cancel_time,
    )
    spec = make_engine_spec(kind, directory=directory.path, settings=client.settings)
    start = EngineStarter(directory.open_spill, pipes=(PARQUET_PIPE,))
    absent = missing_modules(*client.modules)
    hint = f"the engine {client.dialect.engine} {install_hint(client.extra, absent)}" if absent else ""
    with closing(client.feeds):
        async with open_pool(spec, policy, start=start) as pool:
            yield RemoteQueryEngine(pool, client.dialect, client.feeds, secrets, timeout=timeout, absent=hint)
