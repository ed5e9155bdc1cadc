"""The restrictions of every engine, which runs DuckDB on statements or files of users, and may be killed at any time.

In the parent, `make_engine_spec` describes the process and `EngineStarter` starts it with a spill folder of its own:

    spec = make_engine_spec(kind, directory=lake.path, settings=...)
    open_pool(spec, PoolPolicy(size=2), start=EngineStarter(directory.open_spill))

In the child, the target calls `database.open_database`. The order of the steps is essential: limits and Landlock apply
to the process before `duckdb` is imported (`process.bootstrap`), because the threads of a database that is already open
would stay unrestricted. Then the database is opened, and its configuration is locked last.

The working directory of the child is the folder of the lake, and all paths are relative to it: an absolute path would
appear in answers and errors.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from lakehouse.process.child import Child, open_child
from lakehouse.process.spec import ChildSpec, ResourceLimits, Sandbox
from lakehouse.services.engines.database import DatabaseSettings, EngineSettings

MIB = 2**20
RESIDENT_BASE = 80 * MIB
"""Bytes of the interpreter and an idle database."""
MAPPED_BASE = 192 * MIB
"""Bytes that are mapped and not used: the libraries' code, and the reserve of the allocator's two arenas."""
THREAD_STACK = 8 * MIB
BUFFER_SHARE = 0.75
"""The part of an engine's memory for its buffer manager. The rest is for what that does not count: row functions,
Parquet decoders, results."""
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Variables of the C library. Without the first, each thread maps an arena of 64 MiB, which the limit of the address
space counts. With the second, large blocks use huge pages: the kernel releases those of a killed engine at once."""


NETWORK_PATHS = (
    "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services",
    "/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
    "/run/systemd/resolve",
)  # fmt: skip
"""Files that a client of a server reads: how names are resolved, and whose certificates are trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """One kind of engine. `read` and `write` are paths relative to the folder of the lake, files or whole trees.

    `memory` is the maximum of one engine in bytes, `max_spill` that of its spill folder. `file_size` limits each file
    that the engine writes.
    """

    name: str
    target: str
    memory: int
    threads: int
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    max_spill: int
    file_size: int | None = None
    open_files: int = 4096
    options: tuple[tuple[str, str], ...] = ()
    """Further settings of the database: name and value."""
    mapped: int = 0
    """Bytes that further libraries of the target map and mostly do not use."""
    network: bool = False
    """Whether it may open connections: for the client of a server."""
    files: tuple[str, ...] = ()
    """Absolute paths that its libraries may read, and its statements may not."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of `ENVIRONMENT`."""

    @property
    def memory_limit(self) -> int:
        """The bytes of the buffer manager."""
        return int(max(self.memory - RESIDENT_BASE, 64 * MIB) * BUFFER_SHARE)

    @property
    def address_space(self) -> int:
        """The limit of the address space: with it the resident memory stays below `memory`."""
        return self.memory + MAPPED_BASE + self.mapped + self.threads * THREAD_STACK


def make_engine_spec(kind: EngineKind, *, directory: Path, settings: object = None) -> ChildSpec:
    """Describe the process of an engine for the lake in `directory`; `settings` is a JSON value for the target."""
    database = DatabaseSettings(
        directory=str(directory),
        memory_limit=kind.memory_limit,
        threads=kind.threads,
        directories=(*kind.read, *kind.write),
        max_spill=kind.max_spill,
        options=kind.options,
    )
    return ChildSpec(
        name=kind.name,
        target=kind.target,
        settings=msgspec.json.encode(
            EngineSettings(database=database, target=msgspec.Raw(msgspec.json.encode(settings)))
        ),
        environment={**ENVIRONMENT, **kind.environment},
        limits=ResourceLimits(
            address_space=kind.address_space,
            file_size=kind.max_spill if kind.file_size is None else max(kind.max_spill, kind.file_size),
            open_files=kind.open_files,
        ),
        sandbox=Sandbox(
            restrict_files=True,
            read_paths=(*(str(directory / path) for path in kind.read), *kind.files),
            write_paths=tuple(str(directory / path) for path in kind.write),
            network=kind.network,
        ),
    )


class EngineStarter:
    """The `start` of a pool of engines: each child has an empty spill folder, which is removed when the child ends."""

    def __init__(
        self, open_spill: Callable[[], AbstractAsyncContextManager[Path]], *, pipes: tuple[str, ...] = ()
    ) -> None:
        """`open_spill` opens a new folder below the folder of the lake for the length of a block.

        `pipes` are the names of pipes to be made in it: the sandbox does not let the child make them.
        """
        self._open_spill = open_spill
        self._pipes = pipes

    @asynccontextmanager
    async def _start(self, spec: ChildSpec) -> AsyncIterator[Child]:
        async with self._open_spill() as spill:
            for name in self._pipes:
                os.mkfifo(spill / name, 0o600)
            async with open_child(_with_spill(spec, spill)) as child:
                yield child

    def __call__(self, spec: ChildSpec) -> AbstractAsyncContextManager[Child]:
        """Start one engine for the length of a block."""
        return self._start(spec)


def _with_spill(spec: ChildSpec, spill: Path) -> ChildSpec:
    settings = msgspec.json.decode(spec.settings, type=EngineSettings)
    database = msgspec.structs.replace(settings.database, spill=os.path.relpath(spill, settings.database.directory))
    return replace(
        spec,
        settings=msgspec.json.encode(msgspec.structs.replace(settings, database=database)),
        sandbox=replace(spec.sandbox, write_paths=(*spec.sandbox.write_paths, str(spill))),
    )
