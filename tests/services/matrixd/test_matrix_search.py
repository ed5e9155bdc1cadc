"""`/matrix/search` over real HTTP: filters, playbooks to the digit, and what a failing corpus does.

The engine is a double here, which fails and waits when it is told to; the gates of the original run against the real one
in tests/services/conformance.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from lakehouse.asgi.in_process import call_app
from lakehouse.core.errors import ErrBadRequest, ErrUnavailable, ErrUpstream
from lakehouse.services.contracts.retrieval import ManyHits
from lakehouse.services.matrixd.requests import MatrixSearchRequest
from lakehouse.services.matrixd.search_cache import MAX_BYTES, SearchCache
from tests.services.matrixd.embedder_double import EMBEDDED, embed_text
from tests.services.matrixd.matrix_kit import error_of, item, open_matrix
from tests.services.memory_engine import MemoryEngine


async def test_the_nearest_of_all_corpora_come_first_with_their_metadata() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("left", item("a", 1, 0, 0, side="left"), item("b", 0.6, 0.8, 0))
        await matrix.fill("right", item("a", 0.8, 0.6, 0, side="right"), item("c", 0, 0, 1))
        answer = await matrix.post("search", corpora=["left", "right"], query_vector=[1, 0, 0], k=3)
        assert answer == {
            "results": [
                {"id": "a", "distance": 0.0, "corpus": "left", "metadata": {"side": "left"}},
                {"id": "a", "distance": pytest.approx(0.2), "corpus": "right", "metadata": {"side": "right"}},
                {"id": "b", "distance": pytest.approx(0.4), "corpus": "left"},
            ],
            "per_corpus": {"left": 2, "right": 2},
            "dropped_by_filter": 0,
        }
        answer = await matrix.post("search", corpora=["left", "right"], query_vector=[1, 0, 0], k=3, per_corpus_k=1)
        assert (len(answer["results"]), answer["per_corpus"]) == (2, {"left": 1, "right": 1})


async def test_each_corpus_is_asked_in_its_own_model_and_the_vector_wins() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("embedded", item("e", text="aaa"), model=EMBEDDED)
        await matrix.fill("other", item("o", 0, 1, 0), model="nomic")
        await matrix.fill("raw", item("r", 0, 0, 1))
        assert [hit for hit, _ in await matrix.search(corpora=["embedded", "other", "raw"], query_text="b")] == [
            "o",
            "e",
            "r",
        ]
        assert matrix.embedder.calls == [("nomic", ("b",)), (EMBEDDED, ("b",))]
        found = await matrix.search(corpora=["embedded", "raw"], query_text="b", query_vector=[0, 0, 1])
        assert found[0] == ("r", 0.0)
        assert len(matrix.embedder.calls) == 2  # none for a vector
        answer = await matrix.post("search", 502, corpora=["embedded"], query_text="b", model="nomic")
        assert error_of(answer) == (
            "ErrUpstream",
            "1 of the corpora failed: 'embedded': the index 'embedded' is of another model",
        )


async def test_an_index_that_is_made_again_with_another_model_is_asked_in_that_one() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("x", item("one", 1, 0, 0), model="first")
        await matrix.search(corpora=["x"], query_text="a")
        await matrix.search(corpora=["x"], query_text="b")
        del matrix.engine.indexes["x"]
        await matrix.fill("x", item("two", 1, 0, 0), model="second")
        await matrix.search(corpora=["x"], query_text="a")
        assert [model for model, _ in matrix.embedder.calls] == ["first", "first", "second"]


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ({"n": 1}, ["int", "float"]),
        ({"n": True}, ["bool"]),
        ({"n": [1, "one"]}, ["int", "float", "text"]),
        ({"n": "one"}, ["text"]),
        ({"n": None}, ["null"]),
        ({"n": 1, "m": 2}, ["float"]),
        ({"n": {"a": [1]}}, ["nested"]),
        ({"n": [[1, 2]]}, ["list"]),
        ({"absent": 1}, []),
        ({}, ["int", "float", "bool", "text", "null", "nested", "list", "none"]),
    ],
)
async def test_the_metadata_filter_keeps_what_matches_all_keys(wanted: Any, kept: list[str]) -> None:
    async with open_matrix() as matrix:
        values: dict[str, Any] = {"int": 1, "bool": True, "text": "one", "null": None, "nested": {"a": [1.0]}}
        values |= {"list": [1, 2]}
        items = [item(name, 1, 0, 0, n=value) for name, value in values.items()]
        items.insert(1, item("float", 1, 0, 0, n=1.0, m=2))
        await matrix.fill("x", *items, item("none", 1, 0, 0))
        answer = await matrix.post("search", corpora=["x"], query_vector=[1, 0, 0], metadata_filter=wanted)
        assert [hit["id"] for hit in answer["results"]] == kept
        assert answer["dropped_by_filter"] == len(values) + 2 - len(kept)


async def test_excluded_ids_are_dropped_before_the_cut() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("x", item("a", 1, 0, 0), item("b", 0.8, 0.6, 0), item("c", 0, 1, 0))
        body: dict[str, Any] = {"corpora": ["x"], "query_vector": [1, 0, 0], "k": 1, "per_corpus_k": 3}
        answer = await matrix.post("search", **body, exclude_ids=["a", "unknown"])
        assert [hit["id"] for hit in answer["results"]] == ["b"]
        assert (answer["per_corpus"], answer["dropped_by_filter"]) == ({"x": 3}, 0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query_text": "q"}, "corpora"),
        ({"query_text": "q", "corpora": []}, "corpora"),
        ({"query_text": "q", "corpora": ["x", ""]}, "corpora"),
        ({"corpora": ["x"]}, "query_text"),
        ({"corpora": ["x"], "query_text": ""}, "query_text"),
        ({"corpora": ["x"], "query_vector": []}, "query_text"),
        ({"corpora": ["x"], "query": "q"}, "query"),
        ({"corpora": ["x"], "query_text": "q", "k": 0}, "k"),
        ({"corpora": ["x"], "query_text": "q", "per_corpus_k": -1}, "per_corpus_k"),
        ({"corpora": ["x"], "query_vector": [1], "mode": "hybrid"}, "query_text"),
        ({"corpora": ["x"], "query_vector": [1, 1e39, 0]}, "query_vector"),
        ({"corpora": ["x"], "query_text": "q", "mode": "other"}, "mode"),
        ({"corpora": ["x"], "query_text": "q", "weight": 1.5}, "weight"),
        ({"corpora": ["x"], "query_text": "q", "timeout": "0s"}, "timeout"),
        ({"corpora": ["x"], "query_text": "q", "playbook_max_distance": -1}, "playbook_max_distance"),
    ],
)
async def test_a_bad_request_names_its_field(body: dict[str, Any], field: str) -> None:
    async with open_matrix() as matrix:
        await matrix.fill("x", item("a", 1, 0, 0))
        code, message = error_of(await matrix.post("search", 400, **body))
        assert code == "ErrBadRequest"
        assert f"`{field}" in message


async def test_one_failing_corpus_fails_the_search_unless_it_is_partial() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("good", item("a", 1, 0, 0))
        await matrix.fill("bad", item("b", 1, 0, 0))
        await matrix.fill("narrow", item("n", 1, 0), dimension=2)
        matrix.engine.failures["bad"] = ErrUpstream("it is broken")
        body: dict[str, Any] = {"query_vector": [1, 0, 0]}
        answer = await matrix.post("search", 502, corpora=["good", "bad"], **body)
        assert error_of(answer) == ("ErrUpstream", "1 of the corpora failed: 'bad': it is broken")
        assert answer["error"]["details"] == {"failed": {"bad": "it is broken"}}
        corpora = ["missing", "bad", "good", "narrow"]
        for query in (body, {"query_text": "a"}):
            answer = await matrix.post("search", corpora=corpora, partial=True, **query)
            assert [hit["id"] for hit in answer["results"]] == ["a"]
            assert answer["per_corpus"] == {"good": 1}
            assert sorted(answer["failed"]) == ["bad", "missing", "narrow"]
            answer = await matrix.post("search", 502, corpora=["missing", "bad"], partial=True, **query)
            assert "2 of the corpora failed" in error_of(answer)[1]
            answer = await matrix.post("search", 502, corpora=["good", "missing"], **query)
            assert error_of(answer)[1] == "1 of the corpora failed: 'missing': there is no index 'missing'"


async def test_an_engine_that_is_restarted_is_no_fault_of_a_corpus() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("x", item("a", 1, 0, 0))
        matrix.engine.failures["x"] = ErrUnavailable("the engine is started again", retry_after=1)
        answer = await matrix.http.post("/matrix/search", json={"corpora": ["x"], "query_vector": [1, 0, 0]})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_slow_corpus_is_left_out_of_a_partial_search(autojump_clock: trio.testing.MockClock) -> None:
    async with open_matrix() as matrix:
        await matrix.fill("quick", item("a", 1, 0, 0))
        await matrix.fill("slow", item("b", 1, 0, 0))
        matrix.engine.delays["slow"] = 60
        body: dict[str, Any] = {"query_vector": [1, 0, 0], "corpora": ["slow", "quick"], "partial": True}
        started = trio.current_time()
        answer = await matrix.post("search", timeout="2s", **body)
        assert trio.current_time() - started == pytest.approx(2, abs=0.1)
        assert [hit["id"] for hit in answer["results"]] == ["a"]
        assert answer["failed"] == {"slow": "no answer within 2 s"}


async def test_a_failing_model_fails_its_corpora_only() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("here", item("a", text="a"), model=EMBEDDED)
        await matrix.fill("there", item("b", 1, 0, 0), model="remote")
        matrix.embedder.failing["remote"] = ErrUpstream("the provider is down")
        answer = await matrix.post("search", 502, corpora=["here", "there"], query_text="a")
        assert error_of(answer) == ("ErrUpstream", "the provider is down")
        answer = await matrix.post("search", corpora=["here", "there"], query_text="a", partial=True)
        assert [hit["id"] for hit in answer["results"]] == ["a"]
        assert answer["failed"] == {"there": "the provider is down"}


async def test_an_equal_search_is_answered_again_until_an_index_changes() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("x", item("a", 1, 0, 0, n=1))
        await matrix.fill("y", item("b", 0, 1, 0))
        body: dict[str, Any] = {"corpora": ["x", "y"], "query_text": "a"}
        first = await matrix.post("search", **body)
        assert await matrix.post("search", **body) == first
        assert matrix.engine.searches == 2  # one of each corpus
        assert await matrix.post("search", **body, k=1) != first
        assert await matrix.post("search", **body, exclude_ids=["a"]) != first
        for mode in ("hybrid", "hybrid"):  # words of new items are found a moment after them
            await matrix.post("search", **body, mode=mode)
        assert matrix.engine.searches == 10
        await matrix.engine.add("y", [item("c", 1, 0, 0)])
        assert [hit["id"] for hit in (await matrix.post("search", **body))["results"]] == ["a", "c", "b"]
        del matrix.engine.indexes["x"]
        matrix.engine.counts["x"] += 1
        await matrix.post("search", 502, **body)


async def test_a_write_during_a_search_is_seen_by_the_next_one(autojump_clock: trio.testing.MockClock) -> None:
    async with open_matrix() as matrix, trio.open_nursery() as nursery:
        await matrix.fill("x", item("a", 1, 0, 0))
        matrix.engine.delays["x"] = 2
        body: dict[str, Any] = {"corpora": ["x"], "query_vector": [1, 0, 0]}
        nursery.start_soon(lambda: matrix.post("search", **body))
        await trio.sleep(1)
        await matrix.engine.add("x", [item("b", 1, 0, 0)])
        await trio.sleep(2)
        matrix.engine.delays.clear()
        assert len((await matrix.post("search", **body))["results"]) == 2


async def test_a_mistake_in_text_or_filter_is_no_failure_of_a_corpus() -> None:
    async with open_matrix() as matrix:
        await matrix.fill("x", item("a", 1, 0, 0))
        for message, field in (("`text` has no words", "`query_text`"), ("`filter.a` must be", "`filter.a`")):
            matrix.engine.failures["x"] = ErrBadRequest(message)
            for partial in (False, True):
                answer = await matrix.post("search", 400, corpora=["x"], query_vector=[1, 0, 0], partial=partial)
                assert error_of(answer)[1].startswith(field)


@pytest.mark.parametrize(
    "messages", [("`filter.a` is one", "`filter.a` is one"), ("`filter.a` is 1", "`filter.b` is 2")]
)
async def test_a_mistake_that_several_corpora_find_is_one_error(messages: tuple[str, str]) -> None:
    async with open_matrix() as matrix:
        for name, message in zip("xy", messages, strict=True):
            await matrix.fill(name, item("a", 1, 0, 0))
            matrix.engine.failures[name] = ErrBadRequest(message)
        body: dict[str, Any] = {"corpora": ["x", "y"], "query_vector": [1, 0, 0], "partial": True}
        answer = await matrix.post("search", 400, **body)
        assert answer["error"]["message"] in messages
        with pytest.raises(ErrBadRequest) as caught:  # and no group of them
            async with call_app(matrix.app, "POST", "/matrix/search", body=json.dumps(body).encode()):
                pass
        assert caught.value.message in messages


async def test_a_client_that_leaves_ends_its_search(autojump_clock: trio.testing.MockClock) -> None:
    async with open_matrix() as matrix:
        await matrix.fill("x", item("a", 1, 0, 0))
        matrix.engine.delays["x"] = 3600
        with trio.move_on_after(1):
            await matrix.post("search", corpora=["x"], query_vector=[1, 0, 0])
        await trio.sleep(0.1)
        assert (matrix.engine.searches, matrix.engine.cancelled) == (1, 1)


def test_long_questions_count_among_what_is_kept() -> None:
    cache = SearchCache(MemoryEngine(embed_text, model=EMBEDDED), 1_000)
    hits = ManyHits(results=b"[]", count=0, per_corpus={})
    for number in range(20):
        question = MatrixSearchRequest(corpora=["birds"], query_text=f"{number}" + "e" * 1_000_000)
        cache.keep(question.retrieval_key, (), hits)
    assert 0 < len(cache) < 10
    assert 1_000_000 * len(cache) < cache.size <= MAX_BYTES
