"""What the engine Trino is made of: its statements, its feeds, and the child that takes its pages."""

from __future__ import annotations

from lakehouse.config import LakeTable, QuerydTable
from lakehouse.services.engines.remote.client import Client, ServerVersion
from lakehouse.services.engines.remote.dialects import TRINO
from lakehouse.services.engines.remote.secrets import Secrets
from lakehouse.services.engines.remote.trino.coordinator import Coordinator
from lakehouse.services.engines.remote.trino.feed import TrinoFeeds
from lakehouse.services.engines.remote.trino.version import read_version
from lakehouse.services.engines.remote_messages import SourceSettings

SOURCE = "lakehouse.services.engines.remote_child.trino.pages:TrinoPages"


def make_trino(queryd: QuerydTable, lake: LakeTable) -> Client:
    """The client of the configuration. Raises OSError, ssl.SSLError for `[queryd.trino] ca_file`."""
    table = queryd.trino
    coordinator = Coordinator(table, table.catalog or lake.name)

    async def ask_version(_secrets: Secrets) -> ServerVersion:
        return await read_version(coordinator)

    return Client(
        dialect=TRINO,
        settings=SourceSettings(source=SOURCE),
        max_queries=table.max_queries,
        feeds=TrinoFeeds(coordinator, table.session),
        read_version=ask_version,
    )
