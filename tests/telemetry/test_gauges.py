"""Gauges by registration: `/metrics` shows what is registered, and one that fails harms no other."""

from __future__ import annotations

import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lakehouse.telemetry.gauges import Gauge, GaugeRegistry
from lakehouse.telemetry.metric_store import Family, Row
from lakehouse.telemetry.metrics import GaugeSources, LabelValues
from lakehouse.telemetry.telemetry import Telemetry
from tools.kit.telemetry_fixtures import CapturedLog

ENGINES = Family("sql_engines", "gauge", "Engines, by what they do.", ("state",))


def test_gauges_are_read_at_each_scrape_and_added_up() -> None:
    registry, busy = GaugeRegistry(), 1
    registry.register(Gauge(ENGINES, lambda: [(("busy",), busy), (("busy",), 2), (("idle",), 3)]))
    assert registry.snapshot() == {"sql_engines": [Row(("busy",), [3.0]), Row(("idle",), [3.0])]}
    busy = 5
    assert registry.snapshot()["sql_engines"][0] == Row(("busy",), [7.0])


def test_a_name_is_registered_once_and_only_for_a_gauge() -> None:
    registry = GaugeRegistry()
    registry.register(Gauge(ENGINES, list))
    with pytest.raises(ValueError, match="a gauge sql_engines is registered already"):
        registry.register(Gauge(ENGINES, list))
    with pytest.raises(ValueError, match="sql_queries is a counter, not a gauge"):
        registry.register(Gauge(Family("sql_queries", "counter", "Queries."), list))


def test_a_gauge_that_cannot_be_read_is_logged_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> list[tuple[tuple[str, ...], float]]:
        raise OSError("no such file")

    registry = GaugeRegistry()
    registry.register(Gauge(ENGINES, broken), Gauge(Family("sql_cache_bytes", "gauge", "Cache."), lambda: [((), 7)]))
    with caplog.at_level(logging.ERROR):
        assert registry.snapshot() == {"sql_engines": [], "sql_cache_bytes": [Row((), [7.0])]}
    assert caplog.messages == ["the gauge sql_engines could not be read"]


async def test_a_registered_gauge_is_shown_beside_the_services_own() -> None:
    sources = GaugeSources(connections=lambda: 4)
    telemetry = Telemetry(LabelValues(), sources, log=CapturedLog().log)
    sources.gauges.register(Gauge(ENGINES, lambda: [(("busy",), 2)]))
    text, _ = await telemetry.render_metrics()
    shown = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    assert shown["lakehouse_sql_engines", ("busy",)] == 2
    assert shown["lakehouse_connections", ()] == 4
