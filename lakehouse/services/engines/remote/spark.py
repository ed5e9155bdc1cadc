"""What the engine Spark is made of: its statements, and its client in the child."""

from __future__ import annotations

from lakehouse.config import LakeTable, QuerydTable
from lakehouse.services.engines.hardened import MIB
from lakehouse.services.engines.remote.child_version import ask_version
from lakehouse.services.engines.remote.client import Client, ServerVersion
from lakehouse.services.engines.remote.dialects import SPARK
from lakehouse.services.engines.remote.secrets import Secrets
from lakehouse.services.engines.remote_messages import SourceSettings

SOURCE = "lakehouse.services.engines.remote_child.spark.source:SparkSource"
MODULES, EXTRA = ("grpc", "grpc_status", "pyspark"), "spark"
MAPPED = 1024 * MIB
"""Bytes of address space of gRPC: stacks of its threads, and a message of the largest size."""
VERSION = "4.1"
"""The version whose messages the client has; those of its patches are the same."""


def make_spark(queryd: QuerydTable, lake: LakeTable) -> Client:
    """Make the client from the configuration."""
    table = queryd.spark
    catalog = table.catalog or lake.name
    settings = SourceSettings(source=SOURCE, url=table.url, user=table.user, catalog=catalog, schema=table.schema)

    async def read_version(secrets: Secrets) -> ServerVersion:
        version = await ask_version(settings, secrets, modules=MODULES, extra=EXTRA)
        return ServerVersion(version=version, fits=version.startswith(f"{VERSION}."), needed=VERSION)

    return Client(
        dialect=SPARK,
        settings=settings,
        max_queries=table.max_queries,
        read_version=read_version,
        network=True,
        mapped=MAPPED,
        modules=MODULES,
        extra=EXTRA,
        cancel_time=1.0,
        max_cancel_time=3.0,
    )
