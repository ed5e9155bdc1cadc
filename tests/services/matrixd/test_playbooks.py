"""Playbooks: what they do to distances, which answers they inject, and what is recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from lakehouse.config import MatrixdTable
from lakehouse.services.contracts.retrieval import IndexOptions, Item
from lakehouse.services.matrixd.judge import read_rating
from lakehouse.services.matrixd.roles import is_same_role
from tests.services.matrixd.embedder_double import EMBEDDED, pack
from tests.services.matrixd.matrix_kit import Matrix, item, open_matrix
from tools.kit.http_stream import HttpStream

WORKERS = (item("near", 1, 0, 0), item("middle", 0.8, 0.6, 0), item("far", 0.3434, 0.93919, 0))


async def record(matrix: Matrix, answer: str = "far", *, text: str = "a", score: float = 1.0, **more: Any) -> str:
    body = {"query_text": text, "answer_id": answer, "answer_corpus": "workers", "score": score, **more}
    playbook: str = (await matrix.post("playbooks/record", **body))["playbook_id"]
    return playbook


async def search(matrix: Matrix, text: str = "a", **more: Any) -> Any:
    body = {"corpora": ["workers"], "query_text": text, "use_playbook": True, **more}
    return await matrix.post("search", **body)


@pytest.mark.parametrize(("score", "factor"), [(1.0, 0.5), (0.5, 0.75), (0.0, 1.0)])
async def test_a_boost_multiplies_the_distance_by_one_minus_half_the_score(score: float, factor: float) -> None:
    async with open_matrix() as matrix:
        await matrix.fill("workers", *WORKERS, model=EMBEDDED)
        before = {hit["id"]: hit["distance"] for hit in (await search(matrix))["results"]}
        await record(matrix, score=score)
        answer = await search(matrix)
        after = {hit["id"]: hit["distance"] for hit in answer["results"]}
        assert after["far"] / before["far"] == factor
        assert {**after, "far": 0} == {**before, "far": 0}
        assert [after[key] for key in after] == sorted(after.values())
        assert (answer["boosted"], answer["injected"]) == (1, 0)


async def test_a_search_without_playbooks_and_a_cold_start_change_nothing() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("workers", *WORKERS, model=EMBEDDED)
        cold = await search(matrix)
        assert (cold["boosted"], cold["injected"], "warnings" in cold) == (0, 0, False)
        await record(matrix)
        plain = await matrix.post("search", corpora=["workers"], query_text="a")
        assert plain["results"] == cold["results"]
        assert "boosted" not in plain


async def test_the_last_score_of_an_answer_counts_and_the_best_question_boosts() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("workers", *WORKERS, model=EMBEDDED)
        before = (await search(matrix))["results"][2]["distance"]
        first = await record(matrix, score=1.0)
        assert await record(matrix, score=0.2) == first
        assert (await search(matrix))["results"][2]["distance"] == before * 0.9
        await record(matrix, text="aa", score=0.6)  # another question, as near
        assert next(h for h in (await search(matrix))["results"] if h["id"] == "far")["distance"] == before * 0.7


async def test_only_questions_within_the_distance_boost() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("workers", *WORKERS, model=EMBEDDED)
        await record(matrix, text="ab")  # 0.29 from "a"
        assert (await search(matrix))["boosted"] == 1
        assert (await search(matrix, playbook_max_distance=0.25))["boosted"] == 0
        assert (await search(matrix, text="c"))["boosted"] == 0


async def test_an_answer_that_the_search_missed_is_injected_within_a_fifth() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("workers", *WORKERS, model=EMBEDDED)
        await record(matrix, text="aaaaab", score=1.0)  # 0.02 from "a"
        answer = await search(matrix, k=1)
        assert [hit["id"] for hit in answer["results"]] == ["near"]
        answer = await search(matrix, k=2, per_corpus_k=1)
        found = {hit["id"]: hit for hit in answer["results"]}
        question = (await matrix.post("search", corpora=["playbook_memory"], query_text="a"))["results"][0]["distance"]
        assert found["far"]["distance"] == question * 0.5
        assert found["far"]["corpus"] == "workers"
        assert (answer["boosted"], answer["injected"]) == (0, 1)
        assert (await search(matrix, k=2, per_corpus_k=1, playbook_max_inject_distance=0.01))["injected"] == 0
        await record(matrix, "middle", text="ab")  # 0.29 from "a": boosts, does not inject
        assert (await search(matrix, k=3, per_corpus_k=1))["injected"] == 1


async def test_what_is_injected_has_to_exist_and_to_pass_every_filter() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("workers", item("near", 1, 0, 0), item("far", 0, 1, 0, city="Ulm"), model=EMBEDDED)
        await matrix.fill("other", item("o", 1, 0, 0), model=EMBEDDED)
        await record(matrix)
        await record(matrix, "gone")
        wide: dict[str, Any] = {"k": 5, "per_corpus_k": 1}
        answer = await search(matrix, **wide)
        assert {hit["id"]: hit.get("metadata") for hit in answer["results"]} == {"near": None, "far": {"city": "Ulm"}}
        assert (await search(matrix, **wide, exclude_ids=["far"]))["injected"] == 0
        assert (await search(matrix, **wide, metadata_filter={"city": "Ulm"}))["injected"] == 1
        assert (await search(matrix, **wide, metadata_filter={"city": "Bonn"}))["injected"] == 0
        assert (await search(matrix, **wide, corpora=["other"]))["injected"] == 0
        answer = await search(matrix, corpora=["workers"], metadata_filter={"city": "Bonn"})
        assert answer["results"] == []  # a retrieved hit that a filter drops does not come back


@pytest.mark.parametrize(
    ("recorded", "asked", "injected"),
    [("welder", "Welders", 1), ("Nurses", "nurse", 1), ("", "welder", 1), ("welder", "", 1), ("welder", "cook", 0)],
)
async def test_the_role_gate(recorded: str, asked: str, injected: int) -> None:
    async with open_matrix() as matrix:
        await matrix.fill("workers", *WORKERS, model=EMBEDDED)
        await record(matrix, role=recorded)
        assert (await search(matrix, k=3, per_corpus_k=1, query_role=asked))["injected"] == injected


def test_roles_are_folded_by_case_and_plural() -> None:
    for one, other in [("Forklift Operators", "forklift  operator"), ("Companies", "company"), ("boxes", "box")]:
        assert is_same_role(one, other)
    assert not is_same_role("boss", "bot")


@pytest.mark.parametrize(
    ("answer", "injected"),
    [('{"rating": 5}', 1), ('{"rating": 3}', 1), ('{"rating": 2}', 0), ("I cannot say", 0), (None, 0)],
)
async def test_a_silent_judge_means_no(answer: str | None, injected: int) -> None:
    asked: list[Any] = []

    async def serve_ollama(stream: trio.SocketStream) -> None:
        async with HttpStream(stream) as http:
            start, headers = await http.head()
            asked.append((start, json.loads(await http.exactly(int(dict(headers)[b"content-length"])))))
            status, body = (b"500 Broken", b"{}") if answer is None else (b"200 OK", _chat(answer))
            await stream.send_all(
                b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)
            )

    async with trio.open_nursery() as nursery:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        nursery.start_soon(trio.serve_listeners, serve_ollama, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        async with open_matrix(MatrixdTable(judge_url=url, judge_model="judge")) as matrix:
            await matrix.fill("workers", item("near", 1, 0, 0), item("far", 0, 1, 0, name="Ada"), model=EMBEDDED)
            await record(matrix)
            assert (await search(matrix, k=3, per_corpus_k=1))["injected"] == injected
        nursery.cancel_scope.cancel()
    ((start, body),) = asked
    assert start.startswith(b"POST /api/chat ")
    assert body["model"] == "judge"
    assert "Ada" in body["messages"][1]["content"]


def _chat(content: str) -> bytes:
    return json.dumps({"message": {"role": "assistant", "content": content}}).encode()


def test_a_rating_is_read_from_json_only() -> None:
    assert read_rating('{"why": "x", "rating": "4"}') == 4
    assert read_rating('{"rating": 40}') is None
    assert read_rating("rating 4") is None


async def test_another_model_skips_playbooks_and_says_so() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("workers", *WORKERS)
        await record(matrix)
        answer = await search(matrix, model="other")
        assert answer["warnings"] == [f"playbooks are skipped: they use the model '{EMBEDDED}', not 'other'"]
        assert "boosted" in answer
        answer = await search(matrix, corpora=["workers"], text="", query_vector=[1, 0, 0])
        assert (answer["boosted"], "warnings" in answer) == (1, False)
        await matrix.engine.create_index(IndexOptions(name="narrow", dimension=2, model="other"))
        answer = await search(matrix, playbook_corpus="narrow")
        assert "of another model" in answer["warnings"][0]


async def test_playbooks_of_another_default_model_have_vectors_of_it() -> None:
    async with open_matrix(default_model="nomic") as matrix:
        await matrix.fill("workers", *WORKERS)
        await record(matrix)
        assert matrix.engine.indexes["playbook_memory"].options.model == "nomic"
        assert next(iter(matrix.engine.indexes["playbook_memory"].items.values())).vector == pack(1.01, 0.01, 0.01)
        answer = await search(matrix)
        assert (answer["boosted"], "warnings" in answer) == (1, False)


async def test_an_item_that_is_no_playbook_is_passed_over() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("workers", *WORKERS, model=EMBEDDED)
        await record(matrix)
        broken = [Item(id="x", text="a", metadata=b'{"score": "high"}'), Item(id="y", text="a")]
        await matrix.engine.add("playbook_memory", broken, model=EMBEDDED)
        assert (await search(matrix))["boosted"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"score": 1.1}, "score"),
        ({"score": -0.1}, "score"),
        ({"score": "high"}, "score"),
        ({"query_text": " "}, "query_text"),
        ({"answer_id": ""}, "answer_id"),
        ({"answer_corpus": ""}, "answer_corpus"),
    ],
)
async def test_a_bad_playbook_names_its_field(body: dict[str, Any], field: str) -> None:
    async with open_matrix() as matrix:
        good = {"query_text": "a", "answer_id": "far", "answer_corpus": "workers", "score": 1}
        error = (await matrix.post("playbooks/record", 400, **(good | body)))["error"]
        assert f"`{field}" in error["message"]
        assert "playbook_memory" not in matrix.engine.indexes


async def test_one_bad_entry_of_a_batch_does_not_stop_the_others() -> None:
    async with open_matrix() as matrix:
        good = {"query_text": "a", "answer_id": "far", "answer_corpus": "workers", "score": 1, "tags": ["x"]}
        entries = [good, {**good, "score": 2}, {**good, "answer_id": "near", "corpus": "own"}, 7]
        answer = await matrix.post("playbooks/bulk", entries=entries, corpus="batch")
        assert (answer["recorded"], answer["failed"]) == (2, 2)
        assert [result["index"] for result in answer["results"]] == [0, 1, 2, 3]
        assert "`score`" in answer["results"][1]["error"]
        assert "playbook_id" in answer["results"][2]
        assert [len(matrix.engine.indexes[name].items) for name in ("batch", "own")] == [1, 1]
        stored = matrix.engine.indexes["batch"].items[answer["results"][0]["playbook_id"]]
        assert json.loads(stored.metadata) == {**good, "role": ""}
