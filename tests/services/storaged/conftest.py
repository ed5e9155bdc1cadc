"""storaged in each of its environments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.storaged_server import Storaged, open_storaged


@pytest.fixture(params=["folder", "bucket"])
async def storaged(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storaged]:
    """storaged over a folder, and over a bucket of a real server."""
    if request.param == "folder":
        async with open_storaged(tmp_path / "lake") as running:
            yield running
        return
    server: ObjectStorage = request.getfixturevalue("object_storage")
    async with server.open_bucket() as bucket, open_storaged(tmp_path / "lake", bucket=bucket) as running:
        yield running
