"""The gauges of storaged."""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.services.storaged.api.upload_slots import UploadSlots
from lakehouse.services.storaged.index.recent_objects import RecentObjects
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

_UPLOADS = Family("storaged_uploads", "gauge", "Objects that are being received.")
_WAITING = Family("storaged_uploads_waiting", "gauge", "Uploads that wait until another one has ended.")
_RECENT = Family("storaged_recent_bytes", "gauge", "Memory for the objects that were used last.")


def make_gauges(slots: UploadSlots, recent: RecentObjects) -> Iterable[Gauge]:
    """Make the gauges of uploads and memory."""
    return (
        Gauge(_UPLOADS, lambda: [((), slots.in_use)]),
        Gauge(_WAITING, lambda: [((), slots.waiting)]),
        Gauge(_RECENT, lambda: [((), recent.size)]),
    )
