"""Every test of the traces runs over the records in a folder, and over those in PostgreSQL where that is installed."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.services.pathwayd.pathwayd_kit import Opener, Pathwayd, open_records, serve_lake

KEPT_IN = ("folder", "postgres")


@pytest.fixture(params=KEPT_IN)
def store(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, an empty string for the folder."""
    if request.param == "folder":
        return ""
    url: str = request.getfixturevalue("postgres").create_database()
    return url


@pytest.fixture
def open_pathwayd(store: str, tmp_path: Path) -> Opener:
    """Serves one lake in a block, as often as it is called."""

    def open_lake(name: str = "lake") -> AbstractAsyncContextManager[Pathwayd]:
        return serve_lake(tmp_path / name, open_records(store, name))

    return open_lake
