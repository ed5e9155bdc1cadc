"""What the supervisor opens once, shares and hands to its workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from lakehouse.config import Config, parse_config
from lakehouse.runtime.resources import SharedResources, open_resource, share_resources
from lakehouse.runtime.worker_config import WorkerConfig


class Well:
    """A resource that notes what happens to it; it is there if the configuration names a tier "well"."""

    name: ClassVar[str] = "well"

    def __init__(self) -> None:
        self.events: list[str] = []

    def is_configured(self, config: Config) -> bool:
        return "well" in config.models

    @asynccontextmanager
    async def open(self, config: Config, directory: Path | None = None) -> AsyncIterator[str]:
        self.events.append("opened")
        yield f"water of {config.models['well'][0]}"
        self.events.append("closed")

    @asynccontextmanager
    async def publish(self, opened: str, directory: Path) -> AsyncIterator[dict[str, str]]:
        (directory / "bucket").write_text(opened)
        yield {"file": "bucket"}
        (directory / "bucket").unlink()

    @asynccontextmanager
    async def attach(self, description: msgspec.Raw, directory: Path) -> AsyncIterator[str]:
        file = directory / msgspec.json.decode(description, type=dict[str, str])["file"]
        self.events.append("joined")
        yield file.read_text()
        self.events.append("left")


@pytest.fixture
def well() -> Well:
    return Well()


def config(**models: list[str]) -> Config:
    return parse_config({"models": models}).config


async def test_without_a_supervisor_a_process_opens_its_own(well: Well) -> None:
    async with open_resource(well, config(well=["spring"]), SharedResources()) as water:
        assert water == "water of spring"
        assert well.events == ["opened"]
    assert well.events == ["opened", "closed"]


async def test_what_is_not_configured_is_not_there(well: Well, tmp_path: Path) -> None:
    async with share_resources([well], config(), tmp_path) as shared, open_resource(well, config(), shared) as water:
        assert water is None
        assert dict(shared.descriptions) == {}
    assert well.events == []


async def test_workers_join_what_their_supervisor_opened_once(well: Well, tmp_path: Path) -> None:
    settings = config(well=["spring"])
    async with share_resources([well], settings, tmp_path) as shared:
        for _ in range(2):
            told = WorkerConfig(config=settings, descriptors=(3, 4), index=1, resources=shared)
            worker = WorkerConfig.decode(told.encode())
            assert (worker.config, worker.descriptors, worker.index) == (settings, (3, 4), 1)
            async with open_resource(well, worker.config, worker.resources) as water:
                assert water == "water of spring"
    assert well.events == ["opened", "joined", "left", "joined", "left", "closed"]
    assert list(tmp_path.iterdir()) == []
