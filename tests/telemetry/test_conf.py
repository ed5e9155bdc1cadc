"""The dashboard and the alert rules: they ask for what the service really shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lakehouse.telemetry.exposition import render_exposition
from lakehouse.telemetry.metric_definitions import METRIC_FAMILIES
from lakehouse.telemetry.metric_store import Row

CONF = Path(__file__).parents[2] / "conf"
ALERTS = (CONF / "alerts.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((CONF / "grafana-dashboard.json").read_text(encoding="utf-8"))
PROMTOOL = shutil.which("promtool")
SHOWN = {family.name: [Row(tuple("x" for _ in family.labels), family.cell())] for family in METRIC_FAMILIES}


def queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from re.findall(r"expr: (\|\n(?: {10}.*\n)+|.*)", ALERTS)


def shown() -> dict[str, set[str]]:
    """Each series by name, with the labels it has."""
    text, _ = render_exposition([SHOWN])
    families = text_string_to_metric_families(text.decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_every_series_asked_for_exists_with_the_labels_asked_for() -> None:
    series = shown()
    found = list(queries())
    assert len(found) > 35
    for query in found:
        names = re.findall(r"lakehouse_\w+", query)
        assert names
        for name in names:
            assert name in series, query
        known = {"job", "instance"}.union(*(series[name] for name in names))
        selected = re.findall(r"[{,]\s*(\w+)(?:=~|!~|!=|=)\"", query)
        grouped = [label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")]
        assert {*selected, *grouped} <= known, query


def test_panels_do_not_overlap_and_fit_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_alert_says_what_is_wrong_and_where_to_look() -> None:
    rules = ALERTS.split("- alert: ")[1:]
    assert len(rules) >= 8
    for rule in rules:
        for part in ("expr:", "severity:", "summary:", "description:"):
            assert part in rule, rule


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")
def test_prometheus_itself_takes_rules_queries_and_metrics(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    subprocess.run([PROMTOOL, "check", "rules", str(CONF / "alerts.yml")], check=True, capture_output=True)
    text, _ = render_exposition([SHOWN])
    subprocess.run([PROMTOOL, "check", "metrics"], check=True, capture_output=True, input=text)
    expressions = [query.replace("$job", ".+").replace("$__rate_interval", "5m") for query in queries()]
    rules = [
        {"record": f"panel:{number}", "expr": query} for number, query in enumerate(expressions) if query[0] != "|"
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    subprocess.run([PROMTOOL, "check", "rules", str(tmp_path / "rules.yml")], check=True, capture_output=True)
