"""Real servers for the tests of a lake beyond one machine; these tests are skipped where the servers are not installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.real_servers import skip_without
from tools.kit.scaleout import configure_rest_catalog, configure_warehouse, find_missing, find_missing_clients
from tools.kit.scaleout.addresses import ServerAddresses, read_addresses
from tools.kit.scaleout.object_storage import ObjectStorage, open_object_storage
from tools.kit.scaleout.postgres import Postgres, open_postgres
from tools.kit.scaleout.sail import Sail, find_missing_sail, open_sail
from tools.kit.scaleout.spark import Spark, find_missing_spark, open_spark, warm_up
from tools.kit.scaleout.trino import Trino, find_missing_trino, open_trino
from tools.kit.scaleout.vector_servers import VectorServer, find_missing_stores, open_chroma, open_qdrant


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With `--dist loadgroup` one process has all tests of an engine, of a lake or of a file."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.services.server_groups import GroupScheduling  # here: xdist is not there in every environment

    return GroupScheduling(config, log)


@pytest.fixture(scope="session")
def addresses() -> ServerAddresses:
    """Servers that run already: `python -m tools.scaleout_servers` has started them for all processes of tests."""
    return read_addresses()


@pytest.fixture(scope="session")
def object_storage(tmp_path_factory: pytest.TempPathFactory, addresses: ServerAddresses) -> Iterator[ObjectStorage]:
    """An S3 server."""
    skip_without(find_missing())
    if addresses.object_storage is not None:
        yield addresses.object_storage
        return
    with open_object_storage(tmp_path_factory.mktemp("servers") / "s3") as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory, addresses: ServerAddresses) -> Iterator[Postgres]:
    """A PostgreSQL server."""
    skip_without(find_missing())
    if addresses.postgres is not None:
        yield addresses.postgres
        return
    with open_postgres(tmp_path_factory.mktemp("servers") / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def qdrant(tmp_path_factory: pytest.TempPathFactory, addresses: ServerAddresses) -> Iterator[VectorServer]:
    """Qdrant's engine behind its API."""
    skip_without(find_missing_stores())
    if addresses.qdrant is not None:
        yield addresses.qdrant
        return
    with open_qdrant(tmp_path_factory.mktemp("servers") / "qdrant") as server:
        yield server.address


@pytest.fixture(scope="session")
def chroma(tmp_path_factory: pytest.TempPathFactory, addresses: ServerAddresses) -> Iterator[VectorServer]:
    """Chroma's server."""
    skip_without(find_missing_stores())
    if addresses.chroma is not None:
        yield addresses.chroma
        return
    with open_chroma(tmp_path_factory.mktemp("servers") / "chroma") as server:
        yield server.address


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
