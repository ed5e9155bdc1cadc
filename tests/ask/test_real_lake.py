"""An ask of a real lake: texts are embedded and searched, rows are found with SQL, and a scripted model answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from lakehouse.cli.lake.demo_corpus import CORPUS, QUESTION, demo_items
from lakehouse.cli.lake.demo_data import demo_tables
from tools.kit.command import lakehouse
from tools.kit.scripted_ollama import scripted_ollama
from tools.kit.serve_process import run_lakehouse
from tools.kit.service_with_providers import ServiceWithProviders, answer_in_turn, ollama, open_service_with_providers

BIRDS = [
    {"id": "heron", "text": "A heron stands still in shallow water."},
    {"id": "x", "text": "Tea is made of leaves."},
]


async def fill(client: httpx.AsyncClient) -> None:
    for name, items in ((CORPUS, demo_items()), ("birds", BIRDS)):
        assert (await client.post("/v1/vectors/index", json={"name": name, "model": "default"})).status_code == 201
        added = await client.post(f"/v1/vectors/index/{name}/add", json={"items": items})
        assert added.json()["added"] == len(items)
    vectors = {"name": "vectors", "dimension": 2}
    assert (await client.post("/v1/vectors/index", json=vectors)).status_code == 201
    made = await client.post("/v1/ingest?name=teams", content=demo_tables()["teams"])
    assert made.status_code == 201


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[ServiceWithProviders]:
    with trio.fail_after(120):
        scripts = {"ollama": answer_in_turn(ollama("Most calls failed [1]. It was the weather [9]."))}
        async with open_service_with_providers(scripts=scripts, lake={"path": str(tmp_path / "lake")}) as opened:
            await fill(opened.client)
            yield opened


async def ask(up: ServiceWithProviders, **fields: Any) -> dict[str, Any]:
    response = await up.client.post("/v1/ask", json={"question": QUESTION, "model": "m", **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_passages_come_from_every_corpus_and_from_tables(up: ServiceWithProviders, tmp_path: Path) -> None:
    answer = await ask(up, k=4)
    assert answer["answer"] == "Most calls failed [1]. It was the weather."
    assert [claim["citations"] for claim in answer["claims"]] == [[1], []]
    (cited,) = answer["citations"]
    assert (cited["corpus"], cited["id"]) == (CORPUS, "incidents.md#1")
    assert cited["text"].startswith("Outage of borealis, 3 November\n\nOn 3 November from 13:40")
    assert cited["metadata"] == {"source": "incidents.md", "heading": "Outage of borealis, 3 November", "passage": 1}
    assert 0 < cited["distance"] < 1
    assert len(answer["passages"]) == 4

    still = await ask(up, question="Which bird stands in water?", k=1)
    assert [passage["id"] for passage in still["passages"]] == ["heron"]

    rows = await ask(up, question="What may the team search spend?", corpora=[CORPUS], tables=["teams"], k=2)
    found = [(passage.get("table"), passage["id"]) for passage in rows["passages"]]
    assert found == [(None, "teams.md#1"), ("teams", "0")]
    text, place = rows["passages"][1]["text"], rows["passages"][1]["metadata"]
    assert text == "team: search\nusual_model: plover-mini\ndaily_budget_usd: 0.25"
    sql = f"SELECT team FROM teams AT (VERSION => {place['snapshot_id']}) LIMIT 1 OFFSET {place['row']}"
    assert (await up.client.post("/v1/sql", json={"sql": sql})).json()["rows"] == [["search"]]

    missing = await up.client.post("/v1/ask", json={"question": QUESTION, "corpora": ["ghosts"], "model": "m"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (502, "ErrUpstream")
    assert "ghosts" in missing.json()["error"]["message"]
    missing = await up.client.post("/v1/ask", json={"question": QUESTION, "tables": ["ghosts"], "model": "m"})
    assert missing.status_code == 404

    # The command finds the same lake through its lock.
    url = up.providers["ollama"].url
    (tmp_path / "lakehouse.toml").write_text(f'[lake]\npath = "lake"\n[chatd]\nollama_url = "{url}"\n')
    ran = await lakehouse("ask", "--corpora", CORPUS, "-m", "m", "--json", QUESTION, cwd=tmp_path)
    assert (ran.status, ran.err) == (0, "")
    assert '"incidents.md#1"' in ran.out


async def test_nothing_is_answered_from_a_trace_that_is_retired(up: ServiceWithProviders) -> None:
    question = "Which colour has the door of the lighthouse?"
    for uid, colour in (("old", "red"), ("new", "green")):
        trace = {"uid": uid, "content": f"The door of the lighthouse is {colour}."}
        assert (await up.client.post("/v1/pathway/add", json=trace)).status_code == 200
    assert (await up.client.post("/v1/pathway/retire", json={"uid": "old"})).status_code == 200
    searched = {"text": question, "state": "all"}  # which waits for the index
    assert (await up.client.post("/v1/pathway/search", json=searched)).json()["count"] == 2
    for fields in ({}, {"corpora": ["pathway_memory"]}):
        found = (await ask(up, question=question, k=50, **fields))["passages"]
        traces = [passage["id"] for passage in found if passage["corpus"] == "pathway_memory"]
        assert traces == ["new"], fields


@pytest.mark.extended
async def test_two_workers_write_search_and_ask_in_the_same_indexes(tmp_path: Path) -> None:
    with scripted_ollama(lambda _: [1.0], "m", answer="It stands in water [1].") as url:
        tables: dict[str, dict[str, object]] = {
            "lake": {"path": str(tmp_path / "lake"), "engines": 1},
            "chatd": {"ollama_url": url},
            "observe": {"log": "off"},
        }
        with run_lakehouse(tables, "--workers", "2") as serve:
            async with AsyncExitStack() as stack:
                with trio.fail_after(60):
                    first, second = await connect_to_each(stack, f"http://127.0.0.1:{serve.port}")
                    await check_both(first, second)


async def connect_to_each(stack: AsyncExitStack, url: str) -> list[httpx.AsyncClient]:
    """Two clients, each with one connection that it keeps, to two workers."""
    found = dict[int, httpx.AsyncClient]()
    while len(found) < 2:  # the kernel chooses the worker of a connection
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30, trust_env=False))
        [own] = (await client.get("/v1/requests")).json()["requests"]
        found.setdefault(own["worker"], client)
    return list(found.values())


async def check_both(first: httpx.AsyncClient, second: httpx.AsyncClient) -> None:
    """What one has written the other finds, and both are answered with the same citation."""
    assert (await first.post("/v1/vectors/index", json={"name": "birds", "model": "default"})).status_code == 201
    search = {"corpora": ["birds"], "query_text": "Which bird stands in water?", "mode": "vector", "k": 1}
    for writer, reader, item in ((first, second, BIRDS[1]), (second, first, BIRDS[0])):
        await reader.post("/v1/matrix/search", json=search)  # its result is kept until the index changes
        added = await writer.post("/v1/vectors/index/birds/add", json={"items": [item]})
        assert added.json()["added"] == 1
        found = (await reader.post("/v1/matrix/search", json=search)).json()
        assert [hit["id"] for hit in found["results"]] == [item["id"]]
    for client in (first, second):
        answer = (await client.post("/v1/ask", json={"question": search["query_text"], "model": "m", "k": 1})).json()
        assert [cited["id"] for cited in answer["citations"]] == ["heron"], answer
