"""The composition of the lake: which service is given which parts of it.

    LakeDirectory ─┬─ ObjectStore
                   ├─ Tables ─────── QueryEngine
                   └─ WriteEngine

Every part is opened at once and costs little before it is used: children are started with the first call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lakehouse.asgi.types import App
from lakehouse.config import Config
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.telemetry.gauges import Gauge


@dataclass(frozen=True, slots=True)
class OpenServices:
    """The open services: their applications by name, and their gauges."""

    apps: Mapping[str, App]
    gauges: tuple[Gauge, ...] = ()


@runtime_checkable
class HasGauges(Protocol):
    """A part of the lake, or an application, with gauges of its own."""

    def gauges(self) -> Iterable[Gauge]: ...


@asynccontextmanager
async def open_apps(_directory: LakeDirectory, _config: Config) -> AsyncIterator[OpenServices]:
    """The applications of all embedded services, for the length of the block."""
    apps: dict[str, App] = {}
    yield OpenServices(apps, tuple(_gauges_of(apps.values())))


def _gauges_of(parts: Iterable[object]) -> Iterator[Gauge]:
    for part in parts:
        if isinstance(part, HasGauges):
            yield from part.gauges()
