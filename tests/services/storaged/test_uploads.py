"""Uploads that end early, that wait, that meet a full disk, or a reader of the object that they replace."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lakehouse.config import StoragedTable
from lakehouse.core.errors import ErrConflict, ErrUnavailable
from lakehouse.services.storaged.api.upload_slots import MAX_WAIT, MAX_WAITING, UploadSlots
from lakehouse.services.storaged.receiving import BATCH
from tools.kit.storaged_server import Storaged, open_storaged

LARGE = os.urandom(3 * BATCH + 17)


@pytest.fixture
async def storaged(tmp_path: Path) -> AsyncIterator[Storaged]:
    async with open_storaged(tmp_path / "lake") as running:
        yield running


async def until_quiet(storaged: Storaged) -> None:
    """Until no request is under way."""
    with trio.fail_after(20):
        while len(storaged.server.active_requests):
            await trio.sleep(0.005)


async def until_received(storaged: Storaged, size: int) -> None:
    """Until a file of at least this size is being written."""
    with trio.fail_after(20):
        while not any(path.stat().st_size >= size for path in storaged.blobs()):
            await trio.sleep(0.005)


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("sent", [0, 100, 100_000, 2 * BATCH])
async def test_a_cut_upload_leaves_nothing(storaged: Storaged, how: str, sent: int) -> None:
    await storaged.http.put("/storage/put/k", content=b"before")
    async with await storaged.server.connect() as client:
        await client.send(b"PUT /storage/put/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (3 * BATCH))
        await client.send(LARGE[:sent])
        if sent > BATCH:
            await until_received(storaged, BATCH)
        client.leave(how)
    await until_quiet(storaged)
    assert storaged.blobs() == []
    assert (await storaged.http.get("/storage/get/k")).content == b"before"
    assert [context.outcome for context in storaged.server.ended].count("client left") == 1


async def test_an_upload_that_fails_on_its_way_leaves_nothing(storaged: Storaged) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield LARGE
        raise ErrConflict("the source failed")

    async with aclosing(failing()) as body:  # type: ignore[type-var]
        with pytest.raises(ErrConflict):
            await storaged.store.write("k", body)
    assert (storaged.blobs(), await storaged.store.find("k")) == ([], None)


async def test_an_upload_that_is_cancelled_at_any_moment_is_whole_or_without_effect(storaged: Storaged) -> None:
    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 100_000):
            yield LARGE[start : start + 100_000]

    for number in range(40):
        with trio.move_on_after(number * 0.0005):
            async with aclosing(body()) as pieces:  # type: ignore[type-var]
                await storaged.store.write(f"k{number}", pieces)
    page = await storaged.store.list()
    assert all(info.size == len(LARGE) for info in page.objects)
    assert len(storaged.blobs()) == len(page.objects)


async def test_a_reader_keeps_the_object_that_is_replaced(storaged: Storaged) -> None:
    await storaged.http.put("/storage/put/k", content=LARGE)
    async with storaged.store.read("k") as reader:
        read = [await anext(aiter(reader))]
        await storaged.http.put("/storage/put/k", content=b"new")
        await storaged.http.delete("/storage/delete/k")
        assert storaged.blobs() == []
        read += [piece async for piece in reader]
    assert b"".join(read) == LARGE


async def test_readers_and_writers_of_one_key_see_whole_objects(storaged: Storaged) -> None:
    versions = [bytes([number]) * (200_000 + number) for number in range(6)]
    await storaged.store.write("k", one(versions[0]))

    async def write() -> None:
        for version in versions * 3:
            await storaged.store.write("k", one(version))
        reading.cancel()

    async def read() -> None:
        while True:
            async with storaged.store.read("k") as reader:
                data = b"".join([piece async for piece in reader])
            assert data in versions
            assert reader.info.size == len(data)

    with trio.CancelScope() as reading:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for _ in range(3):
                nursery.start_soon(read)
    assert len(storaged.blobs()) == 1


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data


# A full disk.


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Have writes beyond this size of a file fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


async def test_a_full_disk_is_507_and_leaves_nothing(storaged: Storaged) -> None:
    await storaged.http.put("/storage/put/k", content=b"before")
    with file_limit(BATCH):
        answer = await storaged.http.put("/storage/put/k", content=LARGE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "ErrInsufficientStorage")
    assert storaged.blobs() == []
    assert (await storaged.http.get("/storage/get/k")).content == b"before"
    assert (await storaged.http.put("/storage/put/k", content=LARGE)).status_code == 200


async def test_an_object_that_cannot_fit_is_507_before_it_is_sent(tmp_path: Path) -> None:
    async with open_storaged(tmp_path / "lake", StoragedTable(max_put=2**62)) as storaged:
        async with await storaged.server.connect() as client:
            await client.send(b"PUT /storage/put/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % 2**60)
            status, body = await client.response()
    assert (status, b"ErrInsufficientStorage" in body) == (507, True)


async def test_a_full_disk_under_the_index_is_an_error_and_changes_nothing(storaged: Storaged) -> None:
    await storaged.http.put("/storage/put/k", content=b"before")
    with file_limit(4096):
        answer = await storaged.http.put("/storage/put/k", content=bytes(50_000))
        assert answer.status_code in (500, 507)
        assert (await storaged.http.delete("/storage/delete/k")).status_code in (500, 507)
    assert (await storaged.http.get("/storage/get/k")).content == b"before"
    assert (await storaged.http.put("/storage/put/k", content=b"after")).status_code == 200
    assert (await storaged.http.get("/storage/get/k")).content == b"after"


# The queue.


async def test_an_upload_beyond_the_slots_waits_until_another_one_has_ended(tmp_path: Path) -> None:
    async with open_storaged(tmp_path / "lake", StoragedTable(max_puts=2)) as storaged:
        async with await storaged.server.connect() as first, await storaged.server.connect() as second:
            for number, client in enumerate((first, second)):
                await client.send(b"PUT /storage/put/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab" % number)
            async with trio.open_nursery() as nursery:
                answered = trio.Event()

                async def third() -> None:
                    assert (await storaged.http.put("/storage/put/2", content=b"late")).status_code == 201
                    answered.set()

                nursery.start_soon(third)
                with trio.fail_after(20):
                    phases = ["queued", "writing", "writing"]
                    while sorted(context.phase for context in storaged.server.active_requests) != phases:
                        await trio.sleep(0.005)
                gauges = {gauge.family.name: list(gauge.read()) for gauge in storaged.app.gauges()}
                assert gauges["storaged_uploads"] == [((), 2)]
                assert gauges["storaged_uploads_waiting"] == [((), 1)]
                assert not answered.is_set()
                await first.send(b"cd")
                assert (await first.response())[0] == 201
                with trio.fail_after(20):
                    await answered.wait()
            assert (await storaged.http.get("/storage/get/2")).content == b"late"


async def test_an_upload_waits_for_ten_seconds_and_64_at_a_time(autojump_clock: MockClock) -> None:
    slots = UploadSlots(1)
    refused: list[ErrUnavailable] = []

    async def wait() -> None:
        try:
            async with slots.take():
                pass
        except ErrUnavailable as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        async with slots.take():
            for _ in range(MAX_WAITING):
                nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            assert (slots.in_use, slots.waiting) == (1, 64)
            began = trio.current_time()
            await wait()
            assert trio.current_time() == began  # at once: the queue is full
            assert (len(refused), refused[0].status, refused[0].headers()) == (1, 503, [("retry-after", "5")])
            await trio.sleep(MAX_WAIT + 1)
            assert len(refused) == 1 + MAX_WAITING
            nursery.start_soon(wait)
            await trio.sleep(1)
            assert slots.waiting == 1
    assert len(refused) == 1 + MAX_WAITING  # the last one got the slot
    assert (slots.in_use, slots.waiting) == (0, 0)


async def test_a_client_that_leaves_the_queue_frees_its_place(autojump_clock: MockClock) -> None:
    slots = UploadSlots(1)
    async with slots.take():
        with trio.move_on_after(1):
            async with slots.take():
                pass
        assert slots.waiting == 0
    async with slots.take():
        assert slots.in_use == 1
