"""`/v1/embeddings` with OpenAI's own client, which asks for base64, and `/v1/rerank`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import openai
import pytest
import trio

from lakehouse.config import EmbeddTable
from tests.services.embedd.embedd_kit import DIMENSION, EmbeddServer, hash_vector, open_embedd, open_fake_ollama

T = TypeVar("T")
MODEL = "wordllama-256"
ClientCall = Callable[..., Any]


@asynccontextmanager
async def open_client(embedd: EmbeddServer) -> AsyncIterator[Callable[..., Any]]:
    """A function that calls `client.embeddings.create` in a thread: OpenAI's async client needs asyncio."""
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{embedd.port}/v1", api_key="any", max_retries=0)

    async def create(**arguments: Any) -> openai.types.CreateEmbeddingResponse:
        return await trio.to_thread.run_sync(partial(client.embeddings.create, **arguments))

    with client:
        yield create


async def test_openai_s_client_gets_the_same_vectors_in_both_encodings(tmp_path: Path) -> None:
    async with open_embedd(tmp_path) as embedd, open_client(embedd) as create:
        coded = await create(model=MODEL, input=["one text", "another"])
        plain = await create(model=MODEL, input=["one text", "another"], encoding_format="float")
        assert (coded.object, coded.model, [item.index for item in coded.data]) == ("list", MODEL, [0, 1])
        for left, right in zip(coded.data, plain.data, strict=True):
            assert left.embedding == pytest.approx(right.embedding, abs=1e-8)
            assert len(left.embedding) == 256
        assert coded.usage.prompt_tokens == coded.usage.total_tokens == 3
        single = await create(model=MODEL, input="one text", dimensions=128)
        assert len(single.data[0].embedding) == 128


async def test_the_model_s_name_selects_ollama(tmp_path: Path) -> None:
    async with open_fake_ollama() as ollama:
        async with open_embedd(tmp_path, EmbeddTable(provider_url=ollama.upstream.url)) as embedd:
            async with open_client(embedd) as create:
                found = await create(model="nomic-embed-text", input=["a"])
                assert found.data[0].embedding == pytest.approx(hash_vector("a"), rel=1e-6)
                assert len(found.data[0].embedding) == DIMENSION
                with pytest.raises(openai.NotFoundError) as raised:
                    await create(model="none", input=["a"])
                assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("arguments", "status", "param"),
    [
        ({"input": []}, 400, "input"),
        ({"input": ["a", ""]}, 400, "input[1]"),
        ({"input": [1, 2, 3]}, 400, "input"),
        ({"input": [0, 1]}, 400, "input"),
        ({"input": [[1, 2], [3]]}, 400, "input"),
        ({"input": "a", "dimensions": 100}, 400, "dimensions"),
        ({"input": "word " * 9_000}, 422, "input[0]"),
        ({"input": "a", "model": "openrouter/m"}, 404, "model"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_errors_are_openai_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], status: int, param: str
) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    async with open_embedd(tmp_path) as embedd, open_client(embedd) as create:
        with pytest.raises(openai.APIStatusError) as raised:
            await create(**{"model": MODEL, **arguments})
        assert raised.value.status_code == status
        assert raised.value.param == param
        assert raised.value.type == "invalid_request_error"


async def test_documents_are_ranked(tmp_path: Path) -> None:
    documents = ["a recipe for bread", "how to list the files of a directory", "the capital of France"]
    body: dict[str, Any] = {"query": "list files", "documents": documents}
    async with open_embedd(tmp_path) as embedd:
        answer = (await embedd.http.post("/v1/rerank", json=body)).json()
        assert (answer["model"], answer["method"]) == (MODEL, "cosine")
        assert sorted(result["index"] for result in answer["results"]) == [0, 1, 2]
        assert answer["results"][0]["index"] == 1
        scores = [result["relevance_score"] for result in answer["results"]]
        assert scores == sorted(scores, reverse=True)
        assert answer["usage"]["total_tokens"] > 0
        first = await embedd.http.post("/rerank", json={**body, "top_n": 1, "return_documents": True})
        assert [result["document"] for result in first.json()["results"]] == [{"text": documents[1]}]
        objects = [{"text": text} for text in documents]
        again = await embedd.http.post("/rerank", json={**body, "documents": objects})
        assert again.json()["results"] == answer["results"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": "", "documents": ["a"]}, "query"),
        ({"query": "a"}, "documents"),
        ({"query": "a", "documents": []}, "documents"),
        ({"query": "a", "documents": ["a", ""]}, "documents[1]"),
        ({"query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
        ({"query": "a", "documents": ["a"] * 5_000}, "documents"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_what_rerank_refuses(tmp_path: Path, body: dict[str, Any], field: str) -> None:
    async with open_embedd(tmp_path) as embedd:
        answer = await embedd.http.post("/rerank", json=body)
        assert answer.status_code == 400
        assert f"`{field}`" in answer.json()["error"]["message"]
