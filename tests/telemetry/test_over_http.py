"""The running service under faults: log, metrics and traces agree with each other and with what the callers saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

import lakehouse
from lakehouse.core.context import CLIENT_CLOSED_REQUEST
from lakehouse.runtime.service import run_service
from lakehouse.testing.upstreams import (
    ReceivedRequest,
    ScriptedUpstream,
    answer_with,
    never_answer,
    open_upstream,
    respond,
)
from tools.kit.in_process_service import client_of, make_config
from tools.kit.telemetry_fixtures import CapturedLog

SECRET = "the patient's name is Ada"
REPLY = {
    "model": "qwen3:8b",
    "message": {"role": "assistant", "content": f"I know: {SECRET}"},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 11,
    "eval_count": 5,
}


async def sql(request: ReceivedRequest, stream: trio.SocketStream) -> None:
    """An upstream that does what the path says."""
    match request.target.partition("?")[0].rpartition("/")[2]:
        case "ok":
            await stream.send_all(respond({"rows": [1]}))
        case "broken":
            await stream.send_all(respond({"error": "no such table"}, 500))
        case "cut":
            await stream.send_all(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nhalf of it")
            raise trio.BrokenResourceError  # which hangs up
        case "garbage":
            await stream.send_all(b"220 smtp.example ESMTP\r\n")
            raise trio.BrokenResourceError  # which hangs up
        case _:
            await never_answer(request, stream)


async def ollama(request: ReceivedRequest, stream: trio.SocketStream) -> None:
    """A local Ollama that fails for one model."""
    if request.json.get("model") == "broken":
        await stream.send_all(respond({"error": "model runner has stopped"}, 500))
    else:
        await stream.send_all(respond(REPLY))


@dataclass
class Run:
    """The service, its log, its collector, and for each request id what its caller saw: a status, or `cut` or `left`."""

    client: httpx.AsyncClient
    caught: CapturedLog
    saw: dict[str, int | str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, *, leave: float | None = None, **options: Any) -> None:
        name = f"r-{len(self.saw)}"
        headers = {"X-Request-Id": name, **options.pop("headers", {})}
        saw: int | str = "left"
        with trio.move_on_after(leave if leave is not None else 15):
            try:
                saw = (await self.client.request(method, path, headers=headers, **options)).status_code
            except httpx.RemoteProtocolError:
                saw = "cut"
        self.saw[name] = saw

    async def chat(self, model: str = "qwen3:8b") -> None:
        body = {"model": model, "messages": [{"role": "user", "content": SECRET}]}
        await self.ask("POST", "/v1/chat", json=body, headers={"Authorization": f"Bearer {SECRET}"})

    def lines(self) -> dict[str, dict[str, Any]]:
        return {line["request_id"]: line for line in self.caught.lines if line["request_id"] in self.saw}

    async def logged(self) -> None:
        """Every request has its line: a client that left does not see when its request has ended."""
        with trio.fail_after(10):
            while self.lines().keys() != self.saw.keys():
                await trio.sleep(0.01)


@asynccontextmanager
async def faulty(collector: ScriptedUpstream | None = None, **tables: Any) -> AsyncIterator[Run]:
    caught = CapturedLog()
    async with open_upstream(sql) as queryd, open_upstream(ollama) as model:
        config = make_config(
            gateway={"queryd_url": queryd.url, "vectord_url": "http://127.0.0.1:9"},
            chatd={"ollama_url": model.url, "policy": {"retries": 1, "backoff": "1ms", "breaker_failures": 0}},
            models={"judge": ["ollama/broken", "ollama/qwen3:8b"]},
            observe={"log": "json", "traces_url": f"{collector.url}/v1/traces" if collector else "", **tables},
        )
        async with trio.open_nursery() as nursery:
            service = await nursery.start(partial(run_service, config, env={}, log=caught.log))
            async with client_of(service) as client:
                yield Run(client, caught)
            service.stop()


async def all_that_can_happen(run: Run) -> None:
    for _ in range(3):
        await run.ask("GET", "/v1/sql/ok")
    await run.ask("GET", f"/v1/sql/ok?note={SECRET}")
    await run.ask("GET", "/v1/sql/broken")
    await run.ask("GET", "/v1/sql/cut")
    await run.ask("GET", "/v1/sql/garbage")
    await run.ask("GET", "/v1/sql/silent", headers={"X-Request-Timeout-Ms": "80"})
    await run.ask("GET", "/v1/sql/silent", leave=0.1)
    await run.ask("GET", "/v1/vectors/x")  # nobody listens there
    await run.ask("GET", "/nowhere")
    await run.ask("GET", "/healthz")
    await run.chat()
    await run.chat("broken")
    await run.chat("judge")
    await run.ask("POST", "/v1/chat", content=b"no JSON")


def agrees(saw: int | str, line: dict[str, object]) -> bool:
    """Whether a line says what the caller saw."""
    if saw == "left":
        return line["outcome"] == "client left" and line["status"] == CLIENT_CLOSED_REQUEST
    if saw == "cut":
        return line["outcome"] == "failed"
    return line["outcome"] in ("answered", "deadline") and line["status"] == saw


async def test_log_lines_metrics_and_spans_agree_with_what_the_callers_saw() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")
    async with open_upstream(answer_with(respond(b"", content_type="application/x-protobuf"))) as collector:
        async with faulty(collector) as run:
            await all_that_can_happen(run)
            await run.logged()
            metrics = await run.client.get("/metrics")
        lines = run.lines()
        assert Counter(run.saw.values()) == {200: 7, 500: 1, 502: 3, 504: 1, 404: 1, 400: 1, "cut": 1, "left": 1}
        assert {name: saw for name, saw in run.saw.items() if not agrees(saw, lines[name])} == {}

        assert ended(metrics.text) == Counter(
            (line["route"] or "other", line["outcome"], f"{line['status'] // 100}xx") for line in lines.values()
        )
        spans = received(collector)
        requests = {span["lakehouse.request_id"]: span for span in spans if "lakehouse.request_id" in span}
        for name, line in lines.items():
            span = requests[name]
            assert (span.get("http.response.status_code"), span["lakehouse.outcome"]) == (
                line["status"],
                line["outcome"],
            )
        tried = sum(line.get("attempt_count", 0) for line in lines.values() if line["route"] == "/v1/chat")
        assert len([span for span in spans if "gen_ai.provider.name" in span]) == tried == attempts(metrics.text)
        for said in (run.caught.text, metrics.text, *(repr(span) for span in spans)):
            assert SECRET not in said
            assert "patient" not in said


def ended(text: str) -> Counter[tuple[str, str, str]]:
    """The requests that a text of metrics counts, without the question for it."""
    return Counter(
        {
            (sample.labels["route"], sample.labels["outcome"], sample.labels["status"]): int(sample.value)
            for sample in samples(text, "lakehouse_requests_total")
            if sample.labels["route"] != "/metrics"
        }
    )


def attempts(text: str) -> int:
    return sum(int(sample.value) for sample in samples(text, "lakehouse_attempts_total"))


def samples(text: str, name: str) -> list[Any]:
    return [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]


def received(collector: ScriptedUpstream) -> list[dict[str, Any]]:
    """The attributes of every span that came to the collector."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    batches = [ExportTraceServiceRequest.FromString(request.body) for request in collector.requests]
    scopes = [scope for batch in batches for resource in batch.resource_spans for scope in resource.scope_spans]
    return [_attributes(span) for scope in scopes for span in scope.spans]


def _attributes(span: Any) -> dict[str, Any]:
    return {found.key: found.value.string_value or found.value.int_value for found in span.attributes}


async def test_time_that_was_an_upstreams_is_not_our_own() -> None:
    async with faulty() as run:
        await run.ask("GET", "/v1/sql/ok")
        await run.ask("GET", "/v1/sql/silent", headers={"X-Request-Timeout-Ms": "300"})
        await run.ask("GET", "/v1/sql/silent", leave=0.3)
        await run.logged()
    for line in run.lines().values():
        assert line["own_ms"] < 150
        assert line["total_ms"] == pytest.approx(line["upstream_ms"] + line["own_ms"], abs=0.01)
    assert sorted(line["upstream_ms"] > 150 for line in run.lines().values()) == [False, True, True]


async def test_what_runs_is_shown_while_it_runs() -> None:
    async with faulty() as run, trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(run.ask, "GET", "/v1/sql/silent", leave=60, headers={"X-Request-Timeout-Ms": "30000"})
        )
        with trio.fail_after(10):
            while True:
                document = (await run.client.get("/v1/requests")).json()
                waiting = [row for row in document["requests"] if row["phase"] == "waiting"]
                if waiting:
                    break
        (row,) = waiting
        assert (row["route"], row["upstream"], row["method"]) == ("/v1/sql", "queryd", "GET")
        assert 20 < row["time_left"] <= 30
        text = (await run.client.get("/metrics")).text
        busy = {s.labels["upstream"]: s.value for s in samples(text, "lakehouse_upstream_in_use")}
        assert busy["queryd"] == 1
        assert [s.value for s in samples(text, "lakehouse_connections")] == [2.0]
        assert {s.labels["route"]: s.labels["upstream"] for s in samples(text, "lakehouse_route_info")}[
            "/v1/sql"
        ] == "queryd"
        nursery.cancel_scope.cancel()


async def test_a_trace_goes_through_to_upstreams_and_providers() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen: list[dict[str, str]] = []

    async def note(request: ReceivedRequest, stream: trio.SocketStream) -> None:
        seen.append(request.headers)
        await stream.send_all(respond(REPLY))

    async with open_upstream(note) as all_services, open_upstream(answer_with(respond(b""))) as collector:
        config = make_config(
            gateway={"queryd_url": all_services.url},
            chatd={"ollama_url": all_services.url},
            observe={"log": "off", "traces_url": f"{collector.url}/v1/traces"},
        )
        async with trio.open_nursery() as nursery:
            service = await nursery.start(partial(lakehouse.serve, config, env={}))
            async with client_of(service) as client:
                body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
                await client.post("/v1/chat", json=body, headers={"traceparent": caller})
                await client.get("/v1/sql/x", headers={"traceparent": caller})
            service.stop()
    sent = [headers["traceparent"] for headers in seen]
    assert len(sent) == 2
    for header in sent:
        assert header.startswith(caller[:36])
        assert header != caller
    assert len({*sent}) == 2


async def test_without_traces_a_callers_header_reaches_the_gateways_upstream_and_no_provider() -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen: list[dict[str, str]] = []

    async def note(request: ReceivedRequest, stream: trio.SocketStream) -> None:
        seen.append(request.headers)
        await stream.send_all(respond(REPLY))

    async with open_upstream(note) as all_services:
        config = make_config(gateway={"queryd_url": all_services.url}, chatd={"ollama_url": all_services.url})
        async with trio.open_nursery() as nursery:
            service = await nursery.start(partial(lakehouse.serve, config, env={}))
            async with client_of(service) as client:
                body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
                await client.post("/v1/chat", json=body, headers={"traceparent": caller})
                await client.get("/v1/sql/x", headers={"traceparent": caller})
            service.stop()
    chat, relayed = seen
    assert "traceparent" not in chat
    assert relayed["traceparent"] == caller
