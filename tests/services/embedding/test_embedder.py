"""The embedder: the cache, one call for a text however many wait for it, batches without a timer, one deadline."""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from lakehouse.core.errors import ErrBadRequest, ErrTimeout, ErrUnprocessable, ErrUpstream, LakehouseError
from lakehouse.services.embedding.batching import Lane
from lakehouse.services.embedding.checks import MAX_TEXTS
from lakehouse.services.embedding.embedder import TIMEOUT
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.embedding.vectors import pack, unpack
from tests.services.embedding.doubles import LIMIT, Doubles, failure, open_doubles, vector_of


def ollama_batch(document: dict[str, Any]) -> object:
    return {"embeddings": [vector_of(text, 4) for text in document["input"]], "prompt_eval_count": 7}


async def test_a_batch_asks_only_for_what_is_missing_and_each_text_once() -> None:
    async with open_doubles() as lake:
        first = await lake.embedder.embed(["a", "b", "a"])
        second = await lake.embedder.embed(["b", "c", "a"])
        assert lake.engine.calls == [["a", "b"], ["c"]]
        assert (first.model, first.dimension, first.cached, first.tokens) == (WORDLLAMA, 256, 0, 3)
        assert second.cached == 2
        assert second.vectors[-1024:] == first.vectors[:1024] == pack(vector_of("a", 256))
        stats = lake.embedder.stats()
        assert (stats.hits, stats.misses, stats.size, stats.hit_rate) == (2, 4, 3, 2 / 6)


async def test_the_cache_is_bounded_and_keeps_what_is_used() -> None:
    async with open_doubles(cache_size=2) as lake:
        for texts in (["a"], ["b"], ["a"], ["c"], ["a"], ["b"]):
            await lake.embedder.embed_json(texts)
        assert lake.engine.calls == [["a"], ["b"], ["c"], ["b"]]
        assert lake.embedder.stats().size == 2


async def test_without_a_cache_every_text_is_asked_for() -> None:
    async with open_doubles(cache_size=0) as lake:
        for _ in range(2):
            await lake.embedder.embed_json(["a"])
        assert lake.engine.calls == [["a"], ["a"]]
        assert lake.embedder.stats().size == 0


async def test_the_cache_is_by_model_and_dimension() -> None:
    async with open_doubles() as lake:
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        await lake.embedder.embed(["a"])
        other = await lake.embedder.embed(["a"], model="nomic")
        cut = await lake.embedder.embed_json(["a"], dimension=64)
        assert (other.model, other.dimension, cut.dimension, lake.embedder.stats().size) == ("nomic", 4, 64, 3)
        values = msgspec.json.decode(cut.vectors[0], type=list[float])
        assert sum(value * value for value in values) == pytest.approx(1.0)
        with pytest.raises(ErrBadRequest, match="`dimension` must be 64, 128, 256"):
            await lake.embedder.embed_json(["a"], dimension=100)


async def test_json_gives_the_same_float32_back() -> None:
    async with open_doubles() as lake:
        values = [0.1, -1e-30, 3.4e38, 1 / 3, 0.0, 1e-45]
        lake.providers.answers["ollama", "/api/embed"] = lambda _: {"embeddings": [values]}
        packed = await lake.embedder.embed(["a"], model="m")
        encoded = await lake.embedder.embed_json(["a"], model="m")
        again = await lake.embedder.embed_json(["a"], model="m")
        assert encoded.vectors[0] is again.vectors[0], "it is encoded once"
        assert pack(msgspec.json.decode(encoded.vectors[0], type=list[float])) == packed.vectors == pack(values)
        assert unpack(packed.vectors)[1] != 0


async def test_many_that_wait_for_one_text_ask_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_doubles(latency=1) as lake:
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        answers: list[bytes] = []

        async def ask() -> None:
            answers.append((await lake.embedder.embed(["same"], model="m")).vectors)

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
        assert len(lake.providers.calls) == 1
        assert answers == [pack(vector_of("same", 4))] * 50


async def test_what_arrives_during_a_call_goes_with_the_next_one(autojump_clock: trio.testing.MockClock) -> None:
    async with open_doubles(latency=1) as lake:
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        async with trio.open_nursery() as nursery:
            for n in range(40):
                nursery.start_soon(partial(lake.embedder.embed, [f"text {n}"], model="m"))
        sizes = [len(document["input"]) for _, _, document in lake.providers.calls]
        assert sizes == [1, 1, 38], "two calls at a time, and no timer before the first"
        assert trio.current_time() == pytest.approx(2.0, abs=0.1)


async def test_a_question_does_not_wait_for_a_long_batch(autojump_clock: trio.testing.MockClock) -> None:
    async with open_doubles(latency=1) as lake:
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(lake.embedder.embed, [f"text {n}" for n in range(3_000)], model="m"))
            await trio.sleep(1.5)
            began = trio.current_time()
            await lake.embedder.embed(["a question"], model="m")
            assert trio.current_time() - began == pytest.approx(1.5), "the call under way, and the next one"
        assert sum(len(document["input"]) for _, _, document in lake.providers.calls) == 3_001


async def test_a_failure_is_for_those_who_wait_and_is_not_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with open_doubles(latency=1) as lake:

        def fail(_: object) -> object:
            raise failure("model_not_found", 404)

        lake.providers.answers["ollama", "/api/embed"] = fail
        errors: list[ErrUpstream] = []

        async def ask() -> None:
            with pytest.raises(ErrUpstream) as raised:
                await lake.embedder.embed(["a"], model="m")
            errors.append(raised.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        assert errors[0] is not errors[1], "each has a traceback of its own"
        assert errors[0].error_class == "model_not_found"
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        assert (await lake.embedder.embed(["a"], model="m")).dimension == 4


async def test_no_request_fails_through_the_text_of_another(autojump_clock: trio.testing.MockClock) -> None:
    def answer(document: dict[str, Any]) -> object:
        if "refused" in document["input"]:
            raise failure("bad_request", 400)
        vectors = [[1e39] * 4 if text == "broken" else vector_of(text, 4) for text in document["input"]]
        return {"embeddings": vectors}

    async with open_doubles(latency=1) as lake:
        lake.providers.answers["ollama", "/api/embed"] = answer
        failed: list[str] = []

        async def ask(*texts: str) -> None:
            try:
                await lake.embedder.embed(texts, model="m")
            except LakehouseError:
                failed.append(texts[0])

        async with trio.open_nursery() as nursery:
            for texts in (["busy"], ["both"], ["a", "b"], ["refused", "c"], ["d"], ["broken"], ["e"]):
                nursery.start_soon(ask, *texts)
        assert sorted(failed) == ["broken", "refused"]


async def test_a_provider_that_fails_is_not_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    async with open_doubles(latency=1) as lake:

        def fail(_: object) -> object:
            raise failure("overloaded", 529)

        lake.providers.answers["ollama", "/api/embed"] = fail

        async def ask(text: str) -> None:
            with pytest.raises(ErrUpstream):
                await lake.embedder.embed([text], model="m")

        async with trio.open_nursery() as nursery:
            for text in "abcdef":
                nursery.start_soon(ask, text)
        assert [len(document["input"]) for _, _, document in lake.providers.calls] == [1, 1, 4]


async def test_the_last_to_leave_ends_the_call_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_doubles(latency=1) as lake:
        lake.engine.hold = True
        async with trio.open_nursery() as nursery:
            scopes = [trio.CancelScope(), trio.CancelScope()]

            async def ask(scope: trio.CancelScope) -> None:
                with scope:
                    await lake.embedder.embed(["a"])

            for scope in scopes:
                nursery.start_soon(ask, scope)
            await trio.testing.wait_all_tasks_blocked()
            scopes[0].cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert lake.engine.cancelled == 0, "another request waits for the same text"
            scopes[1].cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert lake.engine.cancelled == 1
        lake.engine.hold = False
        await lake.embedder.embed(["a"])
        assert len(lake.engine.calls) == 2


async def test_texts_that_nobody_waits_for_leave_the_queue(autojump_clock: trio.testing.MockClock) -> None:
    async with open_doubles(latency=1) as lake:
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        with trio.move_on_after(0.5):
            await lake.embedder.embed([f"text {n}" for n in range(500)], model="m")
        await trio.sleep(5)
        assert lake.providers.cancelled == 2
        assert len(lake.providers.calls) == 2
        readings = {gauge.family.name: list(gauge.read()) for gauge in lake.embedder.gauges()}
        assert readings["embedd_waiting"] == [((), 0)]
        assert readings["embedd_texts"] == [((), 128)]


async def test_what_is_known_of_a_model_is_dropped_when_nobody_asks_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Clients name models as they like, and leave before the answer."""

    def count_lanes() -> int:
        gc.collect()
        return sum(isinstance(thing, Lane) for thing in gc.get_objects())

    async with open_doubles(latency=1) as lake:
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        before = count_lanes()
        for number, seconds in enumerate((0.5, 3)):
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as nursery:
                    for each in range(5):
                        nursery.start_soon(partial(lake.embedder.embed, ["a", "b"], model=f"m{number}-{each}"))
                    await trio.sleep(0.1)
                    assert count_lanes() == before + 5
            await trio.testing.wait_all_tasks_blocked()
            assert count_lanes() == before
        assert lake.providers.cancelled == 5


async def test_a_model_whose_dimension_has_changed_is_asked_again_for_what_was_kept() -> None:
    async with open_doubles() as lake:
        dimensions = iter([4, 6, 6, 8])

        def answer(document: dict[str, Any]) -> object:
            dimension = next(dimensions)
            return {"embeddings": [vector_of(text, dimension) for text in document["input"]]}

        lake.providers.answers["ollama", "/api/embed"] = answer
        assert (await lake.embedder.embed(["a", "b"], model="m")).dimension == 4
        mixed = await lake.embedder.embed(["a", "c", "b"], model="m")
        assert (mixed.dimension, mixed.cached, mixed.vectors) == (6, 0, b"".join(pack(vector_of(t, 6)) for t in "acb"))
        asked = [document["input"] for _, path, document in lake.providers.calls if path == "/api/embed"]
        assert asked == [["a", "b"], ["c"], ["a", "c", "b"]]
        assert (await lake.embedder.embed(["b", "c"], model="m")).cached == 2


async def test_a_model_whose_vectors_differ_within_a_batch_is_refused() -> None:
    async with open_doubles() as lake:
        lake.providers.answers["ollama", "/api/embed"] = lambda document: {
            "embeddings": [vector_of(text, len(text) + 2) for text in document["input"]]
        }
        for _ in range(2):
            with pytest.raises(ErrUpstream, match="differ in their dimension"):
                await lake.embedder.embed(["a", "bb"], model="m")


async def test_a_whole_batch_has_one_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async with open_doubles(latency=1) as lake:
        lake.providers.answers["ollama", "/api/embeddings"] = lambda _: {"embedding": [1.0, 2.0]}
        began = trio.current_time()
        with pytest.raises(ErrTimeout, match="did not embed the batch within 60 s"):
            await lake.embedder.embed([f"text {n}" for n in range(2_000)], model="m")
        assert trio.current_time() - began == pytest.approx(TIMEOUT)
        await trio.testing.wait_all_tasks_blocked()
        assert lake.providers.at_once == 0
        assert lake.providers.most_at_once == 8, "two calls of four"


async def test_a_text_that_is_too_long_is_named_unless_it_may_be_cut() -> None:
    async with open_doubles() as lake:
        long = "x" * (LIMIT + 1)
        for _ in range(2):
            with pytest.raises(ErrUnprocessable, match=r"`texts\[2\]` has 11 tokens and is longer than the limit"):
                await lake.embedder.embed(["a", "b", long, long])
            found = await lake.embedder.embed(["a", long], truncate=True)
            assert found.truncated == [1]
        assert lake.engine.calls == [["a", "b", long], [long], [long]], "what fits is kept although the batch failed"


async def test_a_large_batch_gives_way_to_other_tasks() -> None:
    async with open_doubles() as lake:
        texts = [f"text {n}" for n in range(MAX_TEXTS)]
        await lake.embedder.embed(texts)
        steps = 0

        async def count() -> None:
            nonlocal steps
            while True:
                await trio.lowlevel.checkpoint()
                steps += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await lake.embedder.embed_json(texts)
            encoding = steps
            await lake.embedder.rerank("text 0", texts[1:])
            nursery.cancel_scope.cancel()
        assert encoding > 100
        assert steps - encoding > 100


@pytest.mark.parametrize(
    ("texts", "field"), [(["a", ""], "texts[1]"), (["a"] * (MAX_TEXTS + 1), "texts")], ids=["empty", "many"]
)
async def test_texts_that_are_refused(texts: list[str], field: str) -> None:
    async with open_doubles() as lake:
        with pytest.raises(ErrBadRequest) as raised:
            await lake.embedder.embed(texts)
        assert raised.value.field == field
        assert lake.engine.calls == []


async def rank(lake: Doubles, model: str, **arguments: int) -> list[int]:
    ranking = await lake.embedder.rerank("ab", ["zzzz", "ab", "abc"], model=model, **arguments)
    return [result.index for result in ranking.results]


async def test_documents_are_ranked_by_cosine_or_by_the_provider(autojump_clock: trio.testing.MockClock) -> None:
    async with open_doubles(latency=1) as lake:
        assert (await rank(lake, ""))[0] == 1
        assert await rank(lake, "", top_n=1) == [1]
        scores = [{"index": 2, "relevance_score": 0.1}, {"index": 0, "relevance_score": 0.9}]
        lake.providers.answers["openrouter", "/rerank"] = lambda _: {"results": scores}
        assert await rank(lake, "openrouter/cohere/rerank", top_n=2) == [0, 2]
        assert lake.providers.calls[-1][2]["top_n"] == 2
        scores[0]["index"] = 3
        with pytest.raises(ErrUpstream, match="ranked documents that it was not given"):
            await rank(lake, "openrouter/cohere/rerank")
