"""The client of an engine by the name of the configuration, imported where the engine has a URL: few lakes have one."""

from __future__ import annotations

from lakehouse.config import LakeTable, QuerydTable
from lakehouse.services.engines.remote.client import Client


def make_client(name: str, queryd: QuerydTable, lake: LakeTable) -> Client:
    """Make the client of one of `REMOTE_ENGINES` from the configuration."""
    if name == "trino":
        from lakehouse.services.engines.remote.trino.client import make_trino

        return make_trino(queryd, lake)
    if name == "spark":
        from lakehouse.services.engines.remote.spark import make_spark

        return make_spark(queryd, lake)
    from lakehouse.services.engines.remote.flight_sql import make_flight_sql

    return make_flight_sql(queryd, lake)
