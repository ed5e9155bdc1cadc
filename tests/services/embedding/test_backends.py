"""The dialects of the models' servers: Ollama's two, OpenAI's, llama.cpp's; and the names that select them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakehouse.chat.providers.model_router import ModelRouter
from lakehouse.core.errors import ErrBadRequest, ErrProviderNotFound, ErrUnprocessable, ErrUpstream
from lakehouse.services.embedding.decoding import apportion
from lakehouse.services.embedding.names import MINILM, WORDLLAMA
from lakehouse.services.embedding.selection import ModelNames
from lakehouse.services.embedding.vectors import pack
from tests.services.embedding.doubles import Doubles, failure, open_doubles, vector_of


@pytest.mark.parametrize(
    ("name", "found", "kind", "provider", "model"),
    [
        ("", WORDLLAMA, "packaged", "", WORDLLAMA),
        (WORDLLAMA, WORDLLAMA, "packaged", "", WORDLLAMA),
        (MINILM, MINILM, "local", "local", MINILM),
        (f"local/{MINILM}", MINILM, "local", "local", MINILM),
        ("nomic-embed-text:v1.5", "nomic-embed-text:v1.5", "ollama", "ollama", "nomic-embed-text:v1.5"),
        ("ollama/nomic-embed-text", "nomic-embed-text", "ollama", "ollama", "nomic-embed-text"),
        ("ollama/hf.co/user/repo", "ollama/hf.co/user/repo", "ollama", "ollama", "hf.co/user/repo"),
        (f"ollama/{WORDLLAMA}", f"ollama/{WORDLLAMA}", "ollama", "ollama", WORDLLAMA),
        ("openrouter/openai/text-3", "openrouter/openai/text-3", "openai", "openrouter", "openai/text-3"),
        ("embed:cloud", "ollama_cloud/embed", "ollama", "ollama_cloud", "embed"),
    ],
)
def test_a_name_selects_a_model(name: str, found: str, kind: str, provider: str, model: str) -> None:
    names = ModelNames(ModelRouter().target, local=[MINILM])
    selected = names.select(name)
    assert selected == (found, kind, provider, model)
    assert names.select(found) == selected, "the name in an answer selects the same model"


def test_names_that_select_nothing() -> None:
    names = ModelNames(ModelRouter().target, local=[MINILM])
    with pytest.raises(ErrProviderNotFound, match="wordllama-256"):
        names.select("local/other")
    with pytest.raises(ErrBadRequest, match="no model"):
        names.select("openrouter/")
    assert ModelNames(ModelRouter().target, default="nomic").select("").name == "nomic"


def ollama_batch(document: dict[str, Any]) -> object:
    if not document["truncate"] and any(len(text) > 5 for text in document["input"]):
        raise failure("context_overflow", 400)
    count = sum(map(len, document["input"]))
    return {"embeddings": [vector_of(text, 4) for text in document["input"]], "prompt_eval_count": count}


async def test_ollama_takes_a_batch() -> None:
    async with open_doubles() as lake:
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        found = await lake.embedder.embed(["a", "bcd"], model="m")
        assert found.tokens == 4
        assert lake.providers.calls == [
            ("ollama", "/api/embed", {"model": "m", "input": ["a", "bcd"], "truncate": False})
        ]
        cut = await lake.embedder.embed_dimension(["a"], model="m", dimension=4)
        assert (cut.dimension, lake.providers.calls[-1][2]["dimensions"]) == (4, 4)


async def test_ollama_does_not_say_which_text_is_too_long_so_each_is_asked_for() -> None:
    async with open_doubles() as lake:
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        with pytest.raises(ErrUnprocessable, match=r"`texts\[1\]` is longer than the limit of the model m"):
            await lake.embedder.embed(["a", "too long", "b"], model="m")
        found = await lake.embedder.embed(["a", "too long"], model="m", truncate=True)
        assert found.cached == 1


async def test_a_text_that_ollama_has_cut_is_not_taken_for_a_whole_one() -> None:
    async with open_doubles() as lake:
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        found = await lake.embedder.embed(["a", "too long", "b"], model="m", truncate=True)
        assert found.truncated == [1]
        assert [call[2]["input"] for call in lake.providers.calls if call[2]["truncate"]] == [["too long"]]
        with pytest.raises(ErrUnprocessable, match=r"`texts\[0\]` is longer"):
            await lake.embedder.embed(["too long"], model="m")


async def test_an_old_ollama_is_asked_for_one_text_a_call() -> None:
    async with open_doubles() as lake:
        lake.providers.answers["ollama", "/api/embeddings"] = lambda body: {"embedding": vector_of(body["prompt"], 3)}
        found = await lake.embedder.embed(["a", "b", "c"], model="m")
        assert found.vectors == b"".join(pack(vector_of(text, 3)) for text in ("a", "b", "c"))
        await lake.embedder.embed(["d"], model="m")
        paths = [path for _, path, _ in lake.providers.calls]
        assert paths == ["/api/embed", *["/api/embeddings"] * 4], "it is known from then on"
        assert lake.providers.calls[1][2].keys() == {"model", "prompt"}


async def test_an_unknown_model_of_an_old_ollama_is_the_provider_s_failure() -> None:
    async with open_doubles() as lake:

        def refuse(_: object) -> object:
            raise failure("model_not_found", 404)

        lake.providers.answers["ollama", "/api/embeddings"] = refuse
        with pytest.raises(ErrUpstream) as raised:
            await lake.embedder.embed(["a", "b", "c"], model="none")
        assert raised.value.error_class == "model_not_found"


def openai_batch(document: dict[str, Any]) -> object:
    if any(len(text) > 5 for text in document["input"]):
        raise failure("context_overflow", 400)
    size = document.get("dimensions", 4)
    data = [{"index": n, "embedding": vector_of(text, size)} for n, text in enumerate(document["input"])]
    return {"data": data[::-1], "usage": {"prompt_tokens": 10, "total_tokens": 10}}


async def test_a_provider_in_openai_s_form() -> None:
    async with open_doubles() as lake:
        lake.providers.answers["openrouter", "/embeddings"] = openai_batch
        found = await lake.embedder.embed(["a", "bc"], model="openrouter/x/y")
        assert (found.model, found.tokens) == ("openrouter/x/y", 10)
        assert found.vectors == pack(vector_of("a", 4)) + pack(vector_of("bc", 4)), "in the order of the texts"
        assert lake.providers.calls[0][2] == {"model": "x/y", "input": ["a", "bc"], "encoding_format": "float"}
        cut = await lake.embedder.embed(["too long for it"], model="openrouter/x/y", truncate=True)
        assert cut.truncated == [0]
        assert lake.providers.calls[-1][2]["input"] == ["too"]
        with pytest.raises(ErrUnprocessable, match=r"texts\[1\]"):
            await lake.embedder.embed(["a", "too long for it"], model="openrouter/x/y")


async def test_a_dimension_that_the_provider_ignores_is_refused() -> None:
    async with open_doubles() as lake:
        lake.providers.answers["openrouter", "/embeddings"] = openai_batch
        found = await lake.embedder.embed_dimension(["a"], model="openrouter/m", dimension=8)
        assert found.dimension == 8
        lake.providers.answers["openrouter", "/embeddings"] = lambda body: openai_batch({"input": body["input"]})
        with pytest.raises(ErrBadRequest, match="does not cut them to 16"):
            await lake.embedder.embed_dimension(["a"], model="openrouter/m", dimension=16)


async def test_a_dimension_that_ollama_ignores_is_refused() -> None:
    async with open_doubles() as lake:
        lake.providers.answers["ollama", "/api/embed"] = ollama_batch
        with pytest.raises(
            ErrBadRequest, match="has vectors of 4 numbers, and ollama does not cut them to 3"
        ) as raised:
            await lake.embedder.embed_dimension(["a"], model="m", dimension=3)
        assert raised.value.field == "dimension"
        assert lake.embedder.stats().size == 0


async def test_a_dimension_that_an_old_ollama_does_not_know_is_refused() -> None:
    async with open_doubles() as lake:
        lake.providers.answers["ollama", "/api/embeddings"] = lambda body: {"embedding": vector_of(body["prompt"], 4)}
        await lake.embedder.embed(["a"], model="m")
        with pytest.raises(ErrBadRequest, match="ollama does not cut them to 3"):
            await lake.embedder.embed_dimension(["b"], model="m", dimension=3)


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"data": [{"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": []}]},
        {"data": [{"index": 0, "embedding": [1e300]}]},
        {"data": "none"},
        [],
    ],
    ids=str,
)
async def test_an_answer_that_is_not_understood_is_the_provider_s_failure(answer: object) -> None:
    async with open_doubles() as lake:
        lake.providers.answers["openrouter", "/embeddings"] = lambda _: answer
        with pytest.raises(ErrUpstream):
            await lake.embedder.embed(["a"], model="openrouter/m")
        assert lake.embedder.stats().size == 0


async def start_llama(lake: Doubles) -> None:
    server = f"local:{MINILM}"
    lake.providers.answers[server, "/v1/models"] = lambda _: {"data": [{"meta": {"n_ctx_train": 512, "n_embd": 4}}]}
    lake.providers.answers[server, "/tokenize"] = lambda body: {"tokens": [101, *map(ord, body["content"]), 102]}
    lake.providers.answers[server, "/v1/embeddings"] = lambda body: {
        "data": [{"index": n, "embedding": vector_of(str(given), 4)} for n, given in enumerate(body["input"])],
        "usage": {"prompt_tokens": 9},
    }


async def test_llama_cpp_is_given_tokens_where_a_text_may_be_too_long() -> None:
    async with open_doubles() as lake:
        await start_llama(lake)
        found = await lake.embedder.embed(["short", "x" * 10, "y" * 11], model=MINILM, truncate=True)
        assert found.truncated == [2]
        sent = [body["input"] for _, path, body in lake.providers.calls if path == "/v1/embeddings"]
        assert sent == [["short"], ["x" * 10], [[101, *[ord("y")] * 10, 102]]], "the limit is 12 tokens"
        with pytest.raises(ErrUnprocessable, match=r"`texts\[1\]` has 13 tokens .* limit of 12 tokens"):
            await lake.embedder.embed(["a", "z" * 11], model=MINILM)
        with pytest.raises(ErrBadRequest, match="`dimension` must be 4"):
            await lake.embedder.embed_dimension(["a"], model=MINILM, dimension=2)


async def test_the_list_has_the_models_of_ollama_that_embed() -> None:
    async with open_doubles(default="openrouter/m") as lake:
        lake.providers.answers["ollama", "/api/tags"] = lambda _: {
            "models": [
                {"name": "nomic:latest", "details": {"family": "nomic-bert", "embedding_length": 768}},
                {"name": "chat:8b", "details": {"family": "llama"}},
                {"name": "qwen:0.6b", "details": {"family": "qwen3"}, "capabilities": ["embedding"]},
            ]
        }
        found = {model.id: model for model in await lake.embedder.list_models()}
        assert list(found) == [WORDLLAMA, "nomic", "qwen:0.6b", "openrouter/m"]
        assert found["nomic"].dimension == 768
        assert [name for name, model in found.items() if model.default] == ["openrouter/m"]


def test_the_tokens_of_a_batch_are_shared_out() -> None:
    assert apportion(10, ["aa", "b", "aaa"]) == [3, 2, 5]
    assert apportion(None, ["a"]) == [None]
    assert msgspec.json.encode(apportion(7, [])) == b"[]"
