"""The bodies of requests: what is refused, with the position of the item and the field, before the engine is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio

from lakehouse.services.contracts.retrieval import IndexOptions
from tests.services.memory_engine import EMBEDDED
from tests.services.vectord.vectord_kit import Vectord, open_vectord
from tools.kit.http_stream import HttpStream

GOOD = {"id": "good", "vector": [1, 0]}

CREATIONS: dict[str, tuple[dict[str, object], int, str]] = {
    "no name": ({"dimension": 2}, 400, "`name` is required"),
    "an empty name": ({"name": "", "dimension": 2}, 400, "`name` is required"),
    "dots in the name": ({"name": "a/../b", "dimension": 2}, 400, "`name`"),
    "a control character": ({"name": "a\nb", "dimension": 2}, 400, "`name`"),
    "a long name": ({"name": "x" * 201, "dimension": 2}, 400, "`name`"),
    "neither dimension nor model": ({"name": "x"}, 400, "`dimension` is required"),
    "dimension 0": ({"name": "x", "dimension": 0}, 400, "`dimension`"),
    "a huge dimension": ({"name": "x", "dimension": 10**6}, 400, "`dimension`"),
    "a dimension that is text": ({"name": "x", "dimension": "4"}, 400, "`dimension`"),
    "an unknown distance": ({"name": "x", "dimension": 2, "distance": "manhattan"}, 400, "`distance`"),
    "an unknown type of a field": ({"name": "x", "dimension": 2, "fields": {"a": "date"}}, 400, "fields"),
    "an unknown member": ({"name": "x", "dimension": 2, "shards": 2}, 400, "`shards`"),
}

ITEMS: dict[str, tuple[object, str]] = {
    "no id": ({"vector": [1, 0]}, "id"),
    "an empty id": ({"id": "", "vector": [1, 0]}, "id"),
    "an id that is a number": ({"id": 7, "vector": [1, 0]}, "id"),
    "a long id": ({"id": "x" * 1025, "vector": [1, 0]}, "id"),
    "an id with NUL": ({"id": "a\0", "vector": [1, 0]}, "id"),
    "neither vector nor text": ({"id": "x"}, "vector"),
    "an empty vector": ({"id": "x", "vector": []}, "vector"),
    "a text in the vector": ({"id": "x", "vector": [1, "0"]}, "vector[1]"),
    "null in the vector": ({"id": "x", "vector": [None, 1]}, "vector[0]"),
    "NaN": ({"id": "x", "vector": [1, float("nan")]}, "vector"),
    "infinity": ({"id": "x", "vector": [float("-inf"), 1]}, "vector"),
    "a number beyond 32 bits": ({"id": "x", "vector": [1e39, 1]}, "vector"),
    "metadata that is a list": ({"id": "x", "vector": [1, 0], "metadata": [1]}, "metadata"),
    "another member": ({"id": "x", "vector": [1, 0], "vectors": []}, "vectors"),
    "a text without a model": ({"id": "x", "text": "words"}, "vector"),
}

SEARCHES: dict[str, tuple[dict[str, object], str]] = {
    "neither vector nor text": ({}, "`vector` or `text`"),
    "k of 0": ({"vector": [1, 0], "k": 0}, "`k`"),
    "k below 0": ({"vector": [1, 0], "k": -1}, "`k`"),
    "k that is a fraction": ({"vector": [1, 0], "k": 1.5}, "`k`"),
    "k that is text": ({"vector": [1, 0], "k": "3"}, "`k`"),
    "an empty vector": ({"vector": []}, "`vector` is empty"),
    "NaN": ({"vector": [float("nan"), 0]}, "NaN"),
    "an empty text": ({"text": " "}, "`text` is empty"),
    "an unknown mode": ({"vector": [1, 0], "mode": "exact"}, "`mode`"),
    "words without a text": ({"vector": [1, 0], "mode": "hybrid"}, "`mode`"),
    "a weight above 1": ({"vector": [1, 0], "weight": 2}, "`weight`"),
    "a filter that is a list": ({"vector": [1, 0], "filter": []}, "`filter`"),
    "an unknown part": ({"vector": [1, 0], "with": ["vectors"]}, "with"),
    "a text for an index without a model": ({"text": "words", "mode": "vector"}, "`vector` is required"),
    "another member": ({"vector": [1, 0], "top_k": 3}, "`top_k`"),
}


async def _post_raw(vectord: Vectord, path: str, document: object) -> tuple[int, dict[str, Any]]:
    """Post JSON as Python writes it, NaN included."""
    answer = await vectord.client.post(f"/vectors/index{path}", content=json.dumps(document))
    return answer.status_code, answer.json().get("error", {})


async def test_creations(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        for name, (document, status, words) in CREATIONS.items():
            found, error = await _post_raw(vectord, "", document)
            assert (name, found, words in error["message"]) == (name, status, True), error
        assert vectord.engine.indexes == {}
        made = await vectord.post("", {"name": "a b/ü", "dimension": 2, "m": 16, "M": 16, "ef_search": 64}, 201)
        assert (made["name"], made["dimension"], made["distance"], made["model"]) == ("a b/ü", 2, "cosine", None)
        assert (made["length"], made["exact"], made["recall"], made["source"]) == (0, True, 1.0, None)
        assert (await vectord.error("", {"name": "a b/ü", "dimension": 2}))[0] == 409
        answer = await vectord.client.get("/vectors/index/a%20b/%C3%BC")
        assert answer.json() == made
        assert (await vectord.client.get("/vectors/index")).json() == {"indexes": [made], "count": 1}


async def test_an_index_with_a_model_has_its_dimension(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        assert (await vectord.post("", {"name": "a", "model": "default"}, 201))["model"] == EMBEDDED
        assert vectord.embedder.calls == []  # the engine has that model
        assert (await vectord.post("", {"name": "b", "model": "ollama/m"}, 201))["dimension"] == 9
        vectord.embedder.calls.clear()
        assert (await vectord.post("", {"name": "c", "model": "ollama/m", "dimension": 9}, 201))["model"] == "ollama/m"
        assert vectord.embedder.calls == []  # a dimension that is given needs no model that answers


async def test_an_item_that_is_wrong_is_named_and_nothing_of_its_batch_is_added(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        await vectord.post("", {"name": "i", "dimension": 2}, 201)
        for name, (item, field) in ITEMS.items():
            status, error = await _post_raw(vectord, "/i/add", {"items": [GOOD, item, GOOD]})
            assert (name, status, error["details"]["item"]) == (name, 400, 1), error
            assert f"`items[1].{field}`" in error["message"]
        wrong: tuple[object, ...] = ({}, {"vectors": [GOOD]}, {"items": "x"}, {"items": [GOOD], "more": 1}, [])
        for body in wrong:
            assert (await _post_raw(vectord, "/i/add", body))[0] == 400
        assert (await _post_raw(vectord, "/none/add", {"items": [GOOD]}))[0] == 404
        assert vectord.engine.writes == []
        assert (await vectord.post("/i/add", {"items": [GOOD]}))["added"] == 1
        assert (await vectord.post("/i/add", {"items": []}))["length"] == 1


async def test_searches_that_cannot_be(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        await vectord.post("", {"name": "i", "dimension": 2}, 201)
        for name, (document, words) in SEARCHES.items():
            status, error = await _post_raw(vectord, "/i/search", document)
            assert (name, status, words in error["message"]) == (name, 400, True), error
        assert (await _post_raw(vectord, "/none/search", {"vector": [1, 0]}))[0] == 404
        assert (await _post_raw(vectord, "/none/search", {"text": "x"}))[0] == 404


async def test_other_mistakes(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        await vectord.post("", {"name": "i", "dimension": 2}, 201)
        for document in ({}, {"ids": ["a"], "filter": {"x": 1}}, {"filter": [1]}, {"ids": "a"}):
            assert (await vectord.error("/i/items", document, "DELETE"))[0] == 400
            assert (await vectord.error("/i/delete", document))[0] == 400
        for path, method, allowed in (
            ("/vectors/index/i/search", "GET", "OPTIONS, POST"),
            ("/vectors/index/i/items", "POST", "DELETE, OPTIONS"),
            ("/vectors/index", "DELETE", "GET, HEAD, OPTIONS, POST"),
        ):
            answer = await vectord.client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert (await vectord.client.get("/vectors/index/")).status_code == 404
        assert (await vectord.client.get("/vectors/index/%ff")).status_code == 400
        head = f"POST /vectors/index/i/add HTTP/1.1\r\nhost: lake\r\ncontent-length: {64 * 2**20 + 1}\r\n\r\n"
        url = vectord.client.base_url
        async with HttpStream(await trio.open_tcp_stream(url.host, url.port or 0)) as stream:
            await stream.send(head.encode())
            start, _ = await stream.head()
            assert b" 413 " in start
        text = await vectord.client.post("/vectors/index/i/add", content=b"[]", headers={"content-type": "text/plain"})
        assert text.status_code == 415


async def test_a_text_that_is_too_long_for_the_model_is_named_unless_it_may_be_cut(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        await vectord.post("", {"name": "i", "model": "ollama/m"}, 201)
        items = [{"id": "a", "vector": [1] * 9}, {"id": "b", "text": "short"}, {"id": "c", "text": "too long"}]
        status, message, details = await vectord.error("/i/add", {"items": items})
        assert (status, details) == (422, {"item": 2})
        assert "`items[2].text`" in str(message)
        assert (await vectord.post("/i/add", {"items": items, "truncate": True}))["added"] == 3


async def test_a_query_of_another_model_is_a_conflict_and_an_index_made_again_is_noticed(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        await vectord.post("", {"name": "i", "model": "ollama/m"}, 201)
        await vectord.post("/i/add", {"items": [{"id": "a", "text": "tea"}, {"id": "b", "text": "iron ore"}]})
        found = await vectord.post("/i/search", {"text": "tea", "k": 1, "with": ["text"]})
        assert [(hit["id"], hit["text"]) for hit in found["results"]] == [("a", "tea")]
        assert (found["exact"], found["model"]) == (True, "ollama/m")
        assert (await vectord.error("/i/search", {"text": "tea", "model": "default"}))[0] == 409
        assert (await vectord.error("/i/search", {"vector": [1] * 9, "model": "ollama/other"}))[0] == 409

        del vectord.engine.indexes["i"]  # another service has the same engine
        await vectord.engine.create_index(IndexOptions(name="i", model=EMBEDDED))
        assert (await vectord.post("/i/search", {"text": "tea"}))["model"] == EMBEDDED
