"""A lake that the tests of one module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.kit.lake_tables import SharedLake


@pytest.fixture(scope="module")
def shared_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedLake]:
    """The lake; a test runs in it with `shared_lake.run(story)`."""
    with SharedLake(tmp_path_factory.mktemp("shared") / "lake") as lake:
        yield lake
