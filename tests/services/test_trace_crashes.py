"""The original's gates of pathway and observer over HTTP, before and after the processes of the service are killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tools.kit.lake_crashes.service import LakeService, find_descendants, wait_ended

WRITERS = 8
EVENTS = ((True, "mcp"), (True, "scenario"), (True, "mcp"), (False, "scenario"), (False, "mcp"))


# httpx leaves the generator of a request's body to the garbage collector when the connection ends in the middle of it.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
async def test_the_gates_hold_after_kill_9_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    service = LakeService(tmp_path)
    acknowledged: set[str] = set()
    recorded = 0
    try:
        async with open_client(service) as client:
            await pass_observer_gates(client)
            await fail_workflow(client)
            uids = await pass_pathway_gates(client)
            await check_pathway_gates(client, uids, others=0)
            acknowledged, recorded = await write_until_killed(service, client)
        assert acknowledged
        assert recorded
        async with open_client(service) as client:
            stats = await get(client, "observer/stats")
            assert recorded <= stats["total"] - 5 - 2 <= recorded + WRITERS
            assert (stats["failures"], stats["by_source"]["scenario"], stats["by_source"]["workflow"]) == (4, 2, 2)
            found = {trace["uid"] for trace in await list_all(client) if trace["uid"].startswith("load-")}
            assert acknowledged <= found
            assert len(found - acknowledged) <= WRITERS
            await check_pathway_gates(client, uids, others=len(found))
            again = await post(client, "pathway/add_idempotent", {"uid": min(acknowledged), "content": "again"})
            assert (again["content"], again["replay_count"]) == ({"load": True}, 1)
        assert await service.stop() == 0
    finally:
        service.close()


@asynccontextmanager
async def open_client(service: LakeService) -> AsyncIterator[httpx.AsyncClient]:
    """Start the service, with a client of it."""
    await service.start()
    async with httpx.AsyncClient(base_url=service.url, timeout=30, trust_env=False) as client:
        yield client


async def post(client: httpx.AsyncClient, path: str, document: object, status: int = 200) -> Any:
    answer = await client.post(f"/v1/{path}", json=document)
    assert answer.status_code == status, answer.text
    return answer.json()


async def get(client: httpx.AsyncClient, path: str, status: int = 200) -> Any:
    answer = await client.get(f"/v1/{path}")
    assert answer.status_code == status, answer.text
    return answer.json()


async def pass_observer_gates(client: httpx.AsyncClient) -> None:
    """Five events, three of them successes, of two sources; statistics that add up; an event without endpoint."""
    for number, (success, source) in enumerate(EVENTS):
        event = {"endpoint": f"/e/{number}", "success": success, "source": source}
        assert (await post(client, "observer/event", event))["ring_size"] == number + 1
    await post(client, "observer/event", {"success": True}, 400)
    stats = await get(client, "observer/stats")
    assert (stats["total"], stats["successes"], stats["failures"]) == (5, 3, 2)
    assert stats["by_source"] == {"mcp": 3, "scenario": 2}


async def fail_workflow(client: httpx.AsyncClient) -> None:
    """A node that fails, and one that is skipped with the reason; both are recorded."""
    nodes = [
        {"id": "a", "prompt": "x", "inputs": {"model": "none/m"}},
        {"id": "b", "prompt": "$a", "depends_on": ["a"]},
    ]
    run = await post(client, "observer/workflow/run", {"name": "gate", "nodes": nodes})
    assert [node["status"] for node in run["nodes"]] == ["failed", "skipped"]
    assert run["nodes"][1]["error"] == "the node 'a', on which it depends, failed"


async def pass_pathway_gates(client: httpx.AsyncClient) -> list[str]:
    """Health, and each operation once. Returns the chain of versions, the newest first; the middle one is retired."""
    assert (await get(client, "pathway/health"))["service"] == "pathwayd"
    first = await post(client, "pathway/add", {"content": {"tried": "a"}, "tags": ["gate"]})
    assert await get(client, f"pathway/get/{first['uid']}") == first
    for replays in range(2):
        replay = await post(client, "pathway/add_idempotent", {"uid": "mine", "content": replays})
        assert (replay["content"], replay["replay_count"]) == (0, replays)
    assert (await post(client, "pathway/update", {"uid": first["uid"], "content": "b"}))["content"] == "b"
    second = await post(client, "pathway/revise", {"predecessor_uid": first["uid"], "content": "c"})
    third = await post(client, "pathway/revise", {"predecessor_uid": second["uid"], "content": "d"})
    assert await post(client, "pathway/retire", {"uid": second["uid"]}) == {"retired": [second["uid"]]}
    return [third["uid"], second["uid"], first["uid"]]


async def check_pathway_gates(client: httpx.AsyncClient, uids: list[str], *, others: int) -> None:
    """What is there after `pass_pathway_gates`, beside other traces."""
    newest, retired, first = uids
    history = (await get(client, f"pathway/history/{newest}"))["history"]
    assert [(trace["uid"], trace["content"]) for trace in history] == [(newest, "d"), (retired, "c"), (first, "b")]
    assert (await get(client, f"pathway/get/{retired}"))["retired"] is True
    assert (await get(client, "pathway/get/mine"))["replay_count"] == 1
    listed = [trace["uid"] for trace in await list_all(client) if not trace["uid"].startswith("load-")]
    assert listed == [newest, "mine", first]
    assert (await post(client, "pathway/search", {"tag": "gate"}))["traces"][0]["uid"] == first
    stats = await get(client, "pathway/stats")
    assert stats == {"total": 4 + others, "active": 3 + others, "retired": 1}


async def list_all(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The traces that are not retired, the newest first."""
    traces: list[dict[str, Any]] = []
    while True:
        after = traces[-1]["uid"] if traces else ""
        page = (await post(client, "pathway/search", {"limit": 1_000, "after": after}))["traces"]
        if not page:
            return traces
        traces += page


async def write_until_killed(service: LakeService, client: httpx.AsyncClient) -> tuple[set[str], int]:
    """Add traces and record operations on many connections, kill all processes meanwhile. Returns what was answered."""
    acknowledged: set[str] = set()
    recorded = 0
    enough = trio.Event()

    async def write(writer: int) -> None:
        nonlocal recorded
        for number in count():
            try:
                if writer % 2:
                    await post(client, "observer/event", {"endpoint": f"/load/{writer}/{number}", "success": True})
                    recorded += 1
                else:
                    uid = f"load-{writer}-{number}"
                    await post(client, "pathway/add", {"uid": uid, "content": {"load": True}})
                    acknowledged.add(uid)
            except httpx.TransportError:
                return
            if recorded > 40 and len(acknowledged) > 40:
                enough.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for writer in range(WRITERS):
                nursery.start_soon(write, writer)
            await enough.wait()
            below = list(find_descendants(service.pid))
            assert len(below) >= 1
            await service.kill(below, gateway=True)
        assert await wait_ended(below) == []
    return acknowledged, recorded
