"""Traces: one trace from the client to the providers, no content unless configured, no spans when off."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from lakehouse.asgi.request_scope import REQUEST_KEY
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.request import Request
from lakehouse.chat.model.tool_calls import Function, ToolCall
from lakehouse.config import ObserveTable
from lakehouse.core.context import RequestContext
from lakehouse.core.trace_context import begin_trace
from lakehouse.telemetry.genai_messages import encode_input_messages, encode_output_messages
from lakehouse.telemetry.metrics import GaugeSources, LabelValues
from lakehouse.telemetry.telemetry import Telemetry, open_traces
from tools.kit.telemetry_fixtures import CapturedLog, FakeUsage, make_context

CALLER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID, PARENT_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


def test_the_callers_trace_goes_on() -> None:
    trace = begin_trace(CALLER)
    assert (trace.trace_id, trace.parent_id, trace.sampled) == (TRACE_ID, PARENT_ID, True)
    header = trace.header()
    assert header.startswith(b"00-0af7651916cd43dd8448eb211c80319c-")
    assert header.endswith(b"-01")
    assert header[36:52] not in (b"%016x" % PARENT_ID, b"%016x" % trace.span_id)
    assert trace.header() == header  # one relay is one call


def test_each_attempt_has_an_id_of_its_own_and_keeps_it() -> None:
    traced = make_context()
    assert traced.traceparent() is None
    traced.trace = begin_trace(CALLER)
    first, second = traced.record_attempt("kimi", "k2", now=0.0), traced.record_attempt("ollama", "q", now=1.0)
    assert traced.traceparent(first) != traced.traceparent(second)
    assert traced.traceparent(first) == b"00-0af7651916cd43dd8448eb211c80319c-%016x-01" % first.span_id


def test_a_caller_that_does_not_record_is_followed_in_that() -> None:
    trace = begin_trace(CALLER[:-2] + b"00")
    assert (trace.trace_id, trace.sampled) == (TRACE_ID, False)
    assert trace.header().endswith(b"-00")


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"garbage",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
        b"ff" + CALLER[2:],
        CALLER + b"-more",
        CALLER.upper(),
        CALLER[:-1],
    ],
)
def test_a_header_that_is_not_one_begins_a_new_trace(header: bytes | None) -> None:
    trace = begin_trace(header)
    assert trace.trace_id not in (0, TRACE_ID)
    assert trace.parent_id is None


def test_a_later_version_is_read_as_far_as_we_know_it() -> None:
    assert begin_trace(b"01" + CALLER[2:] + b"-more").trace_id == TRACE_ID


def test_a_part_of_the_new_traces_is_recorded() -> None:
    assert not any(begin_trace(None, ratio=0.0).sampled for _ in range(100))
    assert all(begin_trace(None, ratio=1.0).sampled for _ in range(100))
    assert 300 < sum(begin_trace(None, ratio=0.5).sampled for _ in range(1000)) < 700


def test_off_means_not_imported_and_not_there() -> None:
    program = (
        "import sys, lakehouse.telemetry.telemetry as o; from lakehouse.config import ObserveTable;"
        "assert o.open_traces(ObserveTable()) is None;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


otel = pytest.importorskip(
    "opentelemetry.sdk.trace.export.in_memory_span_exporter", reason="the extra `otel` is not installed"
)


class Recorder:
    """Traces whose spans stay here."""

    def __init__(self, *, content: bool = False, ratio: float = 1.0) -> None:
        from lakehouse.telemetry.traces import Traces

        self.exporter = otel.InMemorySpanExporter()
        self.traces = Traces("", ratio=ratio, content=content, exporter=self.exporter)

    async def spans(self, *ended: RequestContext) -> Sequence[Any]:
        for one in ended:
            assert one.ended is not None
            self.traces.export_spans(one, one.ended)
        await self.traces.close()
        spans: Sequence[Any] = self.exporter.get_finished_spans()
        return spans


def chat(now: float) -> RequestContext:
    usage = FakeUsage(input_tokens=100, output_tokens=20, cached_tokens=64, cost_usd=0.5)
    made = make_context(
        started=now - 3, ended=now, route="/v1/chat", provider="ollama", model="q", tier="judge", usage=usage, finish_reason="stop"
    )  # fmt: skip
    failed = made.record_attempt("kimi", "k2", now=now - 3)
    failed.ended, failed.status, failed.error = now - 2, 529, "overloaded"
    good = made.record_attempt("ollama", "q", now=now - 2, why="fallback")
    good.ended, good.status, good.first_piece = now, 200, now - 1
    return made


async def test_a_chat_is_a_span_with_one_for_each_attempt_below_it() -> None:
    recorder = Recorder()
    ended = chat(trio.current_time())
    recorder.traces.begin(ended, CALLER)
    assert ended.trace is not None
    sent = [ended.traceparent(attempt) for attempt in ended.attempts]
    server, failed, good = await recorder.spans(ended)
    assert {span.context.trace_id for span in (server, failed, good)} == {TRACE_ID}
    assert (server.name, server.kind.name) == ("POST /v1/chat", "SERVER")
    assert (server.parent.span_id, server.parent.is_remote) == (PARENT_ID, True)
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["lakehouse.outcome"] == "answered"
    assert server.attributes["lakehouse.tier"] == "judge"
    assert server.end_time - server.start_time == pytest.approx(3e9, abs=1e6)
    assert server.end_time == pytest.approx(time.time_ns(), abs=5e9)
    for span, header in zip((failed, good), sent, strict=True):
        assert span.parent.span_id == server.context.span_id
        assert header == b"00-%032x-%016x-01" % (TRACE_ID, span.context.span_id)
        assert span.kind.name == "CLIENT"
    assert (failed.name, failed.status.status_code.name) == ("chat k2", "ERROR")
    assert failed.attributes["error.type"] == "overloaded"
    assert failed.attributes["http.response.status_code"] == 529
    assert "gen_ai.usage.input_tokens" not in failed.attributes
    assert dict(good.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": "q",
        "gen_ai.response.model": "q",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": pytest.approx(1.0),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 64,
        "http.response.status_code": 200,
        "lakehouse.attempt.why": "fallback",
        "lakehouse.cost_usd": 0.5,
    }


async def test_a_relayed_request_has_one_span_for_its_upstream() -> None:
    recorder = Recorder()
    now = trio.current_time()
    ended = make_context(started=now - 1, ended=now, method="GET", status=502, error="upstream_error")
    recorder.traces.begin(ended, None)
    header = ended.traceparent()
    server, call = await recorder.spans(ended)
    assert server.parent is None
    assert server.attributes["error.type"] == "upstream_error"
    assert header == b"00-%032x-%016x-01" % (server.context.trace_id, call.context.span_id)
    assert call.parent.span_id == server.context.span_id
    assert call.attributes["lakehouse.upstream"] == "queryd"
    assert call.attributes["error.type"] == "upstream_error"


@pytest.mark.parametrize(
    ("outcome", "status", "error"),
    [("answered", 404, None), ("answered", 503, "503"), ("deadline", 504, "deadline"), ("client left", None, None)],
)
async def test_what_we_failed_is_an_error_and_what_the_caller_did_is_not(
    outcome: str, status: int | None, error: str | None
) -> None:
    recorder = Recorder()
    now = trio.current_time()
    ended = make_context(started=now - 1, ended=now, outcome=outcome, status=status)
    recorder.traces.begin(ended, None)
    (server,) = await recorder.spans(ended)
    assert server.attributes.get("error.type") == error
    assert server.status.status_code.name == ("UNSET" if error is None else "ERROR")


async def test_an_attempt_that_was_given_up_ends_with_its_request() -> None:
    recorder = Recorder()
    now = trio.current_time()
    ended = make_context(started=now - 2, ended=now)
    ended.record_attempt("kimi", "k2", now=now - 1, why="hedge")
    recorder.traces.begin(ended, None)
    server, loser = await recorder.spans(ended)
    assert loser.attributes["error.type"] == "cancelled"
    assert loser.end_time == server.end_time


SECRET = "the patient's name is Ada"


async def ended_with_content(recorder: Recorder) -> RequestContext:
    ended = chat(trio.current_time())
    recorder.traces.begin(ended, CALLER)
    if ended.content is not None:
        ended.content.input = Request(model="q", messages=({"role": "user", "content": SECRET},)).messages
        ended.content.output = {"content": SECRET, "finish_reason": "stop"}
    return ended


async def test_content_is_recorded_only_if_that_is_switched_on() -> None:
    off, on = Recorder(), Recorder(content=True)
    assert (await ended_with_content(off)).content is None
    assert SECRET not in " ".join(span.to_json() for span in await off.spans(await ended_with_content(off)))
    _, failed, good = await on.spans(await ended_with_content(on))
    assert json.loads(good.attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": SECRET}]}
    ]
    assert json.loads(good.attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": SECRET}], "finish_reason": "stop"}
    ]
    assert SECRET not in failed.to_json()


def test_all_that_a_conversation_holds_has_its_part() -> None:
    call = ToolCall(id="c1", function=Function(name="weather", arguments='{"city":"Ulm"}'))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9999}}
    request = Request(
        model="q",
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "what is this"}, image]},
            {"role": "assistant", "reasoning": "hm", "tool_calls": [{"id": "c1", "function": {"name": "weather"}}]},
            {"role": "tool", "content": "rain", "tool_call_id": "c1"},
        ],
    )
    said = encode_input_messages(request.messages)
    assert said is not None
    assert [message["parts"] for message in json.loads(said)] == [
        [{"type": "text", "content": "what is this"}, {"type": "uri", "modality": "image", "uri": "data:"}],
        [
            {"type": "reasoning", "content": "hm"},
            {"type": "tool_call", "id": "c1", "name": "weather", "arguments": "{}"},
        ],
        [{"type": "tool_call_response", "id": "c1", "response": "rain"}],
    ]
    answer = Answer(
        model="q", provider="p", content="", reasoning="", tool_calls=(call,), finish_reason="tool_calls", input_tokens=1,
        output_tokens=1, cached_tokens=None, reasoning_tokens=None, cost_usd=None, latency_ms=1.0, attempts=(),
    )  # fmt: skip
    (message,) = json.loads(encode_output_messages(answer) or "")
    assert message["parts"] == [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": '{"city":"Ulm"}'}]
    assert encode_input_messages(None) is None
    assert encode_output_messages(None) is None


async def test_what_is_not_recorded_makes_no_span() -> None:
    recorder = Recorder(ratio=0.0)
    ended = chat(trio.current_time())
    recorder.traces.begin(ended, None)
    assert await recorder.spans(ended) == ()


async def test_the_telemetry_sends_spans_and_names_the_trace_in_the_log() -> None:
    recorder, caught = Recorder(), CapturedLog()
    telemetry = Telemetry(LabelValues(), GaugeSources(), log=caught.log, traces=recorder.traces)
    ended = chat(trio.current_time())
    recorder.traces.begin(ended, CALLER)
    async with trio.open_nursery() as nursery:
        await nursery.start(telemetry.run)
        telemetry.on_end(ended)
        nursery.cancel_scope.cancel()
    assert len(recorder.exporter.get_finished_spans()) == 3
    assert [line["trace_id"] for line in caught.lines] == [f"{TRACE_ID:032x}"]


async def asgi(traced: Any, ended: RequestContext, headers: list[tuple[bytes, bytes]]) -> None:
    async def nothing(*_: Any) -> None: ...

    scope = {"type": "http", REQUEST_KEY: SimpleNamespace(context=ended), "headers": headers}
    await traced(scope, nothing, nothing)


async def test_the_middleware_reads_the_callers_header_and_passes_everything_on() -> None:
    from lakehouse.runtime.tracing import TracingMiddleware

    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope)

    recorder = Recorder()
    traced = TracingMiddleware(app, recorder.traces)
    one, two = make_context(), make_context()
    await asgi(traced, one, [(b"traceparent", CALLER)])
    await asgi(traced, two, [(b"traceparent", CALLER), (b"traceparent", CALLER)])
    unused: Any = None
    await traced({"type": "lifespan"}, unused, unused)
    assert len(seen) == 3
    assert one.trace is not None
    assert two.trace is not None
    assert (one.trace.trace_id, two.trace.parent_id) == (TRACE_ID, None)


async def test_spans_go_out_over_http_and_a_collector_that_is_gone_costs_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[bytes] = []

    async def collector(stream: trio.SocketStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some(65536)
        received.append(data)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, collector, 0)
        port = listeners[0].socket.getsockname()[1]
        traces = open_traces(ObserveTable(traces_url=f"http://127.0.0.1:{port}/v1/traces"))
        assert traces is not None
        ended = chat(trio.current_time())
        traces.begin(ended, CALLER)
        traces.export_spans(ended, trio.current_time())
        await traces.close()
        nursery.cancel_scope.cancel()
    assert received[0].startswith(b"POST /v1/traces HTTP/1.1\r\n")
    monkeypatch.setattr("lakehouse.telemetry.traces.EXPORT_TIMEOUT", 0.3)
    gone = open_traces(ObserveTable(traces_url=f"http://127.0.0.1:{port}/v1/traces"))
    assert gone is not None
    ended = chat(trio.current_time())
    gone.begin(ended, CALLER)
    gone.export_spans(ended, trio.current_time())
    with trio.fail_after(20):
        await gone.close()
