"""What an engine behind Flight SQL is made of: its statements, and ADBC's driver in the child."""

from __future__ import annotations

from lakehouse.config import LakeTable, QuerydTable
from lakehouse.services.engines.hardened import MIB
from lakehouse.services.engines.remote.child_version import ask_version
from lakehouse.services.engines.remote.client import Client, ServerVersion
from lakehouse.services.engines.remote.dialects import FLIGHT_SQL
from lakehouse.services.engines.remote.secrets import Secrets
from lakehouse.services.engines.remote_messages import SourceSettings

SOURCE = "lakehouse.services.engines.remote_child.flight_sql:FlightSqlSource"
MODULES, EXTRA = ("adbc_driver_flightsql", "adbc_driver_manager"), "flightsql"
MAPPED = 2048 * MIB
"""Bytes of address space that the runtime of Go reserves for the driver."""


def make_flight_sql(queryd: QuerydTable, _lake: LakeTable) -> Client:
    """Make the client from the configuration."""
    table = queryd.flightsql
    settings = SourceSettings(source=SOURCE, url=table.url, user=table.user, options=dict(table.options))

    async def read_version(secrets: Secrets) -> ServerVersion:
        version = await ask_version(settings, secrets, modules=MODULES, extra=EXTRA)
        return ServerVersion(version=version, fits=True, needed="any")

    return Client(
        dialect=FLIGHT_SQL,
        settings=settings,
        max_queries=table.max_queries,
        read_version=read_version,
        network=True,
        mapped=MAPPED,
        modules=MODULES,
        extra=EXTRA,
    )
