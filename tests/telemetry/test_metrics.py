"""Metrics: each request is counted where it belongs, and no caller can make a series."""

from __future__ import annotations

import msgspec
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from lakehouse.telemetry.exposition import render_exposition
from lakehouse.telemetry.metric_definitions import METRIC_FAMILIES
from lakehouse.telemetry.metric_store import DURATIONS, MetricStore, Snapshot, decode_snapshot, encode_snapshot, observe
from lakehouse.telemetry.metrics import GaugeSources, LabelValues, Metrics
from lakehouse.telemetry.telemetry import Telemetry
from tools.kit.telemetry_fixtures import CapturedLog, FakeUsage, Pool, make_context

NAMES = LabelValues(
    routes={"/v1/sql": "queryd", "/v1/chat": ""},
    providers=("ollama", "kimi"),
    tiers=("judge",),
    upstreams=("queryd",),
)
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def counted(*active_requests: RequestContext, sources: GaugeSources | None = None) -> Metrics:
    metrics = Metrics(NAMES, sources or GaugeSources())
    for ended in active_requests:
        assert ended.ended is not None
        metrics.count_request(ended, ended.ended)
    return metrics


def series(*snapshots: Snapshot) -> Series:
    text, _ = render_exposition(snapshots, "")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(read: Series, name: str, **labels: str) -> float | None:
    return read.get((f"lakehouse_{name}", frozenset(labels.items())))


def test_a_request_is_counted_by_route_and_what_ended_it() -> None:
    read = series(
        counted(
            make_context(), make_context(), make_context(status=502), make_context(outcome="client left")
        ).snapshot()
    )
    assert value(read, "requests_total", route="/v1/sql", outcome="answered", status="2xx") == 2
    assert value(read, "requests_total", route="/v1/sql", outcome="answered", status="5xx") == 1
    assert value(read, "requests_total", route="/v1/sql", outcome="client left", status="4xx") == 1


def test_its_time_is_taken_apart_into_histograms() -> None:
    read = series(counted(make_context()).snapshot())
    for name, seconds in {"request": 0.012, "upstream": 0.010, "overhead": 0.002, "first_piece": 0.011}.items():
        assert value(read, f"{name}_seconds_count", route="/v1/sql") == 1
        assert value(read, f"{name}_seconds_sum", route="/v1/sql") == pytest.approx(seconds)
    assert value(read, "request_seconds_bucket", route="/v1/sql", le="0.01") == 0
    assert value(read, "request_seconds_bucket", route="/v1/sql", le="0.025") == 1
    assert value(read, "request_seconds_bucket", route="/v1/sql", le="+Inf") == 1
    assert value(read, "overhead_seconds_bucket", route="/v1/sql", le="0.0025") == 1


def test_a_value_beyond_every_bucket_is_in_the_last_and_a_bound_belongs_to_its_bucket() -> None:
    cell = MetricStore(METRIC_FAMILIES).cell("request_seconds", "/")
    observe(cell, DURATIONS, 1e6)
    observe(cell, DURATIONS, 0.001)
    assert (cell[0], cell[len(DURATIONS)], sum(cell[:-1])) == (1, 1, 2)


def test_what_never_went_upstream_and_had_no_piece_is_not_in_their_histograms() -> None:
    read = series(counted(make_context(upstream_seconds=0.0, first_piece=None)).snapshot())
    assert value(read, "request_seconds_count", route="/v1/sql") == 1
    assert value(read, "upstream_seconds_count", route="/v1/sql") == 0
    assert value(read, "first_piece_seconds_count", route="/v1/sql") == 0


def test_an_hour_of_websocket_is_no_latency() -> None:
    read = series(counted(make_context(status=101, ended=3700.0)).snapshot())
    assert value(read, "requests_total", route="/v1/sql", outcome="answered", status="1xx") == 1
    assert value(read, "request_seconds_count", route="/v1/sql") == 0


def test_a_chats_attempts_tokens_and_cost_are_counted_by_provider_and_tier() -> None:
    usage = FakeUsage(input_tokens=100, output_tokens=20, cached_tokens=64, reasoning_tokens=8, cost_usd=0.5)
    chat = make_context(route="/v1/chat", provider="ollama", model="q", tier="judge", usage=usage)
    failed = chat.record_attempt("kimi", "k2", now=100.0)
    failed.ended, failed.error, failed.status = 100.002, "overloaded", 529
    again = chat.record_attempt("kimi", "k2", now=100.003, why="retry")
    again.ended, again.error = 100.004, "timeout"
    loser = chat.record_attempt("kimi", "k3", now=100.004, why="hedge")
    winner = chat.record_attempt("ollama", "q", now=100.005, why="fallback")
    winner.ended, winner.status = 100.012, 200
    read = series(counted(chat).snapshot())
    assert loser.ended is None
    assert value(read, "attempts_total", provider="kimi", result="overloaded") == 1
    assert value(read, "attempts_total", provider="kimi", result="timeout") == 1
    assert value(read, "attempts_total", provider="kimi", result="cancelled") == 1
    assert value(read, "attempts_total", provider="ollama", result="ok") == 1
    assert value(read, "retries_total", provider="kimi") == 1
    assert value(read, "hedges_total", provider="kimi") == 1
    assert value(read, "fallbacks_total", provider="ollama") == 1
    assert value(read, "attempt_seconds_sum", provider="ollama") == pytest.approx(0.007)
    assert value(read, "tokens_total", provider="ollama", tier="judge", kind="input") == 100
    assert value(read, "tokens_total", provider="ollama", tier="judge", kind="output") == 20
    assert value(read, "cached_tokens_total", provider="ollama", tier="judge") == 64
    assert value(read, "reasoning_tokens_total", provider="ollama", tier="judge") == 8
    assert value(read, "cost_usd_total", provider="ollama", tier="judge") == 0.5


def test_hostile_names_make_no_series_and_take_no_memory() -> None:
    metrics = Metrics(NAMES, GaugeSources())

    def strange(number: int) -> RequestContext:
        name = f"evil-{number}"
        made = make_context(
            route=name, outcome=name, status=900 + number % 99, provider=name, tier=name, usage=FakeUsage()
        )
        made.upstream = made.model = name
        made.record_attempt(name, name, now=100.0).error = name
        return made

    metrics.count_request(strange(0), 100.1)
    before = len(series(metrics.snapshot()))
    for number in range(1, 200):
        metrics.count_request(strange(number), 100.1)
    read = series(metrics.snapshot())
    assert len(read) == before
    assert not any("evil" in label for _, labels in read for _, label in labels)
    assert value(read, "requests_total", route="other", outcome="other", status="none") == 200
    assert len(encode_snapshot(metrics.count_snapshot())) < 10_000
    assert not metrics._cells


def test_how_things_stand_is_asked_at_the_moment_of_the_question() -> None:
    active_requests = ActiveRequests()
    active_requests.add(make_context())
    active_requests.add(make_context(route="evil"))
    sources = GaugeSources(
        active_requests=active_requests,
        pools=lambda: [Pool("queryd", 3, 4, 5, 256), Pool("evil", 1)],
        circuits=lambda: {"kimi": 2, "evil": 1},
        connections=lambda: 17,
        lines_dropped=lambda: 9,
    )
    read = series(counted(sources=sources).snapshot())
    assert value(read, "requests_in_flight", route="/v1/sql") == 1
    assert value(read, "requests_in_flight", route="other") == 1
    assert value(read, "upstream_in_use", upstream="queryd") == 3
    assert value(read, "upstream_idle", upstream="queryd") == 4
    assert value(read, "upstream_waiting", upstream="queryd") == 5
    assert value(read, "upstream_limit", upstream="queryd") == 256
    assert value(read, "circuits_open", provider="kimi") == 2
    assert value(read, "circuits_open", provider="other") == 1
    assert value(read, "connections") == 17
    assert value(read, "log_lines_dropped_total") == 9
    memory, cpu = value(read, "worker_resident_bytes", worker="0"), value(read, "worker_cpu_seconds_total", worker="0")
    assert memory is not None
    assert memory > 10_000_000
    assert cpu is not None
    assert cpu > 0


def test_several_workers_are_added_up() -> None:
    one, two = counted(make_context()), counted(make_context(), make_context(outcome="deadline", status=504))
    read = series(one.snapshot(), two.snapshot())
    assert value(read, "requests_total", route="/v1/sql", outcome="answered", status="2xx") == 2
    assert value(read, "requests_total", route="/v1/sql", outcome="deadline", status="5xx") == 1
    assert value(read, "request_seconds_count", route="/v1/sql") == 3


def test_counts_survive_the_way_from_one_process_to_another() -> None:
    metrics = counted(make_context())
    assert decode_snapshot(encode_snapshot(metrics.snapshot())).keys() == metrics.snapshot().keys()
    successor = Metrics(NAMES, GaugeSources())
    successor.restore(decode_snapshot(encode_snapshot(metrics.count_snapshot())))
    successor.count_request(make_context(), 100.012)
    read = series(successor.snapshot())
    assert value(read, "requests_total", route="/v1/sql", outcome="answered", status="2xx") == 2
    assert value(read, "request_seconds_sum", route="/v1/sql") == pytest.approx(0.024)


def test_rows_of_another_version_are_passed_over() -> None:
    strange = decode_snapshot(
        b'{"gone":[[["x"],[1.0]]],"requests":[[["/v1/sql"],[1.0]]],"request_seconds":[[["/v1/sql"],[1.0]]]}'
    )
    assert value(series(strange), "requests_total", route="/v1/sql") is None
    with pytest.raises(msgspec.DecodeError):
        decode_snapshot(b'{"requests":[[["/v1/sq')


def test_whoever_asks_for_openmetrics_gets_it() -> None:
    snapshot = counted(make_context()).snapshot()
    plain, plain_type = render_exposition([snapshot], "text/plain")
    modern, modern_type = render_exposition([snapshot], "application/openmetrics-text; version=1.0.0")
    assert plain_type.startswith("text/plain")
    assert modern_type.startswith("application/openmetrics-text")
    assert modern.endswith(b"# EOF\n")
    assert not plain.endswith(b"# EOF\n")


def test_every_label_that_is_missing_is_noticed() -> None:
    with pytest.raises(ValueError, match="requests has the labels"):
        MetricStore(METRIC_FAMILIES).cell("requests", "/v1/sql")


def test_two_services_in_one_process_count_apart() -> None:
    one, two = counted(make_context()), counted()
    assert value(series(one.snapshot()), "requests_total", route="/v1/sql", outcome="answered", status="2xx") == 1
    assert value(series(two.snapshot()), "requests_total", route="/v1/sql", outcome="answered", status="2xx") is None


async def test_a_request_that_cannot_be_counted_harms_no_other(nursery: trio.Nursery) -> None:
    caught = CapturedLog()
    telemetry = Telemetry(NAMES, GaugeSources(), log=caught.log)
    await nursery.start(telemetry.run)
    for usage in (None, FakeUsage(input_tokens=10**400), None):
        telemetry.on_end(make_context(usage=usage))
    await trio.sleep(0.2)
    assert len(caught.lines) == 2
    text, _ = await telemetry.render_metrics()
    assert b'route="/v1/sql",status="2xx"} 3.0' in text
