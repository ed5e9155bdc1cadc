"""GOLAKE-050 and 051, G2 and the original's offline gates, on each way to embedd, before and after a kill."""

from __future__ import annotations

import math
from array import array
from base64 import b64decode
from typing import Any

import openai
import pytest

from tests.services.conformance import fake_ollama
from tests.services.conformance.lakes import Lake
from tests.services.conformance.service_cases import call_index

PACKAGED = "wordllama-256"


def embed(lake: Lake, *texts: str, **fields: object) -> Any:
    """The document of an answer of embedd."""
    answer = lake.through("embedd").request("POST", "/embed", json={"texts": texts, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def cosine(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True)) / math.hypot(*left) / math.hypot(*right)


@pytest.mark.parametrize(("model", "dimension"), [(PACKAGED, 256), (fake_ollama.MODEL, fake_ollama.DIMENSION)])
def test_golake_050_one_text(lake: Lake, model: str, dimension: int) -> None:
    answer = embed(lake, "hello", model=model)
    [vector] = answer["vectors"]
    assert (answer["model"], answer["dimension"], len(vector)) == (model, dimension, dimension)
    assert math.hypot(*vector) > 0
    assert embed(lake, "hello", model=model)["usage"]["cached"] == 1


def test_golake_051_four_texts_rank_as_expected(lake: Lake) -> None:
    documents = [
        "the forklift operator lifts pallets in the warehouse",
        "a welder joins steel beams with an electric arc",
        "the nurse cares for patients in the hospital",
        "a software developer writes computer programs",
    ]
    questions = ["driving a forklift", "welding steel", "hospital nurse", "computer programmer software"]
    vectors = embed(lake, *documents, *questions)["vectors"]
    nearest = [max(range(4), key=lambda n: cosine(question, vectors[n])) for question in vectors[4:]]
    assert nearest == [0, 1, 2, 3]


def test_the_offline_gates(lake: Lake, unique: str) -> None:
    first, again, other = (embed(lake, text, model=fake_ollama.MODEL) for text in (unique, unique, f"other {unique}"))
    assert first["dimension"] == 768  # 1
    assert first["vectors"] == again["vectors"]  # 2
    assert first["vectors"] != other["vectors"]  # 3
    assert array("f", first["vectors"][0]) == array("f", fake_ollama.embed(unique)), "as the model gave it"
    body = {"texts": ["a"], "model": "no-such-model"}
    refused = lake.through("embedd").request("POST", "/embed", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "ErrUpstream")  # 4


def test_both_forms_have_the_same_vectors(lake: Lake, unique: str) -> None:
    expected = array("f", embed(lake, unique)["vectors"][0])
    for encoding in ("float", "base64"):
        body = {"input": unique, "model": PACKAGED, "encoding_format": encoding}
        answer = lake.through("embedd").request("POST", "/embeddings", json=body).json()
        given = answer["data"][0]["embedding"]
        assert expected == (array("f", given) if encoding == "float" else array("f", b64decode(given)))
        assert answer["usage"]["prompt_tokens"] > 0


def test_openai_s_client(lake: Lake, unique: str) -> None:
    route = lake.through("embedd")
    url = f"{str(route.http.base_url).rstrip('/')}{route.prefix}"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        answer = client.embeddings.create(model=PACKAGED, input=[unique, "other"])
        expected = embed(lake, unique, "other")["vectors"]
        assert [item.embedding for item in answer.data] == [pytest.approx(vector, abs=1e-8) for vector in expected]
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="no-such-model", input="a")


def test_a_mistake_in_openai_s_form_has_openai_s_envelope(lake: Lake) -> None:
    answer = lake.through("embedd").request("POST", "/embeddings", json={"input": "a", "model": "no-such-model"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (404, "invalid_request_error", "model_not_found")


def test_a_text_too_long_is_named(lake: Lake) -> None:
    answer = lake.through("embedd").request("POST", "/embed", json={"texts": ["a", "word " * 9_000]})
    assert (answer.status_code, answer.json()["error"]["details"]["item"]) == (422, 1)
    assert embed(lake, "a", "word " * 9_000, truncate=True)["truncated"] == [1]


@pytest.mark.parametrize(("model", "dimension"), [(PACKAGED, 256), (fake_ollama.MODEL, fake_ollama.DIMENSION)])
def test_g2_smoke_a_text_is_found_by_its_own_vector(lake: Lake, unique: str, model: str, dimension: int) -> None:
    texts = ["staff in the kitchen", "staff of the warehouse", "a forklift and its driver"]
    answer = embed(lake, *texts, model=model)
    assert answer["dimension"] == dimension  # 1
    assert len(answer["vectors"]) == len(texts)  # 2
    assert call_index(lake, "POST", "", {"name": unique, "dimension": dimension}).status_code == 201  # 3
    items = [{"id": text, "vector": vector} for text, vector in zip(texts, answer["vectors"], strict=True)]
    assert call_index(lake, "POST", f"/{unique}/add", {"items": items}).status_code == 200  # 4
    [again] = embed(lake, texts[1], model=model)["vectors"]
    nearest = call_index(lake, "POST", f"/{unique}/search", {"vector": again, "k": 1}).json()["results"][0]
    assert (nearest["id"], nearest["distance"]) == (texts[1], pytest.approx(0, abs=5e-7))  # 5: 5.96e-8 of old
