"""Real servers for the tests of a lake beyond one machine; these tests are skipped where the servers are not installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.real_servers import skip_without
from tools.kit.scaleout import configure_rest_catalog, configure_warehouse, find_missing, find_missing_clients
from tools.kit.scaleout.object_storage import ObjectStorage, open_object_storage
from tools.kit.scaleout.postgres import Postgres, open_postgres
from tools.kit.scaleout.sail import Sail, find_missing_sail, open_sail
from tools.kit.scaleout.spark import Spark, find_missing_spark, open_spark, warm_up
from tools.kit.scaleout.trino import Trino, find_missing_trino, open_trino
from tools.kit.scaleout.vector_servers import VectorServer, find_missing_stores, open_chroma, open_qdrant


@pytest.fixture(scope="session")
def object_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    """An S3 server."""
    skip_without(find_missing())
    with open_object_storage(tmp_path_factory.mktemp("servers") / "s3") as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server."""
    skip_without(find_missing())
    with open_postgres(tmp_path_factory.mktemp("servers") / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def qdrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorServer]:
    """Qdrant's engine behind its API."""
    skip_without(find_missing_stores())
    with open_qdrant(tmp_path_factory.mktemp("servers") / "qdrant") as server:
        yield server


@pytest.fixture(scope="session")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorServer]:
    """Chroma's server."""
    skip_without(find_missing_stores())
    with open_chroma(tmp_path_factory.mktemp("servers") / "chroma") as server:
        yield server


@pytest.fixture(scope="session")
def spark(
    tmp_path_factory: pytest.TempPathFactory, object_storage: ObjectStorage, postgres: Postgres
) -> Iterator[Spark]:
    """Spark over a lake on S3 and PostgreSQL."""
    skip_without([*find_missing_clients(), *find_missing_spark()])
    folder = tmp_path_factory.mktemp("servers")
    lake = configure_warehouse(folder, object_storage, postgres)
    with open_spark(folder / "spark", lake, object_storage) as server:
        warm_up(server)
        yield server


@pytest.fixture(scope="session")
def trino(
    tmp_path_factory: pytest.TempPathFactory, object_storage: ObjectStorage, postgres: Postgres
) -> Iterator[Trino]:
    """Trino over a lake on S3 and PostgreSQL."""
    skip_without(find_missing_trino())
    folder = tmp_path_factory.mktemp("servers")
    lake = configure_warehouse(folder, object_storage, postgres)
    with open_trino(folder / "trino", lake, object_storage) as server:
        yield server


@pytest.fixture(scope="session")
def rest_lake(tmp_path_factory: pytest.TempPathFactory, object_storage: ObjectStorage) -> dict[str, object]:
    """The table `[lake]` of a lake in a REST catalog."""
    return configure_rest_catalog(tmp_path_factory.mktemp("rest"), object_storage)


@pytest.fixture(scope="session")
def sail(
    tmp_path_factory: pytest.TempPathFactory, object_storage: ObjectStorage, rest_lake: dict[str, object]
) -> Iterator[Sail]:
    """Sail with Spark Connect."""
    skip_without([*find_missing_clients(), *find_missing_sail()])
    with open_sail(tmp_path_factory.mktemp("servers") / "sail", "spark", rest_lake, object_storage) as server:
        yield server


@pytest.fixture(scope="session")
def flight_sql(
    tmp_path_factory: pytest.TempPathFactory, object_storage: ObjectStorage, rest_lake: dict[str, object]
) -> Iterator[Sail]:
    """Sail with Flight SQL."""
    skip_without([*find_missing_clients(), *find_missing_sail()])
    with open_sail(tmp_path_factory.mktemp("servers") / "flight", "flight", rest_lake, object_storage) as server:
        yield server
