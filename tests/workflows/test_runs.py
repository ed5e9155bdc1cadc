"""Runs over HTTP: the service with a scripted provider, and the real services of a lake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.testing.upstreams import UpstreamScript, never_answer
from lakehouse.workflows import runner
from tools.kit.service_with_providers import (
    ServiceWithProviders,
    answer_in_turn,
    ollama,
    open_service_with_providers,
)

RUN, MODES, STATS = "/v1/observer/workflow/run", "/v1/observer/workflow/modes", "/v1/observer/stats"
CHAT: dict[str, Any] = {"model": "m"}


@asynccontextmanager
async def open_up(folder: Path, script: UpstreamScript) -> AsyncIterator[ServiceWithProviders]:
    lake = {"path": str(folder / "lake")}
    async with open_service_with_providers(scripts={"ollama": script}, lake=lake) as service:
        yield service


async def run(up: ServiceWithProviders, nodes: list[dict[str, Any]], status: int = 200) -> Any:
    response = await up.client.post(RUN, json={"name": "w", "nodes": nodes})
    assert response.status_code == status, response.text
    return response.json()


async def test_each_mode_and_the_record_of_each_step(tmp_path: Path) -> None:
    async with open_up(tmp_path, answer_in_turn(ollama("forty-two"))) as up:
        assert (await up.client.get(MODES)).json() == {"modes": ["llm.chat", "matrix.search", "sql", "embed"]}
        made = await up.client.post("/v1/vectors/index", json={"name": "birds", "model": "default"})
        assert made.status_code == 201, made.text
        items = [{"id": "heron", "text": "A heron stands still."}]
        assert (await up.client.post("/v1/vectors/index/birds/add", json={"items": items})).status_code == 200
        result = await run(
            up,
            [
                {"id": "rows", "mode": "sql", "inputs": {"sql": "SELECT 42 AS n"}},
                {"id": "found", "mode": "matrix.search", "prompt": "heron", "inputs": {"corpora": ["birds"]}},
                {"id": "vectors", "mode": "embed", "prompt": "$rows.output.rows.0.0", "depends_on": ["rows"]},
                {
                    "id": "said",
                    "prompt": "$found.output.results.0.id is $rows.output.rows.0.0",
                    "inputs": CHAT,
                    "depends_on": ["rows", "found"],
                },
            ],
        )
        nodes = {node["id"]: node for node in result["nodes"]}
        assert {node["status"] for node in nodes.values()} == {"success"}, nodes
        assert nodes["rows"]["output"]["rows"] == [[42]]
        assert nodes["vectors"]["output"]["dimension"] == 256
        assert nodes["said"]["output"] == "forty-two"
        assert nodes["said"]["duration_ms"] > 0
        (asked,) = up.providers["ollama"].requests
        assert asked.json["messages"] == [{"role": "user", "content": "heron is 42"}]
        stats = (await up.client.get(STATS)).json()
        assert (stats["total"], stats["successes"], stats["by_source"]) == (4, 4, {"workflow": 4})


async def test_a_failed_node_skips_those_behind_it_and_no_other(tmp_path: Path) -> None:
    async with open_up(tmp_path, answer_in_turn(ollama("ok"))) as up:
        result = await run(
            up,
            [
                {"id": "bad", "mode": "sql", "prompt": "SELEC 1"},
                {"id": "behind", "prompt": "$bad", "inputs": CHAT, "depends_on": ["bad"]},
                {"id": "further", "mode": "sql", "prompt": "SELECT 1", "depends_on": ["behind"]},
                {"id": "other", "mode": "sql", "prompt": "SELECT 2"},
                {"id": "lacks", "mode": "sql", "prompt": "SELECT $other.output.none", "depends_on": ["other"]},
            ],
        )
        nodes = {node["id"]: (node["status"], node["error"]) for node in result["nodes"]}
        assert nodes["bad"][0] == "failed"
        assert str(nodes["bad"][1]).startswith("ErrBadRequest: ")
        assert nodes["behind"] == ("skipped", "the node 'bad', on which it depends, failed")
        assert nodes["further"] == ("skipped", "the node 'behind', on which it depends, was skipped")
        assert nodes["other"] == ("success", None)
        assert nodes["lacks"] == ("failed", "the output of 'other' has no 'none'")
        assert up.requests == {}
        stats = (await up.client.get(STATS)).json()
        assert (stats["total"], stats["failures"]) == (5, 4)


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([], "`nodes`"),
        ([{"id": "a", "mode": "drift.scorer"}], "drift.scorer"),
        ([{"id": "a", "prompt": "$b"}, {"id": "b"}], "does not depend"),
        ([{"id": "a", "depends_on": ["a"]}], "circle"),
    ],
)
async def test_what_cannot_be_run_is_400_and_nothing_is(tmp_path: Path, nodes: list[dict[str, Any]], says: str) -> None:
    async with open_up(tmp_path, answer_in_turn(ollama("ok"))) as up:
        assert says in (await run(up, nodes, 400))["error"]["message"]
        assert up.requests == {}


async def test_the_outputs_of_a_run_have_a_bound_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_OUTPUTS", 1_000)  # bytes
    async with open_up(tmp_path, answer_in_turn(ollama("x" * 400))) as up:
        nodes: list[dict[str, Any]] = [
            {"id": "a", "prompt": "x", "inputs": CHAT},
            {"id": "b", "prompt": "x", "inputs": CHAT, "depends_on": ["a"]},
            {"id": "c", "prompt": "x", "inputs": CHAT, "depends_on": ["b"]},
            {"id": "d", "mode": "sql", "prompt": "SELECT 1", "depends_on": ["b"]},
        ]
        done = {node["id"]: node for node in (await run(up, nodes))["nodes"]}
        assert [node["status"] for node in done.values()] == ["success", "success", "failed", "success"]
        assert done["c"]["output"] is None
        assert done["c"]["error"].startswith("ErrTooLarge: the outputs of a run may have at most 1000 bytes")


async def test_the_client_leaves_and_every_node_ends(tmp_path: Path) -> None:
    async with open_up(tmp_path, never_answer) as up:
        nodes = [{"id": f"n{number}", "prompt": "x", "inputs": CHAT} for number in range(5)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, up, nodes)
            with trio.fail_after(10):
                while len(up.providers["ollama"].requests) < 5:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        with trio.fail_after(20):
            while up.providers["ollama"].closed < 5:
                await trio.sleep(0.005)
        assert (await up.client.get("/v1/requests")).json()["requests"][0]["path"] == "/v1/requests"
