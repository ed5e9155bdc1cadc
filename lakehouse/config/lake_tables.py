"""The tables of the embedded data services: `[lake]`, and one for each service, with the keys of its former daemon.

`bind` of a service is its listener under `lakehouse run NAME`; without that it is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lakehouse.config import values, warehouse_values
from lakehouse.config.fields import ignored_field, parsed_field, positive_duration
from lakehouse.config.query_engine_tables import EngineName, FlightSqlTable, SparkTable, TrinoTable
from lakehouse.config.values import Address


def _bind(port: int) -> Address:
    return parsed_field(values.address, Address("127.0.0.1", port))  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, slots=True)
class LakeTable:
    """`[lake]`: the folder, the start of the services process, and the limits of its engines.

    `memory` is a share of the machine ("50%") or a size, for all engines together. With `engines` 0 there is one for
    each processor, at most 8.

    With `warehouse` and `catalog` the tables and objects are on S3 and in PostgreSQL or a REST catalog; `key_file` has
    the credentials, and `cache` bytes of data files are kept below `path`.
    """

    path: str = parsed_field(values.path, "")
    start: Literal["lazy", "eager"] = "lazy"
    memory: str = parsed_field(values.memory, "50%")
    engines: int = parsed_field(values.count, 0)
    query_timeout: float = positive_duration(60.0)
    max_rows: int = parsed_field(values.positive_count, 100_000)
    retention: float = parsed_field(values.duration, 7 * 86400.0)
    warehouse: str = parsed_field(warehouse_values.warehouse, "")
    catalog: str = parsed_field(warehouse_values.catalog, "")
    name: str = parsed_field(warehouse_values.word, "lake")
    endpoint: str = parsed_field(values.optional_url, "")
    region: str = parsed_field(warehouse_values.word, "us-east-1")
    path_style: bool = True
    key_file: str = parsed_field(values.path, "")
    cache: int = parsed_field(values.size, 20 * 10**9)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoragedTable:
    """`[storaged]`: objects. At most `max_puts` are written at a time.

    With `redirect`, large objects of a warehouse on S3 are answered with a URL from which the client fetches them.
    """

    bind: Address = _bind(3211)
    max_put: int = parsed_field(values.size, 4 * 2**30)
    max_puts: int = parsed_field(values.positive_count, 4)
    redirect: bool = False
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
    """`[queryd]`: SQL over the tables.

    `engine` runs the statements of requests that name none; "duckdb" is the embedded one. `key_file` has the passwords
    and tokens of the other engines, which are taken from the environment where it lacks them.
    """

    bind: Address = _bind(3214)
    engine: EngineName = "duckdb"
    key_file: str = parsed_field(values.path, "")
    trino: TrinoTable = TrinoTable()
    spark: SparkTable = SparkTable()
    flightsql: FlightSqlTable = FlightSqlTable()
    catalogd_url: str = ignored_field()
    refresh_every: str = ignored_field()
    secrets_path: str = ignored_field()


@dataclass(frozen=True, kw_only=True, slots=True)
class VectordTable:
    """`[vectord]`: vector indexes.

    `store` is where they are, for all services of one `[lake] name`: `postgresql://host/database` with pgvector,
    `qdrant+http://host:6333`, or `chroma+http://host:8000`; empty: in the folder of the lake.
    """

    bind: Address = _bind(3215)
    store: str = parsed_field(warehouse_values.vector_store, "")
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
    """`[pathwayd]`: versioned traces. `store` is a database in PostgreSQL that several services share."""

    bind: Address = _bind(3217)
    store: str = parsed_field(warehouse_values.record_store, "")
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
class SessionLimitsTable:
    """`[observerd.limits]`: what stops a session; 0 is off. The last three are rules for loops of an agent.

    The same tool calls with the same results, `same_tool_calls` times in a row; a cycle of 2 to 4 different steps,
    `tool_cycles` times in a row; answers without a word that the ones before lack, so many in a row.
    """

    calls_per_minute: int = parsed_field(values.count, 0)
    tokens: int = parsed_field(values.count, 0)
    cost_usd: float = parsed_field(values.amount, 0.0)
    wall_time: float = parsed_field(values.duration, 0.0)
    same_tool_calls: int = parsed_field(values.repetitions, 0)
    tool_cycles: int = parsed_field(values.repetitions, 0)
    answers_without_new_words: int = parsed_field(values.repetitions, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObserverdTable:
    """`[observerd]`: records of operations, and workflows. `store` is as that of `[pathwayd]`."""

    bind: Address = _bind(3219)
    store: str = parsed_field(warehouse_values.record_store, "")
    persist_path: str = ignored_field()
    matrixd_url: str = ignored_field()
    limits: SessionLimitsTable = SessionLimitsTable()
