"""`/matrix/context`: numbered passages with their sources, within a number of tokens."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakehouse.services.contracts.retrieval import Hit, Item
from lakehouse.services.matrixd.context import describe_source
from lakehouse.services.matrixd.playbooks import read_playbooks
from tests.services.matrixd.embedder_double import EMBEDDED, pack
from tests.services.matrixd.matrix_kit import item, open_matrix


async def test_passages_are_numbered_and_name_their_source() -> None:
    async with open_matrix() as matrix:
        await matrix.fill(
            "manual",
            item("guide.pdf#2", text="aaaa is an answer", source="guide.pdf", page=4, heading="On a"),
            item("b", text="ab", source="other.md"),
            model=EMBEDDED,
        )
        await matrix.fill("workers", item("w", 0.1, 1, 1, text="Ada, a welder"), item("v", 0.1, 1, 1, name="Bob"))
        await matrix.fill("silent", item("s", 1, 0, 0))
        answer = await matrix.post("context", corpora=["manual", "workers", "silent"], query_text="a")
        assert answer["text"] == (
            '[1] manual/guide.pdf#2, "On a", page 4\naaaa is an answer\n\n'
            "[2] manual/b, other.md\nab\n\n"
            "[3] workers/w\nAda, a welder\n\n"
            '[4] workers/v\n{"name": "Bob"}'
        )
        first = answer["passages"][0]
        assert {key: first[key] for key in ("n", "corpus", "id", "text")} == {
            "n": 1,
            "corpus": "manual",
            "id": "guide.pdf#2",
            "text": "aaaa is an answer",
        }
        assert first["metadata"] == {"source": "guide.pdf", "page": 4, "heading": "On a"}
        assert (answer["omitted"], answer["per_corpus"]) == (0, {"manual": 2, "workers": 2, "silent": 1})


async def test_the_budget_cuts_the_first_passage_and_leaves_others_out() -> None:
    async with open_matrix() as matrix:
        await matrix.fill(
            "x", item("1", text="a" * 20), item("2", text="ab " * 40), item("3", text="cc"), model=EMBEDDED
        )
        body: dict[str, Any] = {"corpora": ["x"], "query_text": "a"}
        answer = await matrix.post("context", **body, max_tokens=14)
        assert [passage["id"] for passage in answer["passages"]] == ["1", "3"]
        assert (answer["omitted"], answer["passages"][1]["n"]) == (1, 2)
        assert len(answer["text"]) <= 14 * 4
        answer = await matrix.post("context", corpora=["x"], query_text="ab", max_tokens=5)
        assert answer["passages"][0]["text"].endswith("…")
        assert len(answer["text"]) <= 20
        assert (await matrix.post("context", 400, **body, max_tokens=0))["error"]["message"].startswith("`max_tokens`")


@pytest.mark.parametrize("metadata", [b'{"a":1e999}', b'{"a":"\xff"}'])
async def test_stored_metadata_that_cannot_be_decoded_is_none(metadata: bytes) -> None:
    async with open_matrix() as matrix:
        bad = Item(id="bad", vector=pack(1, 0, 0), metadata=metadata)
        await matrix.fill("x", bad, item("good", 1, 0, 0, a=1, text="found"))
        answer = await matrix.post("search", corpora=["x"], query_vector=[1, 0, 0], metadata_filter={"a": 1})
        assert ([hit["id"] for hit in answer["results"]], answer["dropped_by_filter"]) == (["good"], 1)
        answer = await matrix.post("context", corpora=["x"], query_vector=[1, 0, 0], query_text="a")
        assert [passage["text"] for passage in answer["passages"]] == ["found"]
    hit = Hit(id="bad", distance=0.0, corpus="x", metadata=msgspec.Raw(metadata))
    assert (describe_source(hit), read_playbooks([hit])) == ("x/bad", [])
