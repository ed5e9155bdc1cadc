"""`/embed` over real HTTP: the original's gates, the additions, and what is refused."""

from __future__ import annotations

import math
from array import array
from base64 import b64decode
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from lakehouse.config import EmbeddTable
from tests.services.embedd.embedd_kit import DIMENSION, hash_vector, open_embedd, open_fake_ollama

MODEL = "wordllama-256"


def cosine(left: list[float], right: list[float]) -> float:
    def product(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    return product(left, right) / math.sqrt(product(left, left) * product(right, right))


async def test_one_text_has_one_vector(tmp_path: Path) -> None:
    """GOLAKE-050 with the packaged model: the dimension, one vector of that length, not zero, the model named."""
    async with open_embedd(tmp_path) as embedd:
        answer = (await embedd.embed("hello")).json()
        [vector] = answer["vectors"]
        assert (answer["model"], answer["dimension"], len(vector)) == (MODEL, 256, 256)
        assert sum(value * value for value in vector) == pytest.approx(1.0)
        assert (answer["semantic"], answer["truncated"], answer["usage"]) == ("words", [], {"tokens": 1, "cached": 0})
        named = (await embedd.embed("hello", model=MODEL)).json()
        assert (named["vectors"], named["usage"]["cached"]) == ([vector], 1)


async def test_four_texts_rank_as_expected(tmp_path: Path) -> None:
    """GOLAKE-051: the nearest of four documents to each question is the one about it."""
    documents = [
        "the forklift operator lifts pallets in the warehouse",
        "a welder joins steel beams with an electric arc",
        "the nurse cares for patients in the hospital",
        "a software developer writes computer programs",
    ]
    questions = ["driving a forklift", "welding steel", "hospital nurse", "computer programmer software"]
    async with open_embedd(tmp_path) as embedd:
        vectors = (await embedd.embed(*documents, *questions)).json()["vectors"]
        for number, question in enumerate(vectors[4:]):
            scores = [cosine(question, document) for document in vectors[:4]]
            assert scores.index(max(scores)) == number


@pytest.mark.parametrize("legacy", [False, True], ids=["now", "as-of-old"])
async def test_the_offline_gates(tmp_path: Path, legacy: bool) -> None:
    """Offline 4/4: dimension 768, same text same vector, other text other vector, an unknown model fails."""
    async with open_fake_ollama(legacy=legacy) as ollama:
        table = EmbeddTable(provider_url=ollama.upstream.url, default_model="nomic-embed-text", cache_size=0)
        async with open_embedd(tmp_path, table) as embedd:
            first, again, other = [(await embedd.embed(text)).json() for text in ("one", "one", "other")]
            assert (first["model"], first["dimension"]) == ("nomic-embed-text", DIMENSION)
            assert first["vectors"] == again["vectors"] != other["vectors"]
            assert array("f", first["vectors"][0]) == array("f", hash_vector("one")), "as the model gave it"
            refused = await embedd.embed("one", model="no-such-model")
            assert (refused.status_code, refused.json()["error"]["code"]) == (502, "ErrUpstream")
            assert refused.json()["error"]["class"] == "model_not_found"
            assert set(ollama.calls()) == ({"/api/embed", "/api/embeddings"} if legacy else {"/api/embed"})


async def test_a_batch_keeps_its_order_and_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    async with open_fake_ollama() as ollama:
        table = EmbeddTable(provider_url=ollama.upstream.url, default_model="nomic-embed-text")
        async with open_embedd(tmp_path, table) as embedd:
            await embedd.embed("b")
            answer = (await embedd.embed("a", "b", "c", "a")).json()
            assert [len(vector) for vector in answer["vectors"]] == [DIMENSION] * 4
            assert [vector[0] for vector in answer["vectors"]] == [hash_vector(text)[0] for text in "abca"]
            assert ollama.upstream.requests[1].json["input"] == ["a", "c"]
            stats = (await embedd.http.get("/embed/stats")).json()
            assert stats == {"hits": 1, "misses": 4, "hit_rate": 0.2, "size": 3}
            assert (await embedd.http.get("/v1/embed/stats")).json() == stats


async def test_the_other_spellings(tmp_path: Path) -> None:
    async with open_embedd(tmp_path) as embedd:
        plain = (await embedd.embed("a", "b")).json()
        for body in ({"input": ["a", "b"]}, {"texts": ["a", "b"], "kind": "query"}):
            assert (await embedd.http.post("/v1/embed", json=body)).json()["vectors"] == plain["vectors"]
        assert (await embedd.http.post("/embed", json={"input": "a"})).json()["vectors"] == plain["vectors"][:1]
        coded = (await embedd.embed("a", "b", encoding="base64")).json()
        decoded = [array("f", b64decode(text)).tolist() for text in coded["vectors"]]
        assert coded["semantic"] == "words"
        assert decoded == [array("f", vector).tolist() for vector in plain["vectors"]], "the digits are enough"
        for field in ("dimension", "dimensions"):
            cut = (await embedd.embed("a", **{field: 64})).json()
            assert (cut["dimension"], len(cut["vectors"][0])) == (64, 64)
            assert cosine(cut["vectors"][0], plain["vectors"][0][:64]) == pytest.approx(1.0)


async def test_a_text_that_is_too_long(tmp_path: Path) -> None:
    long = "word " * 9_000
    async with open_embedd(tmp_path) as embedd:
        refused = await embedd.embed("a", long)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["details"]["item"]) == (422, "ErrUnprocessable", 1)
        assert "`texts[1]` has 9001 tokens" in error["message"]
        other = await embedd.http.post("/embed", json={"input": ["a", long]})
        assert "`input[1]` has 9001 tokens" in other.json()["error"]["message"]
        cut = (await embedd.embed("a", long, truncate=True)).json()
        assert cut["truncated"] == [1]
        assert (await embedd.embed("a", long)).status_code == 422, "though its beginning is in the cache"


REFUSED: dict[str, tuple[bytes | dict[str, Any], int, str]] = {
    "not JSON": (b'{"texts": [', 400, ""),
    "empty": (b"", 400, ""),
    "no texts": ({}, 400, "texts"),
    "no text": ({"texts": []}, 400, "texts"),
    "an empty text": ({"texts": ["a", ""]}, 400, "texts[1]"),
    "an empty input": ({"input": ["a", "b", ""]}, 400, "input[2]"),
    "not a text": ({"texts": ["a", 1]}, 400, "texts[1]"),
    "both": ({"texts": ["a"], "input": ["a"]}, 400, "input"),
    "unknown field": ({"texts": ["a"], "text": "a"}, 400, "text"),
    "dimension of no use": ({"texts": ["a"], "dimension": 0}, 400, "dimension"),
    "dimensions of no use": ({"texts": ["a"], "dimensions": 0}, 400, "dimensions"),
    "another dimension": ({"texts": ["a"], "dimension": 100}, 400, "dimension"),
    "two dimensions": ({"texts": ["a"], "dimension": 64, "dimensions": 128}, 400, "dimensions"),
    "too many": ({"texts": ["a"] * 5_000}, 400, "texts"),
    "a provider without its key": ({"texts": ["a"], "model": "openrouter/m"}, 404, ""),
    "no Ollama": ({"texts": ["a"], "model": "nomic"}, 404, ""),
    "a name too long": ({"texts": ["a"], "model": "m" * 600}, 400, "model"),
}


async def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GOLAKE-080, 081 among them."""
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    async with open_embedd(tmp_path) as embedd:
        for name, (body, status, field) in REFUSED.items():
            sent = {"content": body} if isinstance(body, bytes) else {"json": body}
            answer = await embedd.http.post("/embed", **sent)
            assert answer.status_code == status, (name, answer.text)
            assert not field or f"`{field}`" in answer.json()["error"]["message"], (name, answer.text)
        large = partial(httpx.post, f"http://127.0.0.1:{embedd.port}/embed", content=b"x" * 17 * 2**20, trust_env=False)
        assert (await trio.to_thread.run_sync(large)).status_code == 413
        assert (await embedd.http.get("/embed")).status_code == 405
        assert (await embedd.http.post("/embed/other")).status_code == 404


async def test_the_list_of_models(tmp_path: Path) -> None:
    async with open_fake_ollama() as ollama:
        table = EmbeddTable(provider_url=ollama.upstream.url, model=str(tmp_path / "my-model.gguf"))
        async with open_embedd(tmp_path / "lake", table) as embedd:
            models = {model["id"]: model for model in (await embedd.http.get("/embed/models")).json()["models"]}
            assert list(models) == [MODEL, "all-minilm-l6-v2", "my-model", "nomic-embed-text"]
            assert [name for name, model in models.items() if model["default"]] == [MODEL]
            assert (models[MODEL]["dimensions"], models[MODEL]["semantic"]) == ([64, 128, 256], "words")
            assert not models["my-model"]["available"]
            assert "there is no file" in models["my-model"]["missing"]
            refused = await embedd.embed("a", model="my-model")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ErrUnavailable")


async def test_the_client_leaves_and_the_provider_is_left_at_once(tmp_path: Path) -> None:
    async with open_fake_ollama() as ollama:
        ollama.hold = True
        table = EmbeddTable(provider_url=ollama.upstream.url, default_model="nomic-embed-text")
        async with open_embedd(tmp_path, table) as embedd:
            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(lambda: embedd.embed(*[f"text {n}" for n in range(300)]))
                    while len(ollama.upstream.requests) < 2:
                        await trio.sleep(0.005)
                    nursery.cancel_scope.cancel()
                while ollama.left < 2:
                    await trio.sleep(0.002)
            await trio.sleep(0.05)
            assert len(ollama.upstream.requests) == 2, "nothing more is asked for"
