"""The status of the embedded data services: what is embedded, where the data lie, what restricts the engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from lakehouse.config import Config, LakeTable
from lakehouse.core.extras import LAKE, install_hint, missing_modules
from lakehouse.process.sandboxing import landlock, seccomp
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.host.embedding_models import configured_models, describe_models
from lakehouse.services.host.names import SERVICES, embedded_services, is_embedded
from lakehouse.services.lake.directory import locate
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.folder_lock import find_holder
from lakehouse.services.lake.memory import MemoryShares, share_memory
from lakehouse.services.warehouse.configured import find_problem

PACKAGES = ("duckdb", "pyiceberg", "pyarrow", "nanoarrow", "wordllama", "tantivy", "numkong")
"""The distributions whose versions are shown."""


class EmbeddingModel(msgspec.Struct, frozen=True, kw_only=True):
    """An embedding model of this installation, or the default one. `missing` is what it needs, empty if nothing."""

    name: str
    default: bool
    missing: str


class LakeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded services, and `missing`, a sentence if the extra `lake` is not installed.

    `warehouse` says where tables and objects are if that is not the folder, and what is missing for it.
    `stores` says where indexes, traces and operations are if that is not the folder, and what is missing for it.
    `holder` is the process that has the folder open, None if there is none. `query_engines` and `write_engines` are
    `[processes, bytes for each]`. `sandbox` says for files and network what the kernel enforces.
    """

    services: tuple[str, ...]
    missing: str
    folder: str
    warehouse: str
    stores: Mapping[str, str]
    holder: int | None
    start: str
    query_engines: tuple[int, int]
    write_engines: tuple[int, int]
    sandbox: Mapping[str, str]
    embedding_models: Sequence[EmbeddingModel]
    versions: Mapping[str, str]

    @property
    def wanted(self) -> bool:
        """Whether the configuration embeds a service, installed or not."""
        return bool(self.services or self.missing)


def read_lake_status(config: Config, env: Mapping[str, str]) -> LakeStatus:
    """Read the status. Starts nothing."""
    wanted = any(is_embedded(config.gateway, name) for name in SERVICES)
    absent = missing_modules(*LAKE)
    folder, holder = _find_folder(config, env)
    shares: MemoryShares = share_memory(config.lake)
    return LakeStatus(
        services=embedded_services(config.gateway),
        missing=f"the lake {install_hint('lake', absent)}" if wanted and absent else "",
        folder=folder,
        warehouse=_describe_warehouse(config.lake),
        stores=dict(_describe_stores(config)),
        holder=holder,
        start=config.lake.start,
        query_engines=(shares.query.engines, shares.query.memory),
        write_engines=(shares.write.engines, shares.write.memory),
        sandbox={"files": _describe_landlock(), "network": _describe_seccomp()},
        embedding_models=list(_list_embedding_models(config, Path(folder))),
        versions={name: found for name in PACKAGES if (found := _version_of(name))},
    )


def _find_folder(config: Config, env: Mapping[str, str]) -> tuple[str, int | None]:
    """The folder, or the reason why there is none, and the process that has it open."""
    try:
        folder = locate(config.lake.path, env)
    except LakeError as error:
        return f"none: {error}", None
    holder = find_holder(folder)
    return str(folder), None if holder is None else holder.pid


def _describe_warehouse(lake: LakeTable) -> str:
    if not lake.warehouse:
        return ""
    problem = find_problem(lake)
    return f"{lake.warehouse}, catalog {lake.name} in {lake.catalog}" + (f": {problem}" if problem else "")


def _describe_stores(config: Config) -> Iterator[tuple[str, str]]:
    absent = missing_modules("psycopg2")
    for name, key, url in (
        ("indexes", "vectord.store", config.vectord.store),
        ("traces", "pathwayd.store", config.pathwayd.store),
        ("operations", "observerd.store", config.observerd.store),
    ):
        if url:
            yield name, f"{url}: {key} {install_hint('postgres', absent)}" if absent else str(url)


def _list_embedding_models(config: Config, folder: Path) -> Iterator[EmbeddingModel]:
    default = config.embedd.default_model or WORDLLAMA
    models = {model.id: model.missing for model in describe_models(configured_models(config.embedd, folder))}
    for name, missing in ({default: ""} | models).items():
        yield EmbeddingModel(name=name, default=name == default, missing=missing)


def _describe_landlock() -> str:
    abi = landlock.abi_version()
    return f"Landlock version {abi}" if abi else "not restricted: the kernel has no Landlock"


def _describe_seccomp() -> str:
    return "seccomp" if seccomp.is_supported() else "not restricted by seccomp: the kernel or the machine lacks it"


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
