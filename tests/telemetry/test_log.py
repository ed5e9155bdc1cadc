"""The log: the fields of a line, what no line contains, and that a slow reader delays no request."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import pytest
import trio
import trio.lowlevel
import trio.testing

from lakehouse.core.context import Content, RequestContext
from lakehouse.telemetry.access_log import Clock
from lakehouse.telemetry.log import Log, redirect_stdlib
from lakehouse.telemetry.log_sink import LAST_FLUSH_TIMEOUT, MAX_LINES, LogSink, split_chunks
from tools.kit.telemetry_fixtures import CapturedLog, FakeUsage, make_context


def logged(**facts: Any) -> dict[str, Any]:
    caught = CapturedLog()
    ended = make_context(**facts)
    assert ended.ended is not None
    caught.log.write_request(ended, ended.ended)
    (line,) = caught.lines
    return line


def test_a_line_has_principal_route_outcome_and_durations() -> None:
    line = logged()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "r-1",
        "method": "POST",
        "route": "/v1/sql",
        "status": 200,
        "outcome": "answered",
        "total_ms": 12.0,
        "upstream_ms": 10.0,
        "own_ms": 2.0,
        "first_piece_ms": 11.0,
        "upstream": "queryd",
    }


def test_a_line_of_a_chat_says_which_model_answered_and_what_it_cost() -> None:
    usage = FakeUsage(input_tokens=100, output_tokens=20, cost_usd=0.0125)
    chat = make_context(route="/v1/chat", provider="ollama", model="qwen3:8b", tier="local_hot", usage=usage)
    chat.record_attempt("kimi", "k2", now=100.0)
    chat.record_attempt("ollama", "qwen3:8b", now=100.005, why="fallback")
    caught = CapturedLog()
    caught.log.write_request(chat, 100.012)
    (line,) = caught.lines
    said = {name: line[name] for name in ("provider", "model", "tier", "attempt_count")}
    assert said == {"provider": "ollama", "model": "qwen3:8b", "tier": "local_hot", "attempt_count": 2}
    assert (line["input_tokens"], line["output_tokens"], line["cost_usd"]) == (100, 20, 0.0125)


@pytest.mark.parametrize(
    ("outcome", "sent", "status", "level"),
    [
        ("answered", 200, 200, "info"),
        ("answered", 404, 404, "info"),
        ("answered", 502, 502, "warning"),
        ("client left", None, 499, "info"),
        ("client left", 200, 499, "info"),
        ("deadline", 504, 504, "warning"),
        ("drain", 503, 503, "info"),
        ("failed", 200, 200, "warning"),
        ("cancelled", None, None, "info"),
    ],
)
def test_the_status_and_the_level_follow_from_what_ended_it(
    outcome: str, sent: int | None, status: int | None, level: str
) -> None:
    line = logged(outcome=outcome, status=sent)
    assert (line["outcome"], line["status"], line["level"]) == (outcome, status, level)


def test_successful_monitoring_requests_are_logged_at_debug() -> None:
    assert logged(route="/metrics")["level"] == "debug"
    assert logged(route="/healthz")["level"] == "debug"
    assert logged(route="/metrics", status=401)["level"] == "info"
    assert logged(route="/readyz", status=503)["level"] == "warning"


def test_no_content_and_no_secret_is_in_any_line() -> None:
    secret, content = "sk-0123456789", "the patient's name is Ada"
    context: RequestContext = make_context(
        path=f"/v1/storage/{secret}?token={secret}",
        content=Content(input={"authorization": f"Bearer {secret}", "prompt": content}, output=content),
    )
    for form in ("json", "console"):
        caught = CapturedLog(form)
        caught.log.write_request(context, 100.012)
        assert context.id in caught.text
        assert secret not in caught.text
        assert content not in caught.text
        assert "patient" not in caught.text


def test_an_exceptions_local_variables_stay_out_of_both_forms() -> None:
    def fail(key: str) -> None:
        raise RuntimeError(f"a key of {len(key)} letters")

    for form in ("json", "console"):
        caught = CapturedLog(form)
        with redirect_stdlib(caught.log):
            try:
                fail("sk-" + "0123456789")
            except RuntimeError:
                logging.getLogger("lakehouse.test").exception("it failed")
        assert "a key of 13 letters" in caught.text
        assert "sk-0123456789" not in caught.text


def test_a_hostile_model_name_is_one_short_harmless_line() -> None:
    name = "\x1b[2J\nGET /forged 200\r" + "x" * 1000
    for form in ("json", "console"):
        caught = CapturedLog(form)
        caught.log.write_request(make_context(model=name), 100.012)
        assert len(caught.text.splitlines()) == 1
        assert "\x1b" not in caught.text
        assert len(caught.text) < 600
    assert len(logged(model=name)["model"]) < 140


def test_the_console_form_is_for_people_and_the_rest_is_json() -> None:
    console = CapturedLog("console")
    console.log.write_request(make_context(), 100.012)
    assert "POST /v1/sql 200" in console.text
    assert "outcome=answered" in console.text
    assert CapturedLog("auto").log.log_format == "json"  # no terminal
    off = CapturedLog("off")
    off.log.write_request(make_context(), 100.012)
    assert off.text == ""


def test_the_clock_formats_milliseconds_in_utc() -> None:
    clock = Clock()
    assert clock(0.0) == "1970-01-01T00:00:00.000Z"
    assert clock(1.9996) == "1970-01-01T00:00:01.999Z"
    assert clock(1735689600.25) == "2025-01-01T00:00:00.250Z"


@pytest.fixture
def loggers() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    assert (root.handlers, root.level) == (before[0], before[1])


@pytest.mark.usefixtures("loggers")
def test_redirected_loggers_have_the_same_format() -> None:
    caught = CapturedLog()
    with redirect_stdlib(caught.log):
        logging.getLogger("lakehouse.workers").info("worker %d is up", 3)
        logging.getLogger("hypercorn.error").info("chatter")
        logging.getLogger("quart.app").error("Exception on request")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("an odd thing", stacklevel=1)
    logging.getLogger("lakehouse.workers").warning("after")
    lines = caught.lines
    assert [(line["logger"], line["level"]) for line in lines] == [
        ("lakehouse.workers", "info"),
        ("quart.app", "error"),
        ("py.warnings", "warning"),
    ]
    assert lines[0]["event"] == "worker 3 is up"
    assert all(line["time"] for line in lines)


def test_writes_are_whole_lines_of_at_most_a_pipes_atom() -> None:
    lines = [b"x" * size for size in (1000, 2000, 1093, 1, 5000, 10)]
    made = list(split_chunks(lines))
    assert b"\n".join(chunk for chunk, _ in made) == b"\n".join(lines)
    assert [count for _, count in made] == [3, 1, 1, 1]
    assert all(len(chunk) + 1 <= 4096 for chunk, count in made if count > 1)


class Gathered:
    """A writer that remembers each write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def msg(self, message: bytes) -> None:
        self.writes.append(message)


def report(count: int) -> bytes:
    return b"dropped %d" % count


async def test_lines_of_the_same_moment_leave_in_one_write() -> None:
    writer = Gathered()
    sink = LogSink(writer, report=report)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(5):
            sink.write(b"%d" % number)
        assert writer.writes == []
        with trio.fail_after(20):
            while not writer.writes:
                await trio.sleep(0.01)
        assert writer.writes == [b"0\n1\n2\n3\n4"]
        nursery.cancel_scope.cancel()


async def test_buffered_lines_are_written_at_the_end() -> None:
    writer = Gathered()
    sink = LogSink(writer, report=report)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        await trio.testing.wait_all_tasks_blocked()
        sink.write(b"last words")
        nursery.cancel_scope.cancel()
    assert writer.writes == [b"last words"]
    sink.write(b"after")
    assert writer.writes[1:] == [b"after"]


class Slow(Gathered):
    """A writer that takes its time."""

    def msg(self, message: bytes) -> None:
        time.sleep(0.1)
        super().msg(message)


@pytest.mark.parametrize("writer", [Gathered(), Slow()], ids=["fast", "slow"])
@pytest.mark.parametrize("moment", range(12))
async def test_a_write_that_the_end_interrupts_is_not_lost(writer: Gathered, moment: int) -> None:
    """Cancelled at each checkpoint from the last one before the flush to those within it."""
    writer.writes.clear()
    sink = LogSink(writer, report=report)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        await trio.testing.wait_all_tasks_blocked()
        sink.write(b"first")
        sink.write(b"last")
        with trio.fail_after(20):
            while sink._lines:  # the flush has taken them
                await trio.lowlevel.checkpoint()
        for _ in range(moment):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert writer.writes == [b"first\nlast"]


async def test_lines_that_no_thread_has_begun_to_write_stay_in_the_buffer() -> None:
    writer = Gathered()
    sink = LogSink(writer, report=report)
    with trio.CancelScope() as scope:
        scope.cancel()
        await sink._flush([b"first", b"last"])
    assert scope.cancelled_caught
    assert list(sink._lines) == [b"first", b"last"]
    assert writer.writes == []


async def test_a_line_from_another_thread_needs_no_request_to_be_written() -> None:
    writer = Gathered()
    sink = LogSink(writer, report=report)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        await trio.testing.wait_all_tasks_blocked()
        thread = threading.Thread(target=sink.write_from_thread, args=(b"from afar",))
        thread.start()
        with trio.fail_after(20):
            while not writer.writes:
                await trio.sleep(0.01)
        thread.join()
        nursery.cancel_scope.cancel()
    assert writer.writes == [b"from afar"]


@contextmanager
def pipe() -> Iterator[tuple[io.FileIO, TextIO]]:
    read_end, write_end = os.pipe()
    with io.FileIO(read_end) as reader, io.TextIOWrapper(io.FileIO(write_end, "w")) as stream:
        yield reader, stream


async def test_a_stopped_reader_blocks_no_request_and_dropped_lines_are_reported() -> None:
    with pipe() as (reader, stream):
        log = Log("json", stream=stream)
        line = b"x" * 1023
        async with trio.open_nursery() as nursery:
            nursery.start_soon(log.sink.run)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(200):  # more than a pipe holds: the writing thread is stuck from here on
                log.sink.write(line)
            await trio.sleep(0.2)
            for _ in range(MAX_LINES + 7):
                log.sink.write(line)
            assert log.sink.dropped == 7
            received = b""
            with trio.fail_after(20):
                while b"7 log lines were dropped" not in received:
                    received += await trio.to_thread.run_sync(reader.read, 1 << 20)
                    received = received[-2000:] if b"dropped" not in received else received
            nursery.cancel_scope.cancel()


async def test_where_no_thread_can_be_started_lines_are_lost_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_thread(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    caught = CapturedLog()
    sink = caught.log.sink
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        await trio.testing.wait_all_tasks_blocked()
        with monkeypatch.context() as shortage:
            shortage.setattr("trio.to_thread.run_sync", no_thread)
            sink.write(b"lost")
            with trio.fail_after(20):
                while not sink.dropped:
                    await trio.sleep(0.01)
        sink.write(b'{"event": "kept"}')
        with trio.fail_after(20):
            while not caught.text:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert [line["event"][:21] for line in caught.lines] == ["kept", "1 log lines were drop"]


async def test_the_end_waits_for_a_stuck_reader_only_so_long() -> None:
    with pipe() as (reader, stream):
        log = Log("json", stream=stream)
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(log.sink.run)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(200):
                log.sink.write(b"x" * 1023)
            await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
        assert trio.current_time() - started < LAST_FLUSH_TIMEOUT + 2
        for _ in range(20):  # let the thread that was left behind go
            await trio.to_thread.run_sync(reader.read, 1 << 16)
            if log.sink._writing.acquire(blocking=False):
                break


def test_a_closed_reader_raises_no_error() -> None:
    with pipe() as (reader, stream):
        log = Log("json", stream=stream)
        reader.close()
        log.write_request(make_context(), 100.012)
        assert log.sink.dropped == 1
