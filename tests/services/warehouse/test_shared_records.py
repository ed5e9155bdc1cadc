"""Two services keep traces and operations in one database: what one has answered, the other sees, in one order."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.config import parse_config
from lakehouse.core.errors import ErrConflict, ErrUpstream, LakehouseError
from lakehouse.process.tasks import open_background
from lakehouse.services.host.store_checks import describe_stores
from lakehouse.services.pathwayd import meaning
from lakehouse.services.system_tables import catalog
from tests.services.postgres.signals import stop
from tests.services.warehouse.two_services import Service, Table, open_service
from tools.kit.scaleout import configure_warehouse
from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.scaleout.postgres import Postgres, open_postgres

DEADLINE = 60.0
"""Seconds in which every call must have ended; the machine of the tests is busy."""


@pytest.fixture
def lake(tmp_path: Path, object_storage: ObjectStorage, postgres: Postgres) -> Table:
    return configure_warehouse(tmp_path, object_storage, postgres)


@pytest.fixture
def records(lake: Table) -> dict[str, Table]:
    return make_records(lake)


def make_records(lake: Table) -> dict[str, Table]:
    """The tables of the configuration by which traces and operations are in the database of the catalog."""
    return {"pathwayd": {"store": lake["catalog"]}, "observerd": {"store": lake["catalog"]}}


@asynccontextmanager
async def open_both(folder: Path, lake: Table) -> AsyncIterator[tuple[Service, Service]]:
    """Two services that share traces and operations."""
    records = make_records(lake)
    async with (
        open_service(folder / "one", lake, **records) as one,
        open_service(folder / "other", lake, **records) as other,
    ):
        yield one, other


@pytest.fixture
async def both(tmp_path: Path, lake: Table) -> AsyncIterator[tuple[Service, Service]]:
    async with open_both(tmp_path, lake) as services:
        yield services


Both = tuple[Service, Service]


async def add(service: Service, content: object, **fields: object) -> Any:
    return await service.post("pathwayd", "/pathway/add", {"content": content, **fields})


async def get(service: Service, path: str) -> Any:
    return await service.call("pathwayd", "GET", f"/pathway/{path}")


async def search(service: Service, **fields: object) -> Any:
    return await service.post("pathwayd", "/pathway/search", fields)


async def test_each_sees_the_traces_of_the_other(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meaning, "FOLLOW_TIMEOUT", DEADLINE)
    one, other = both
    first = await add(one, {"tried": "restart the database"}, uid="first", tags=["ops", "a\0b"])
    assert await get(other, "get/first") == first
    second = await other.post("pathwayd", "/pathway/revise", {"uid": "first", "content": "restore the backup"})
    history = (await get(one, f"history/{second['uid']}"))["history"]
    assert [trace["uid"] for trace in history] == [second["uid"], "first"]
    assert [trace["uid"] for trace in (await search(other, tag="a\0b"))["traces"]] == ["first"]
    for service in both:  # each has an index of its own, which follows the traces of both
        found = await search(service, text="database")
        assert (found["traces"][0]["uid"], found["lag"]) == ("first", 0)
    await one.call("storaged", "PUT", "/storage/put/log", b"x")
    await add(other, "seen", uid="seen", sources=[{"object": "log"}])
    await add(one, "derived", uid="derived", sources=[{"trace": "seen"}])
    deleted = await other.call("storaged", "DELETE", "/storage/objects/log")
    assert deleted == {"key": "log", "retired": ["seen", "derived"]}
    assert (await get(one, "get/derived"))["retired"] is True
    for service in both:
        counted = "SELECT count(*), count(*) FILTER (retired) FROM lakehouse.pathway_traces"
        assert await service.sql(counted) == [[4, 2]]


async def test_services_that_share_indexes_share_that_of_the_traces(
    tmp_path: Path, lake: Table, records: dict[str, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meaning, "FOLLOW_TIMEOUT", DEADLINE)
    tables = {**records, "vectord": {"store": lake["catalog"]}}
    async with (
        open_service(tmp_path / "one", lake, **tables) as one,
        open_service(tmp_path / "other", lake, **tables) as other,
    ):
        for number in range(4):
            await add((one, other)[number % 2], f"deploy number {number}", uid=str(number))
        for service in (one, other, one):
            found = await search(service, text="deploy")
            assert (sorted(trace["uid"] for trace in found["traces"]), found["lag"]) == (["0", "1", "2", "3"], 0)
            await service.call("vectord", "DELETE", f"/vectors/index/{meaning.INDEX}")
        listed = await other.call("vectord", "GET", "/vectors/index")
        assert meaning.INDEX not in str(listed)
        await add(other, "deploy once more", uid="4")
        assert len((await search(one, text="deploy"))["traces"]) == 5


async def test_a_document_with_a_key_is_answered_by_the_other_service(
    tmp_path: Path, lake: Table, records: dict[str, Table]
) -> None:
    tables = {**records, "vectord": {"store": lake["catalog"]}}
    key = {"idempotency_key": "k", "content_type": "text/markdown"}
    async with (
        open_service(tmp_path / "one", lake, **tables) as one,
        open_service(tmp_path / "other", lake, **tables) as other,
    ):
        path = "/ingest?name=notes&source=a.md"
        first = await one.call("ingestd", "POST", path, b"# One\n\nA passage.", **key)
        assert await other.call("ingestd", "POST", path, b"# One\n\nA passage.", **key) == first
        with pytest.raises(ErrConflict, match="used for another upload"):
            await other.call("ingestd", "POST", path, b"# Two", **key)


async def test_chains_of_concurrent_versions_are_never_broken(both: Both) -> None:
    rounds = 8
    await add(both[0], "root", uid="root")
    newest: list[str] = []

    async def revise(number: int) -> None:
        uid = "root"
        for step in range(rounds):
            body = {"uid": uid, "content": [number, step]}
            uid = (await both[(number + step) % 2].post("pathwayd", "/pathway/revise", body))["uid"]
            again = {"uid": "counted", "content": number}
            await both[number % 2].post("pathwayd", "/pathway/add_idempotent", again)
        newest.append(uid)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(revise, number)
    for service in both:
        for uid in newest:
            history = (await get(service, f"history/{uid}"))["history"]
            assert [trace["content"] for trace in history[:-1]] == [
                [history[0]["content"][0], step] for step in reversed(range(rounds))
            ]
            assert history[-1]["uid"] == "root"
        assert (await get(service, "get/counted"))["replay_count"] == 4 * rounds - 1
        assert (await get(service, "stats"))["total"] == 4 * rounds + 2


async def test_nothing_is_derived_from_a_trace_that_the_other_retires(both: Both) -> None:
    for number in range(8):
        root, child = f"root-{number}", f"child-{number}"
        await add(both[0], "root", uid=root)

        async def derive(root: str = root, child: str = child) -> None:
            try:
                await add(both[1], "child", uid=child, sources=[{"trace": root}])
            except ErrConflict:
                return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(derive)
            nursery.start_soon(both[0].post, "pathwayd", "/pathway/retire", {"uid": root})
    assert (await search(both[0]))["traces"] == []


async def test_operations_of_both_are_counted_by_both_in_one_order(both: Both) -> None:
    async def record(number: int) -> None:
        for step in range(10):
            event = {"endpoint": f"/{number}/{step}", "source": "scenario", "success": number > 0}
            await both[number % 2].post("observerd", "/observer/event", event)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(record, number)
    one, other = [await service.call("observerd", "GET", "/observer/stats") for service in both]
    assert one == other
    assert (one["total"], one["failures"], len(one["recent_scenario_ops"])) == (40, 10, 10)
    for service in both:
        assert await service.sql("SELECT count(DISTINCT endpoint) FROM lakehouse.observer_ops") == [[40]]


async def test_a_database_that_ends_and_comes_back(both: Both, lake: Table, postgres: Postgres) -> None:
    url = str(lake["catalog"])
    database = url.rpartition("/")[2]
    await write_both(both[0])
    postgres.run(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false")
    postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    for service in both:
        for call in (write_both(service), get(service, "stats"), service.call("observerd", "GET", "/observer/stats")):
            with trio.fail_after(DEADLINE), pytest.raises(LakehouseError) as caught:
                await call
            assert caught.value.status in (502, 503)
            assert database in caught.value.message
            assert url.partition("@")[0].rpartition(":")[2] not in caught.value.message  # the password
    postgres.run(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true")
    for service in both:
        await write_both(service)
        assert (await service.call("observerd", "GET", "/observer/stats"))["total"] >= 2
    assert (await get(both[1], "stats"))["total"] == 3


async def write_both(service: Service) -> None:
    """Add a trace and record an operation."""
    await add(service, "x")
    await service.post("observerd", "/observer/event", {"endpoint": "/x"})


async def test_transactions_that_end_in_the_middle_lose_nothing_that_was_answered(
    both: Both, lake: Table, postgres: Postgres
) -> None:
    database = str(lake["catalog"]).rpartition("/")[2]
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
    acknowledged: set[str] = set()
    recorded = 0

    async def write(number: int) -> None:
        nonlocal recorded
        for step in range(12):
            uid = f"{number}-{step}"
            try:
                await add(both[number % 2], step, uid=uid, tags=["load"])
                acknowledged.add(uid)
                await both[number % 2].post("observerd", "/observer/event", {"endpoint": uid})
                recorded += 1
            except LakehouseError as error:
                assert error.status in (502, 503)  # noqa: PT017 - which of them fail is a matter of time

    async def end_transactions() -> None:
        while True:
            await trio.to_thread.run_sync(postgres.run, end)
            await trio.sleep(0.02)

    async with open_background() as background:
        background.start_soon(end_transactions)
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(write, number)
    for service in both:
        found = {trace["uid"] for trace in (await search(service, tag="load"))["traces"]}
        assert acknowledged <= found
        assert (await get(service, "stats"))["total"] == len(found)
        assert recorded <= (await service.call("observerd", "GET", "/observer/stats"))["total"] <= len(found)


async def test_a_database_that_stands_still_keeps_no_caller(tmp_path: Path, object_storage: ObjectStorage) -> None:
    with open_postgres(tmp_path / "postgres") as own:  # other tests would wait as well
        async with open_both(tmp_path, configure_warehouse(tmp_path, object_storage, own)) as both:
            await write_both(both[0])
            stop(own, signal.SIGSTOP)
            try:
                with trio.move_on_after(2) as scope:
                    await write_both(both[0])
                assert scope.cancelled_caught  # a caller that has a deadline of its own does not wait for the service's
            finally:
                stop(own, signal.SIGCONT)
            with trio.fail_after(DEADLINE):
                await write_both(both[1])
                total = (await get(both[0], "stats"))["total"]
                assert total in (2, 3)  # the transaction of the caller that left is there or not


async def test_the_traces_of_another_warehouse_are_not_touched(
    tmp_path: Path, both: Both, lake: Table, records: dict[str, Table]
) -> None:
    one, _ = both
    await one.call("storaged", "PUT", "/storage/put/log", b"x")
    await add(one, "seen", uid="seen", sources=[{"object": "log"}])
    async with open_service(
        tmp_path / "stranger", {**lake, "warehouse": f"{lake['warehouse']}/other"}, **records
    ) as stranger:
        with pytest.raises(ErrUpstream, match=r"belong to the warehouse s3://.*, and lake\.warehouse is s3://.*/other"):
            await get(stranger, "get/seen")
    assert (await get(one, "get/seen"))["retired"] is False


async def test_the_check_says_what_answers(lake: Table, records: dict[str, Table], postgres: Postgres) -> None:
    config = parse_config({"lake": lake, **records}).config
    found = await describe_stores(config, {})
    assert list(found) == ["traces", "operations"]
    for text in found.values():
        assert re.search(r": PostgreSQL [0-9.]+\b.*, fits$", text)
    refused = await describe_stores(config, {"PGPASSWORD": "another-word"})
    assert "refuses user or password (PGPASSWORD in lake.key_file or the environment)" in refused["traces"]
    assert {word in str(refused) for word in ("another-word", postgres.password)} == {False}


async def test_a_folder_whose_records_move_forgets_what_it_has_of_the_former(
    tmp_path: Path, lake: Table, records: dict[str, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meaning, "FOLLOW_TIMEOUT", DEADLINE)
    monkeypatch.setattr(catalog, "MAX_UNSEALED", 0)  # each query writes a segment
    traces, operations = "SELECT uid FROM lakehouse.pathway_traces", "SELECT endpoint FROM lakehouse.observer_ops"
    for stores, name in (({}, "folder"), (records, "shared"), (records, "more"), ({}, "again")):
        async with open_service(tmp_path / "one", lake, **stores) as service:
            await add(service, "deploy the service", uid=name)
            await service.post("observerd", "/observer/event", {"endpoint": name})
            expected = {
                "folder": ["folder"],
                "shared": ["shared"],
                "more": ["more", "shared"],
                "again": ["again", "folder"],
            }
            for sql in (traces, operations):
                assert await service.sql(f"{sql} ORDER BY 1") == [[each] for each in expected[name]]
            found = await search(service, text="deploy")
            assert sorted(trace["uid"] for trace in found["traces"]) == expected[name]
