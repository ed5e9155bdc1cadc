"""The original's gates of matrixd: matrix 7, playbook, relevance 3, downgrade 6."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from tests.services.conformance.lakes import Lake
from tests.services.conformance.service_cases import fill_index, post_matrix


def at_distance(distance: float) -> list[float]:
    """A vector at this cosine distance from [1, 0, 0, 0]."""
    cosine = 1 - distance
    return [cosine, math.sqrt(1 - cosine * cosine), 0, 0]


def beside(vector: Sequence[float], distance: float) -> list[float]:
    """A vector of the same length at this cosine distance from another one."""
    norm = math.hypot(*vector)
    unit = [number / norm for number in vector]
    other = [-unit[1], unit[0], *([0.0] * (len(unit) - 2))]
    size = math.hypot(*other)
    cosine = 1 - distance
    sine = math.sqrt(1 - cosine * cosine) / size
    return [norm * (cosine * one + sine * two) for one, two in zip(unit, other, strict=True)]


def test_matrix_smoke(lake: Lake, unique: str) -> None:
    corpora = [f"a_{unique}", f"b_{unique}"]
    for corpus, letter, distances in zip(corpora, "ab", ((0.1, 0.5, 0.9), (0.05, 0.4, 0.8)), strict=True):
        names = ("near", "middle", "far")
        items: list[dict[str, Any]] = [
            {"id": f"{letter}-{name}", "vector": at_distance(distance), "metadata": {"corpus": letter, "place": name}}
            for name, distance in zip(names, distances, strict=True)
        ]
        fill_index(lake, corpus, 4, items)
    listed = lake.through("matrixd").request("GET", "/matrix/corpora").json()
    assert set(corpora) <= {index["name"] for index in listed["indexes"]}  # 1
    assert listed == lake.through("vectord").request("GET", "/vectors/index").json()
    body = {"corpora": corpora, "query_vector": [1, 0, 0, 0], "k": 6}
    answer = post_matrix(lake, "search", body)
    results = answer["results"]
    assert answer["per_corpus"] == dict.fromkeys(corpora, 3)
    assert {hit["corpus"] for hit in results} == set(corpora)  # 2
    assert [(hit["id"], hit["distance"]) for hit in results[:2]] == [
        ("b-near", pytest.approx(0.05, abs=1e-6)),
        ("a-near", pytest.approx(0.1, abs=1e-6)),
    ]  # 3
    assert results[0]["metadata"] == {"corpus": "b", "place": "near"}  # 4
    found = [hit["distance"] for hit in results]
    assert found == sorted(found)  # 5
    post_matrix(lake, "search", {**body, "corpora": []}, 400)
    post_matrix(lake, "search", {**body, "corpora": [*corpora, f"none_{unique}"]}, 502)
    post_matrix(lake, "search", {"corpora": corpora}, 400)  # 6
    answer = post_matrix(lake, "search", {**body, "metadata_filter": {"place": ["near"]}})
    assert ([hit["id"] for hit in answer["results"]], answer["dropped_by_filter"]) == (["b-near", "a-near"], 4)  # 7
    answer = post_matrix(lake, "search", {**body, "corpora": [*corpora, f"none_{unique}"], "partial": True})
    assert (answer["results"], list(answer["failed"])) == (results, [f"none_{unique}"])


def test_playbook_smoke(lake: Lake, unique: str) -> None:
    question, corpus, playbooks = f"who welds in {unique}?", f"w_{unique}", f"p_{unique}"
    embedded = lake.through("embedd").request("POST", "/embed", json={"texts": [question]}).json()
    vector = embedded["vectors"][0]
    items = [
        {"id": f"w{rank}", "vector": beside(vector, distance), "metadata": {"rank": rank}}
        for rank, distance in enumerate((0.3, 0.5, 0.6566, 0.8), start=1)
    ]
    fill_index(lake, corpus, embedded["dimension"], items)
    body = {"corpora": [corpus], "query_text": question, "use_playbook": True, "playbook_corpus": playbooks}
    before = post_matrix(lake, "search", body)
    assert [hit["id"] for hit in before["results"]] == ["w1", "w2", "w3", "w4"]
    assert before["results"][2]["distance"] == pytest.approx(0.6566, abs=1e-6)
    assert (before["boosted"], before["injected"]) == (0, 0)  # a missing memory is a cold start
    entry = {"query_text": question, "answer_id": "w3", "answer_corpus": corpus, "score": 1.0}
    recorded = post_matrix(lake, "playbooks/record", {**entry, "corpus": playbooks})
    after = post_matrix(lake, "search", body)
    boosted = next(hit for hit in after["results"] if hit["id"] == "w3")
    assert boosted["distance"] == pytest.approx(0.3283, abs=1e-6)
    assert boosted["distance"] / before["results"][2]["distance"] == 0.5
    assert after["boosted"] == 1
    again = post_matrix(lake, "playbooks/record", {**entry, "score": 0.5, "corpus": playbooks})
    assert again == recorded
    entries = [{**entry, "answer_id": "w4"}, {**entry, "score": 1.5}, {**entry, "answer_id": "w1"}]
    bulk = post_matrix(lake, "playbooks/bulk", {"entries": entries, "corpus": playbooks})
    assert (bulk["recorded"], bulk["failed"]) == (2, 1)
    assert "`score`" in bulk["results"][1]["error"]
    narrow = post_matrix(lake, "search", {**body, "k": 4, "per_corpus_k": 1})
    assert [hit["id"] for hit in narrow["results"]][:2] in (["w3", "w4"], ["w4", "w3"])  # injected at distance 0
    assert (narrow["boosted"], narrow["injected"]) == (1, 2)
    post_matrix(lake, "playbooks/record", {**entry, "query_text": ""}, 400)
    other = post_matrix(lake, "search", {**body, "corpora": [playbooks], "query_text": "", "query_vector": vector})
    assert "warnings" not in other


def test_text_corpora_are_searched_by_meaning_and_word_together(lake: Lake, unique: str) -> None:
    manuals, notes = f"manuals_{unique}", f"notes_{unique}"
    fill_index(
        lake,
        manuals,
        0,
        [
            {"id": "leave", "text": "Parental leave lasts fourteen months.", "metadata": {"page": 4}},
            {"id": "travel", "text": "Travel expenses are paid within a week."},
        ],
    )
    fill_index(lake, notes, 0, [{"id": "kitchen", "text": "The kitchen on the second floor is closed."}])
    body: dict[str, Any] = {"corpora": [manuals, notes], "query_text": "how long is parental leave?"}
    answer = post_matrix(lake, "search", {**body, "mode": "hybrid", "with": ["text", "scores", "metadata"]})
    first = answer["results"][0]
    assert (first["id"], first["corpus"], first["metadata"]) == ("leave", manuals, {"page": 4})
    assert first["text"].startswith("Parental")
    assert answer["per_corpus"].keys() == {manuals, notes}
    scores = [hit["score"] for hit in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    context = post_matrix(lake, "context", {**body, "max_tokens": 40})
    assert context["text"].startswith(f"[1] {manuals}/leave, page 4\nParental leave lasts fourteen months.")
    assert context["passages"][0]["n"] == 1
    post_matrix(lake, "context", {"corpora": [manuals]}, 400)
    error = post_matrix(lake, "search", {**body, "filter": {"page": {"above": 1}}}, 400)["error"]
    assert error["message"].startswith("`filter")


def test_relevance_smoke(lake: Lake) -> None:
    focus = {"path": "a/b.c", "defined_symbols": ["Catalog"], "imported_symbols": ["Store"]}
    chunks = [
        {"id": "defines", "text": "Catalog Store one two three four five"},
        {"id": "imports", "text": "Store one two three four five"},
        {"id": "junk", "text": "one two"},
    ]
    answer = post_matrix(lake, "relevance", {"focus": focus, "chunks": chunks})
    assert answer["kept"] == [{"id": "defines", "score": 0.68}]
    assert answer["dropped"] == [{"id": "imports", "score": -0.46}, {"id": "junk", "score": 0.0}]


def test_downgrade_smoke(lake: Lake) -> None:
    full, isolated = "codereview_lakehouse", "codereview_isolation"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"model": "grok-4"}, isolated),
        ({"model": "grok-4", "forced_mode": True}, full),
        ({"model": "grok-4", "force_full_enrichment": True}, full),
        ({"model": "qwen/qwen3:free"}, full),
        ({"model": "qwen3.5:latest"}, full),
    ]
    for more, mode in cases:
        answer = post_matrix(lake, "downgrade", {"mode": full, **more})
        assert answer == ({"mode": mode} if mode == full else {"mode": mode, "downgraded_from": full})
    post_matrix(lake, "downgrade", {"model": "grok-4"}, 400)
