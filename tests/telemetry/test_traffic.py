"""The rows of the system tables on their way from a worker to the services process."""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
from array import array
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import SCM_RIGHTS, SOL_SOCKET
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
import trio

from lakehouse.telemetry import traffic
from lakehouse.telemetry.metrics import GaugeSources, LabelValues
from lakehouse.telemetry.telemetry import Telemetry
from lakehouse.telemetry.traffic import FLUSH_INTERVAL, TrafficRecorder
from lakehouse.telemetry.traffic_ipc import MAX_HEAD, Batch, serve_batches
from tools.kit.telemetry_fixtures import CapturedLog, FakeUsage, make_context


@dataclass
class Store:
    """What the services process has stored. `answers` are what `append` returns first: True, False, or a kill."""

    batches: list[Batch] = field(default_factory=list)
    answers: list[bool | None] = field(default_factory=list)
    listening: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def append(self, batch: Batch) -> bool:
        answer = self.answers.pop(0) if self.answers else True
        if answer is not False:
            self.batches.append(batch)
        if answer is None:
            self.listening.cancel()
            await trio.sleep_forever()
        return answer is True

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table, those of a repeated batch once."""
        found = {(batch.sender, batch.number): batch for batch in self.batches}
        lines = [
            line
            for batch in found.values()
            if table in batch.tables
            for line in bytes(batch.tables[table].lines).splitlines()
        ]
        assert len(lines) == sum(batch.tables[table].count for batch in found.values() if table in batch.tables)
        return [json.loads(line) for line in lines]


@asynccontextmanager
async def serving(store: Store, path: Path) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        store.listening = nursery.cancel_scope
        await nursery.start(serve_batches, path, store.append)
        yield
        nursery.cancel_scope.cancel()


async def test_rows_are_the_lines_of_the_log_and_the_attempts(tmp_path: Path) -> None:
    captured, store, socket = CapturedLog(), Store(), tmp_path / "socket"
    recorder = TrafficRecorder(socket, contents=True)
    telemetry = Telemetry(LabelValues(), GaugeSources(), log=captured.log, traffic=recorder)
    chat = make_context(id="r-2", route="/v1/chat", usage=FakeUsage(input_tokens=7, cached_tokens=3), model="x\n" * 200)
    first = chat.record_attempt("kimi", "k2", now=100.001)
    first.ended, first.status, first.error = 100.003, 529, "overloaded"
    chat.record_attempt("ollama", "y\n" * 200, now=100.004, why="fallback")
    chat.keep_content()
    chat.record_content([{"role": "user", "content": "Hello?"}], {"content": "Hello."})
    for context in (make_context(), chat):
        telemetry.on_end(context)
    async with serving(store, socket):
        assert await recorder.flush()
        requests = store.rows("requests")
        recorded = requests[1].pop("attempts")
        assert requests == captured.lines
        assert recorded["began"] == chat.started
        failed, other = recorded["records"]
        assert failed == {
            "upstream": "kimi",
            "model": "k2",
            "started": 100.001,
            "ended": 100.003,
            "status": 529,
            "error": "overloaded",
        }
        shown = other.pop("model")
        assert other == {"upstream": "ollama", "started": 100.004, "why": "fallback"}
        assert shown.startswith(r"y\ny\n")
        assert shown.isprintable()
        assert len(shown) < 200
        assert len(chat.attempts[1].model) == 400  # the record itself is left as it is
        [content] = store.rows("contents")
        assert (content["request_id"], json.loads(content["answer"])[0]["parts"][0]["content"]) == ("r-2", "Hello.")
        assert "Hello?" in content["messages"]
    assert await recorder.flush()  # nothing is left
    await recorder.close()


@pytest.mark.parametrize("form", ["off", "console"])
async def test_the_form_of_the_log_does_not_matter(tmp_path: Path, form: Any) -> None:
    store, socket = Store(), tmp_path / "socket"
    recorder = TrafficRecorder(socket)
    telemetry = Telemetry(LabelValues(), GaugeSources(), log=CapturedLog(form).log, traffic=recorder)
    async with serving(store, socket), trio.open_nursery() as nursery:
        await nursery.start(telemetry.run)
        telemetry.on_end(make_context())
        nursery.cancel_scope.cancel()  # the end of a worker sends its last rows
    assert [row["request_id"] for row in store.rows("requests")] == ["r-1"]


@pytest.mark.parametrize(
    "answers",
    [[False], [False, False, True], [None], [None, False, None]],
    ids=["a full disk", "a full disk for long", "a kill before the acknowledgement", "kills and a full disk"],
)
async def test_a_batch_is_sent_again_until_it_is_acknowledged(tmp_path: Path, answers: list[bool | None]) -> None:
    store, socket = Store(answers=answers), tmp_path / "socket"
    recorder = TrafficRecorder(socket)
    for number in range(3):
        recorder.add([make_context()], [b'{"n":%d}' % number], epoch=0.0)
    failures, expected = 0, sum(answer is not True for answer in answers)
    with trio.fail_after(20):
        while True:
            async with serving(store, socket):
                if await recorder.flush():
                    break
            failures += 1
            recorder.add([make_context()], [b'{"n":%d}' % (2 + failures)], epoch=0.0)
    assert failures == expected
    assert [row["n"] for row in store.rows("requests")] == list(range(3 + failures))
    await recorder.close()
    numbers = [batch.number for batch in store.batches]
    assert numbers == sorted(numbers)
    assert set(numbers) == {1, 2}


async def test_rows_that_find_no_place_are_counted_in_a_metric_and_in_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "MAX_ROWS", 4)
    store, socket = Store(), tmp_path / "socket"
    recorder = TrafficRecorder(socket, worker=3)
    telemetry = Telemetry(LabelValues(), GaugeSources(), log=CapturedLog().log, traffic=recorder)
    for number in range(10):
        telemetry.on_end(make_context(id=f"r{number}"))
    assert not await recorder.flush()  # no process; four rows are taken out of the buffer for the next time
    for number in range(10, 20):
        telemetry.on_end(make_context(id=f"r{number}"))
    async with serving(store, socket):
        assert await recorder.flush()
    await recorder.close()
    assert [row["request_id"] for row in store.rows("requests")] == [
        f"r{number}" for number in (6, 7, 8, 9, 16, 17, 18, 19)
    ]
    assert [(row["worker"], row["rows"]) for row in store.rows("dropped_rows")] == [(3, 6), (3, 6)]
    text, _ = await telemetry.render_metrics()
    assert b"lakehouse_table_rows_dropped_total 12.0" in text


async def test_the_bytes_in_the_buffer_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MAX_BYTES", 1000)
    recorder = TrafficRecorder(tmp_path / "socket")
    for _ in range(20):
        recorder.add([make_context()], [b"x" * 300], epoch=0.0)
    assert recorder.dropped == 17
    recorder.add([make_context()], [b"x" * 5000], epoch=0.0)  # the newest row always has a place
    assert recorder.dropped == 20


async def test_a_worker_tries_once_a_second(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    recorder = TrafficRecorder(tmp_path / "socket")

    async def refuse(_: Batch) -> bool:
        nonlocal tries
        tries += 1
        return False

    monkeypatch.setattr(recorder._sender, "send", refuse)
    recorder.add([make_context()], [b"{}"], epoch=0.0)
    with trio.move_on_after(10.5 * FLUSH_INTERVAL):
        await recorder.run()
    assert tries == 10


def encode_head(lines: int) -> bytes:
    """The head of a batch with one row, whose lines have so many bytes."""
    head = msgspec.msgpack.encode(["a worker", 1, {"requests": [1, 0.0, 0.0, lines]}])
    return len(head).to_bytes(4, "big") + head


@pytest.mark.parametrize(
    ("sent", "files"),
    [
        ((MAX_HEAD + 1).to_bytes(4, "big") + b"x", [b"{}\n"]),
        (b"\x00\x00\x00\x05nosuc", [b"{}\n"]),
        (b"\x00\x00\x01\x00half", [b"{}\n"]),
        (b"\x00\x00", [b"{}\n"]),
        (encode_head(3), []),
        (encode_head(3), [b"{}\n", b"{}\n"]),
        (encode_head(3), [b"{}"]),
        (encode_head(0), [b""]),
    ],
    ids=["too long", "no batch", "half a batch", "half a length", "no file", "two files", "other lines", "no lines"],
)
async def test_what_is_no_batch_ends_its_connection_only(tmp_path: Path, sent: bytes, files: list[bytes]) -> None:
    store, socket = Store(), tmp_path / "socket"
    recorder = TrafficRecorder(socket)
    recorder.add([make_context()], [b"{}"], epoch=0.0)
    async with serving(store, socket):
        async with await trio.open_unix_socket(str(socket)) as stream:
            await send_with_files(stream, sent, files)
            await stream.send_eof()
            with trio.fail_after(20), suppress(trio.BrokenResourceError):  # a reset, if not all was read
                assert await stream.receive_some() == b""
        assert await recorder.flush()
    await recorder.close()
    assert len(store.batches) == 1


async def send_with_files(stream: trio.SocketStream, sent: bytes, contents: list[bytes]) -> None:
    """Send bytes, and with them the descriptors of files."""
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in contents]
        for file, content in zip(files, contents, strict=True):
            file.write(content)
            file.flush()
        descriptors = array("i", [file.fileno() for file in files])
        ancillary = [(SOL_SOCKET, SCM_RIGHTS, descriptors)] if files else []
        assert await stream.socket.sendmsg([sent], ancillary) == len(sent)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_no_file_stays_open_after_batches(tmp_path: Path) -> None:
    store, socket = Store(answers=[True, False, True, True]), tmp_path / "socket"
    recorder = TrafficRecorder(socket)
    gc.collect()  # what is left of other tests
    before = count_files_of_rows()
    async with serving(store, socket):
        for number in range(4):
            recorder.add([make_context()], [b'{"n":%d}' % number], epoch=0.0)
            await recorder.flush()
            store.rows("requests")
            store.batches.clear()  # their lines are the memory of the files
            assert count_files_of_rows() <= before
    await recorder.close()


def count_files_of_rows() -> int:
    """How many descriptors, or parts of the memory, of this process are files of rows."""
    found = Path("/proc/self/maps").read_text().count("lakehouse-rows")
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the iteration
            found += "lakehouse-rows" in str(path.readlink())
    return found


@pytest.mark.parametrize("permitted", [True, False], ids=["in memory", "on the disk"])
async def test_a_batch_of_megabytes_arrives_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, permitted: bool
) -> None:
    if not permitted:
        monkeypatch.setattr(os, "memfd_create", Mock(side_effect=PermissionError))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store, socket = Store(), tmp_path / "socket"
    recorder = TrafficRecorder(socket)
    lines = [b'{"n":%d,"text":"%s"}' % (number, b"x" * 2_500_000) for number in range(3)]
    async with serving(store, socket):
        for line in lines:
            recorder.add([make_context()], [line], epoch=0.0)
        assert await recorder.flush()
        assert [row["n"] for row in store.rows("requests")] == [0, 1, 2]
        assert sum(len(batch.tables["requests"].lines) for batch in store.batches) == sum(map(len, lines)) + 3
    assert list(tmp_path.iterdir()) == []
    await recorder.close()
