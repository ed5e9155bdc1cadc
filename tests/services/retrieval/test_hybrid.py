"""The scores of a hybrid search follow the formulas of docs/retrieval.md, computed here again from the signals of hits."""

from __future__ import annotations

import msgspec
import pytest
import trio

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.retrieval import CorpusQuery, Hit, IndexOptions, Item, RetrievalEngine, SearchQuery
from lakehouse.services.embedding.names import WORDLLAMA
from tests.services.retrieval.conftest import SharedEngine
from tools.kit.retrieval_engine import vector

WORDS = ["river", "bridge", "stone", "winter", "boat", "market", "garden", "letter", "window", "horse"]
TEXTS = [f"The {WORDS[at % 10]} and the {WORDS[at * 3 % 10]} of {WORDS[at // 10 % 10]} {at}." for at in range(160)]
QUESTION = SearchQuery(text="a stone bridge over the river", k=60, mode="hybrid", with_scores=True)


async def ensure_index(engine: RetrievalEngine, name: str, *, texts: list[str] | None = None) -> None:
    if name in [info.name for info in await engine.list_indexes()]:
        return
    await engine.create_index(IndexOptions(name=name, model=WORDLLAMA))
    await engine.add(name, [Item(id=text, text=text) for text in texts or TEXTS])
    while (await engine.get_index(name)).keyword_lag:
        await trio.sleep(0.02)


async def ask(engine: RetrievalEngine, query: SearchQuery, name: str = "words") -> list[Hit]:
    return (await engine.search(name, query)).decode()


def signals(hits: list[Hit]) -> list[tuple[float, float, float | None]]:
    """BM25 (0 where there is none), cosine and token match of each hit."""
    found = []
    for hit in hits:
        assert hit.scores is not None
        assert hit.scores.cosine is not None
        found.append((hit.scores.keyword or 0.0, hit.scores.cosine, hit.scores.token))
    return found


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.4, 1.0])
def test_a_weight_gives_the_share_of_the_vectors(shared: SharedEngine, weight: float) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_index(engine, "few", texts=TEXTS[:80])
        hits = await ask(engine, msgspec.structs.replace(QUESTION, k=1000, weight=weight), "few")
        found = signals(hits)
        best = max(keyword for keyword, _, _ in found)
        low, high = min(cosine for _, cosine, _ in found), max(cosine for _, cosine, _ in found)
        assert len(found) == 80  # all are candidates, and the keyword list has all matches
        expected = [(1 - weight) * k / best + weight * (c - low) / (high - low) for k, c, _ in found]
        assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-5)
        assert [hit.score for hit in hits] == sorted((hit.score or 0 for hit in hits), reverse=True)
        assert {token for _, _, token in found} == {None}

    shared.run(story)


def test_token_match_orders_the_best_anew(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_index(engine, "few", texts=TEXTS[:80])
        plain = signals(await ask(engine, msgspec.structs.replace(QUESTION, k=1000, rerank="none"), "few"))
        best = max(keyword for keyword, _, _ in plain)
        low, high = min(cosine for _, cosine, _ in plain), max(cosine for _, cosine, _ in plain)
        hits = await ask(engine, QUESTION, "few")
        assert len(hits) == QUESTION.k
        for hit, (keyword, cosine, token) in zip(hits, signals(hits), strict=True):
            assert token is not None
            assert 0 <= token <= 1
            expected = 0.25 * keyword / best + 0.35 * (cosine - low) / (high - low) + 0.4 * token
            assert hit.score == pytest.approx(expected, abs=1e-5)
        scores = [hit.score or 0 for hit in hits]
        assert scores == sorted(scores, reverse=True)
        exact = next(hit for hit in hits if "stone" in hit.id and "bridge" in hit.id)
        assert hits.index(exact) < 10

    shared.run(story)


def test_a_weight_turns_token_match_off_unless_it_is_asked_for(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_index(engine, "words")
        weighted = msgspec.structs.replace(QUESTION, weight=0.4)
        unranked = await ask(engine, msgspec.structs.replace(QUESTION, rerank="none"))
        assert await ask(engine, weighted) == unranked
        assert await ask(engine, msgspec.structs.replace(weighted, rerank="tokens")) == await ask(engine, QUESTION)

    shared.run(story)


def test_token_match_needs_the_tokens_of_the_embedded_model(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await engine.create_index(IndexOptions(name="other", dimension=2, model="another-model"))
        await engine.add("other", [Item(id="1", vector=vector(1, 0), text="a word")], model="another-model")
        query = SearchQuery(text="word", vector=vector(1, 1), mode="hybrid")
        assert [hit.id for hit in await ask(engine, query, "other")] == ["1"]
        with pytest.raises(ErrBadRequest, match="embedded model") as caught:
            await engine.search("other", msgspec.structs.replace(query, rerank="tokens"))
        assert caught.value.field == "rerank"

    shared.run(story)


def test_the_scores_of_three_uneven_corpora_are_those_of_one_index(shared: SharedEngine) -> None:
    async def story(engine: RetrievalEngine) -> None:
        await ensure_index(engine, "words")
        for name, texts in (("large", TEXTS[:112]), ("middle", TEXTS[112:152]), ("small", TEXTS[152:])):
            await ensure_index(engine, name, texts=texts)
        corpora = [CorpusQuery(index=name) for name in ("large", "middle", "small")]
        query = msgspec.structs.replace(QUESTION, k=20)
        one = await ask(engine, query)
        three = (await engine.search_many(corpora, query, per_corpus_k=100)).decode()
        rounding = 1e-5 if shared.one_rarity else 0.1
        assert [hit.score for hit in three] == pytest.approx([hit.score for hit in one], abs=rounding)
        if shared.one_rarity:
            assert {hit.id for hit in three[:15]} == {hit.id for hit in one[:15]}
        assert {hit.corpus for hit in three} <= {"large", "middle", "small"}

    shared.run(story)
