"""Fixtures of the tests of ingest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.services.ingest.format_kit import Reader
from tools.kit.shared_lake import SharedLake, open_shared_lake


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET threads = 1")
        yield Reader(Path(tmp_path_factory.mktemp("files")), connection)


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedLake]:
    """A lake for tests with tables of their own."""
    with open_shared_lake(tmp_path_factory.mktemp("shared") / "lake") as lake:
        yield lake


@pytest.fixture
def lake(shared: SharedLake) -> SharedLake:
    """The shared lake; `t` is a table, or a corpus, that no test before has used."""
    return shared.with_new_table()
