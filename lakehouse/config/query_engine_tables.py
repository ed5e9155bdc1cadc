"""The tables of the SQL engines beside the embedded one: `[queryd.trino]`, `[queryd.spark]`, `[queryd.flightsql]`.

An engine with a `url` is configured: a request can name it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lakehouse.config import query_engine_values, values
from lakehouse.config.fields import parsed_field, parsed_mapping

if TYPE_CHECKING:
    from lakehouse.config.lake_tables import QuerydTable

EngineName = Literal["duckdb", "spark", "trino", "flightsql"]
REMOTE_ENGINES = ("spark", "trino", "flightsql")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrinoTable:
    """`[queryd.trino]`: a Trino cluster.

    An empty `catalog` is the one of `[lake] name`. `session` are session properties. `ca_file` has the certificates of
    the authority that signed the server's. At most `max_queries` run at a time, others wait.
    """

    url: str = parsed_field(values.optional_url, "")
    user: str = parsed_field(query_engine_values.user, "lakehouse")
    catalog: str = parsed_field(query_engine_values.optional_name, "")
    schema: str = parsed_field(query_engine_values.optional_name, "main")
    session: Mapping[str, str] = parsed_mapping(query_engine_values.properties)
    ca_file: str = parsed_field(values.path, "")
    max_queries: int = parsed_field(values.positive_count, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class SparkTable:
    """`[queryd.spark]`: a server of Spark Connect.

    An empty `catalog` is the one of `[lake] name`. At most `max_queries` run at a time, each in a process of its own.
    """

    url: str = parsed_field(query_engine_values.spark_url, "")
    user: str = parsed_field(query_engine_values.user, "lakehouse")
    catalog: str = parsed_field(query_engine_values.optional_name, "")
    schema: str = parsed_field(query_engine_values.optional_name, "main")
    max_queries: int = parsed_field(values.positive_count, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class FlightSqlTable:
    """`[queryd.flightsql]`: a server of Arrow Flight SQL.

    `options` are passed to the ADBC driver. At most `max_queries` run at a time, each in a process of its own.
    """

    url: str = parsed_field(query_engine_values.flight_sql_url, "")
    user: str = parsed_field(query_engine_values.user, "")
    options: Mapping[str, str] = parsed_mapping(query_engine_values.properties)
    max_queries: int = parsed_field(values.positive_count, 4)


def list_engines(table: QuerydTable) -> tuple[str, ...]:
    """The names of the engines that a request can name: the default one first."""
    remote = (name for name in REMOTE_ENGINES if getattr(table, name).url)
    return tuple(dict.fromkeys((table.engine, "duckdb", *remote)))


def check_engines(table: QuerydTable) -> Iterator[str]:
    """The problems of the engines' keys that depend on each other."""
    if table.engine != "duckdb" and not getattr(table, table.engine).url:
        yield f'queryd.{table.engine}.url must be set as well: queryd.engine is "{table.engine}"'
