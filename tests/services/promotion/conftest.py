"""A lake with a history, of which each test has a copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.services.promotion.history import CopyLake, History, read_all, tell_history
from tests.services.warehouse.two_services import open_service
from tools.kit.lake_tables import SharedLake


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A lake with a history, which is not changed."""
    folder = tmp_path_factory.mktemp("history") / "lake"

    async def make() -> dict[str, Any]:
        async with open_service(folder, {}) as service:
            await tell_history(service)
            return await read_all(service)

    return folder, trio.run(make)


@pytest.fixture
def copy_lake(tmp_path: Path, history: History) -> CopyLake:
    """Makes a copy of the lake with the history, as if it had been moved."""

    def copy() -> Path:
        folder = tmp_path / "lake"
        shutil.copytree(history[0], folder)
        return folder

    return copy


@pytest.fixture(scope="module")
def shared_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedLake]:
    """A lake; a test runs in it with `shared_lake.run(story)`."""
    with SharedLake(tmp_path_factory.mktemp("shared") / "lake") as lake:
        yield lake
