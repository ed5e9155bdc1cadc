"""The tables of the embedded data services: `[lake]`, and one for each service, with the keys of its former daemon.

`bind` of a service is its listener under `lakehouse run NAME`; without that it is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lakehouse.config import values
from lakehouse.config.fields import ignored_field, parsed_field, positive_duration
from lakehouse.config.values import Address


def _bind(port: int) -> Address:
    return parsed_field(values.address, Address("127.0.0.1", port))  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, slots=True)
class LakeTable:
    """`[lake]`: the folder, the start of the services process, and the limits of its engines.

    `memory` is a share of the machine ("50%") or a size, for all engines together. With `engines` 0 there is one for
    each processor, at most 8.
    """

    path: str = parsed_field(values.path, "")
    start: Literal["lazy", "eager"] = "lazy"
    memory: str = parsed_field(values.memory, "50%")
    engines: int = parsed_field(values.count, 0)
    query_timeout: float = positive_duration(60.0)
    max_rows: int = parsed_field(values.positive_count, 100_000)
    retention: float = parsed_field(values.duration, 7 * 86400.0)
    warehouse: str = parsed_field(values.below_path, "")
    catalog: str = parsed_field(values.below_path, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoragedTable:
    """`[storaged]`: objects. At most `max_puts` are written at a time."""

    bind: Address = _bind(3211)
    max_put: int = parsed_field(values.size, 4 * 2**30)
    max_puts: int = parsed_field(values.positive_count, 4)
    secrets_path: str = ignored_field()


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogdTable:
    """`[catalogd]`: the catalog of tables."""

    bind: Address = _bind(3212)
    storaged_url: str = ignored_field()


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestdTable:
    """`[ingestd]`: uploads of files into tables."""

    bind: Address = _bind(3213)
    max_ingest_bytes: int = parsed_field(values.size, 4 * 2**30)
    storaged_url: str = ignored_field()
    catalogd_url: str = ignored_field()


@dataclass(frozen=True, kw_only=True, slots=True)
class QuerydTable:
    """`[queryd]`: SQL over the tables."""

    bind: Address = _bind(3214)
    catalogd_url: str = ignored_field()
    refresh_every: str = ignored_field()
    secrets_path: str = ignored_field()


@dataclass(frozen=True, kw_only=True, slots=True)
class VectordTable:
    """`[vectord]`: vector indexes."""

    bind: Address = _bind(3215)
    storaged_url: str = ignored_field()


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddTable:
    """`[embedd]`: texts to vectors.

    `provider_url` is Ollama; empty: the one of `[chatd] ollama_url`. An empty `default_model` is the packaged model.
    `cache_size` is in texts; 0 keeps none. `model` is the path of a GGUF file of an embedding model, which has the name
    of the file without its ending; its texts have at most `context` tokens, of which the buffers grow.
    """

    bind: Address = _bind(3216)
    provider_url: str = parsed_field(values.optional_url, "")
    default_model: str = ""
    cache_size: int = parsed_field(values.count, 10_000)
    model: str = parsed_field(values.path, "")
    context: int = parsed_field(values.positive_count, 512)


@dataclass(frozen=True, kw_only=True, slots=True)
class PathwaydTable:
    """`[pathwayd]`: versioned traces."""

    bind: Address = _bind(3217)
    persist_path: str = ignored_field()


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixdTable:
    """`[matrixd]`: search over several indexes.

    The results of the last `cache_size` searches are kept. A model of the Ollama at `judge_url` rates answers of
    playbooks from 1 to 5 before a search takes them in.
    """

    bind: Address = _bind(3218)
    cache_size: int = parsed_field(values.count, 4_096)
    judge_url: str = parsed_field(values.optional_url, "")
    judge_model: str = ""
    judge_min_rating: int = parsed_field(values.positive_count, 3)
    embedd_url: str = ignored_field()
    vectord_url: str = ignored_field()


@dataclass(frozen=True, kw_only=True, slots=True)
class ObserverdTable:
    """`[observerd]`: records of operations, and workflows."""

    bind: Address = _bind(3219)
    persist_path: str = ignored_field()
    matrixd_url: str = ignored_field()
