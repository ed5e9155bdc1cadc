"""Workers that query each other: every worker reports on all, also after one has died."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from lakehouse.runtime.console.endpoints import ObservabilityEndpoints
from lakehouse.telemetry.metrics import GaugeSources, LabelValues
from lakehouse.telemetry.telemetry import Telemetry
from lakehouse.telemetry.worker_ipc import REPLY_TIMEOUT, make_private_directory
from tools.kit.telemetry_fixtures import CapturedLog, make_context

NAMES = LabelValues(routes={"/v1/sql": "queryd"}, upstreams=("queryd",))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for sockets, wherever pytest keeps `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="ipc-") as folder:
        yield Path(folder)


def test_what_a_killed_process_left_is_removed_by_the_next_one(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(short_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    abandoned, in_use = (short_path / f"lakehouse-{ended.pid}-{name}" for name in ("a", "b"))
    foreign = short_path / "lakehouse-demo-1"
    for directory in (abandoned, in_use, foreign):
        directory.mkdir()
        (directory / "0.counts").touch()
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as live:
        dead.bind(str(abandoned / "services"))
        live.bind(str(in_use / "services"))
        live.listen()
        with make_private_directory() as first, make_private_directory() as second:
            assert sorted(short_path.iterdir()) == sorted([in_use, foreign, first, second])


def make_telemetry(directory: Path | None, worker: int = 0, *in_flight: RequestContext) -> Telemetry:
    active_requests = ActiveRequests()
    for one in in_flight:
        active_requests.add(one)
    return Telemetry(
        NAMES, GaugeSources(active_requests=active_requests), log=CapturedLog().log, directory=directory, worker=worker
    )


@asynccontextmanager
async def running(*observers: Telemetry) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for each in observers:
            await nursery.start(each.run)
        yield
        nursery.cancel_scope.cancel()


async def shown(queried: Telemetry, name: str, **labels: str) -> float | None:
    text, _ = await queried.render_metrics()
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            if sample.name == f"lakehouse_{name}" and labels.items() <= sample.labels.items():
                return sample.value
    return None


@pytest.fixture
def directory() -> Any:
    with make_private_directory() as path:
        yield path


def test_the_directory_is_ours_alone_and_gone_afterwards() -> None:
    with make_private_directory() as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert not path.exists()


def test_a_long_temporary_path_leaves_room_for_a_sockets_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with make_private_directory() as path, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path / "511.sock"))


async def test_whichever_worker_is_asked_gives_the_sum(directory: Path) -> None:
    one, two = make_telemetry(directory, 0), make_telemetry(directory, 1)
    async with running(one, two):
        one.on_end(make_context())
        two.on_end(make_context())
        two.on_end(make_context())
        for queried in (one, two):
            assert await shown(queried, "requests_total", route="/v1/sql") == 3
            assert await shown(queried, "request_seconds_count", route="/v1/sql") == 3
            assert await shown(queried, "workers", answered="yes") == 2
            assert await shown(queried, "route_info", upstream="queryd") == 1


async def test_whichever_worker_is_asked_gives_all_requests_in_flight(directory: Path) -> None:
    now = trio.current_time()
    old, new = make_context(id="old", started=now - 60), make_context(id="new", started=now - 1, deadline=now + 9)
    old.record_attempt("kimi", "k2", now=now - 50).error = "overloaded"
    one, two = make_telemetry(directory, 0, new), make_telemetry(directory, 1, old)
    async with running(one, two):
        for queried in (one, two):
            answer = await queried.list_requests()
            assert (answer.workers, answer.silent) == (2, 0)
            assert [row["id"] for row in answer.requests] == ["old", "new"]
            first: Any
            first, second = answer.requests
            assert (first["worker"], first["attempt_count"], first["time_left"]) == (1, 1, None)
            assert first["age"] == pytest.approx(60, abs=1)
            assert first["attempts"][0] | {"age": 0} == {
                "upstream": "kimi", "model": "k2", "why": "first", "age": 0, "running": True, "status": None, "error": "overloaded",
            }  # fmt: skip
            assert second["time_left"] == pytest.approx(9, abs=1)


async def test_alone_and_without_a_directory_it_answers_for_itself() -> None:
    alone = make_telemetry(None)
    async with running(alone):
        alone.on_end(make_context())
        assert await shown(alone, "requests_total", route="/v1/sql") == 1
        assert await shown(alone, "workers", answered="yes") == 1


async def test_a_crashed_workers_counts_stay_and_its_successor_goes_on_from_them(directory: Path) -> None:
    survivor, crashed = make_telemetry(directory, 0), make_telemetry(directory, 1)
    async with running(survivor):
        async with running(crashed):
            for _ in range(5):
                crashed.on_end(make_context())
            assert await shown(survivor, "requests_total", route="/v1/sql") == 5
            kept = (directory / "1.counts").read_bytes()
            crashed.on_end(make_context())  # nobody has seen this one yet
        (directory / "1.counts").write_bytes(kept)  # as a crash leaves it: what was shown, and a socket
        with socket.socket(socket.AF_UNIX) as orphan:
            orphan.bind(str(directory / "1.sock"))
        assert await shown(survivor, "requests_total", route="/v1/sql") == 5
        assert await shown(survivor, "workers", answered="no") == 1
        successor = make_telemetry(directory, 1)
        assert await shown(survivor, "requests_total", route="/v1/sql") == 5  # between its birth and its first word
        async with running(successor):
            successor.on_end(make_context())
            for queried in (survivor, successor):
                assert await shown(queried, "requests_total", route="/v1/sql") == 6
            assert await shown(survivor, "workers", answered="no") == 0


async def test_a_worker_that_leaves_in_good_order_loses_nothing(directory: Path) -> None:
    stays, leaves = make_telemetry(directory, 0), make_telemetry(directory, 1)
    async with running(stays):
        async with running(leaves):
            leaves.on_end(make_context())
        assert not (directory / "1.sock").exists()
        assert await shown(stays, "requests_total", route="/v1/sql") == 1


async def test_a_stuck_worker_is_waited_for_only_so_long_and_counts_as_last_seen(directory: Path) -> None:
    queried, stuck = make_telemetry(directory, 0), make_telemetry(directory, 1)
    async with running(queried):
        async with running(stuck):
            stuck.on_end(make_context())
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(directory / "1.sock"))
            listener.listen()
            began = trio.current_time()
            assert await shown(queried, "requests_total", route="/v1/sql") == 1
            assert (await queried.list_requests()).silent == 1
            assert trio.current_time() - began < 2 * REPLY_TIMEOUT + 1


async def test_half_an_answer_and_nonsense_are_no_answers(directory: Path) -> None:
    queried = make_telemetry(directory, 0)
    replies = [b"", b"\x00\x00", b"\x00\x00\x00\x09[]", b"\xff\xff\xff\xff"]

    async def reply(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(replies[-1])

    async with trio.open_nursery() as nursery:
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(directory / "1.sock"))
        sock.listen()
        nursery.start_soon(trio.serve_listeners, reply, [trio.SocketListener(sock)])
        while replies:
            answer = await queried.list_requests()
            assert (answer.workers, answer.silent) == (1, 1)
            replies.pop()
        nursery.cancel_scope.cancel()


async def test_a_question_that_is_none_gets_no_answer_and_does_no_harm(directory: Path) -> None:
    queried = make_telemetry(directory, 0)
    async with running(queried):
        for question in (b"", b"\n", b"\xff\xff\n", b"x" * 1000):
            async with await trio.open_unix_socket(str(directory / "0.sock")) as stream:
                await stream.send_all(question)
                await stream.send_eof()
                # BrokenResourceError: it hung up with something of ours unread.
                with trio.fail_after(20), contextlib.suppress(trio.BrokenResourceError):
                    assert await stream.receive_some() == b""
        assert await shown(queried, "workers", answered="yes") == 1


async def test_a_worker_that_cannot_answer_goes_on_and_counts_as_last_seen(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_files() -> int:
        raise OSError(errno.EMFILE, "too many open files")

    queried, short = make_telemetry(directory, 0), make_telemetry(directory, 1)
    async with running(queried, short):
        short.on_end(make_context())
        monkeypatch.setattr(short.metrics, "snapshot", out_of_files)
        for _ in range(2):
            assert await shown(queried, "requests_total", route="/v1/sql") == 1
            assert await shown(queried, "workers", answered="no") == 1
        assert (await queried.list_requests()).silent == 0


def test_a_full_disk_does_not_stop_the_service(directory: Path) -> None:
    queried = make_telemetry(directory / "gone", 0)
    queried.worker_ipc.persist(b"counts")
    assert queried.worker_ipc.load_persisted(0) is None


@pytest.mark.parametrize("left", [b'{"requests":[[["/v1/s', b'{"requests":[[["\xff","a","b"],[1]]]}', b"\0" * 99])
def test_a_file_of_counts_that_cannot_be_read_is_passed_over(directory: Path, left: bytes) -> None:
    (directory / "0.counts").write_bytes(left)
    assert make_telemetry(directory, 0).metrics.count_snapshot()["requests"] == []


async def get(
    views: ObservabilityEndpoints, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await views({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
    start, body = sent
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body["body"]


async def test_the_views_answer_over_asgi() -> None:
    views = ObservabilityEndpoints(make_telemetry(None, 0, make_context(id="here", started=trio.current_time())))
    status, headers, body = await get(views, "/v1/requests")
    assert (status, headers["content-type"]) == (200, "application/json")
    document = json.loads(body)
    assert [row["id"] for row in document["requests"]] == ["here"]
    assert (document["workers"], document["silent"]) == (1, 0)
    status, headers, body = await get(views, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert (status, headers["cache-control"]) == (200, "no-store")
    assert headers["content-type"].startswith("application/openmetrics-text")
