"""Real servers for the tests of a lake beyond one machine; these tests are skipped where the servers are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services.engine_servers import EngineServers
from tests.services.real_servers import skip_without
from tools.kit.scaleout import configure_rest_catalog, configure_warehouse, find_missing, find_missing_clients
from tools.kit.scaleout.addresses import ServerAddresses, read_addresses
from tools.kit.scaleout.object_storage import ObjectStorage, open_object_storage
from tools.kit.scaleout.postgres import Postgres, open_postgres
from tools.kit.scaleout.sail import Sail, find_missing_sail, open_sail
from tools.kit.scaleout.spark import Spark, find_missing_spark, open_spark, warm_up
from tools.kit.scaleout.trino import Trino, find_missing_trino, open_trino
from tools.kit.scaleout.vector_servers import VectorServer, find_missing_stores, open_chroma, open_qdrant

ENGINES = pytest.StashKey[EngineServers]()


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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several processes one begins with Spark, whose tests take longest and most memory."""
    if getattr(config.option, "loadgroup", False):
        from tests.services.server_groups import find_place  # here: as above

        items.sort(key=lambda item: find_place(item.nodeid))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last test of a group, its servers make room for others."""
    if ENGINES in item.config.stash and getattr(item.config.option, "loadgroup", False):
        from tests.services.server_groups import find_group  # here: as above

        if nextitem is None or find_group(nextitem.nodeid) != find_group(item.nodeid):
            item.config.stash[ENGINES].close()


@pytest.fixture(scope="session")
def engine_servers(pytestconfig: pytest.Config) -> Iterator[EngineServers]:
    """Servers that may be ended before the tests."""
    servers = pytestconfig.stash.setdefault(ENGINES, EngineServers())
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def spark(
    engine_servers: EngineServers,
    tmp_path_factory: pytest.TempPathFactory,
    object_storage: ObjectStorage,
    postgres: Postgres,
) -> Spark:
    """Spark over a lake on S3 and PostgreSQL."""
    skip_without([*find_missing_clients(), *find_missing_spark()])
    return engine_servers.spark.get(_open_spark(tmp_path_factory.mktemp("servers"), object_storage, postgres))


@contextmanager
def _open_spark(folder: Path, storage: ObjectStorage, postgres: Postgres) -> Iterator[Spark]:
    with open_spark(folder / "spark", configure_warehouse(folder, storage, postgres), storage) as server:
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


@pytest.fixture(scope="module")
def sail(
    engine_servers: EngineServers,
    tmp_path_factory: pytest.TempPathFactory,
    object_storage: ObjectStorage,
    rest_lake: dict[str, object],
) -> Sail:
    """Sail with Spark Connect."""
    skip_without([*find_missing_clients(), *find_missing_sail()])
    folder = tmp_path_factory.mktemp("servers")
    return engine_servers.sail.get(open_sail(folder / "sail", "spark", rest_lake, object_storage))


@pytest.fixture(scope="module")
def flight_sql(
    engine_servers: EngineServers,
    tmp_path_factory: pytest.TempPathFactory,
    object_storage: ObjectStorage,
    rest_lake: dict[str, object],
) -> Sail:
    """Sail with Flight SQL."""
    skip_without([*find_missing_clients(), *find_missing_sail()])
    folder = tmp_path_factory.mktemp("servers")
    return engine_servers.flight_sql.get(open_sail(folder / "flight", "flight", rest_lake, object_storage))
