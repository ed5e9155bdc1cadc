"""Hostile vectors, filters, texts and batches: each has its status, and a search beside it is answered all the time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import httpx
import pytest

from tests.services.hostile.retrieval_attacks import (
    FILTERS,
    INJECTION,
    ITEMS,
    REQUESTS,
    SEARCHES,
    TEXTS,
    VECTOR,
    Attack,
    Request,
)
from tests.services.hostile.service import EVERYTHING, Attacked, SharedService, canaries, check_refusal

T = TypeVar("T")

INDEX = "/v1/vectors/index"
HOLD_FOR_ALL = ("an empty one",)
"""Filters that every item satisfies."""
BIRDS = {
    "heron": "The heron stands in shallow water and waits for fish.",
    "plover": "The plover runs along the beach between the waves.",
    "owl": "The owl hunts mice at night in the old barn.",
}
SLOW = 10.0
"""Seconds in which a canary is answered beside an attack, on a machine that other tests use as well."""


def pick(table: Mapping[str, T], step: int) -> list[str]:
    """All names, or a sample in the normal suite."""
    names = list(table)
    return names if EVERYTHING else names[::step]


@pytest.fixture(scope="module")
def retrieval(shared_service: SharedService) -> Attacked:
    """The service with an index of vectors to attack, and one of texts that are the canary.

    One process may get the module's tests in two parts, with the same service: the indexes are made anew for each.
    """
    attacked = shared_service.get()
    for name in ("attacked", "canary_texts"):
        attacked.http.delete(f"{INDEX}/{name}")
    made = attacked.http.post(INDEX, json={"name": "attacked", "dimension": 4, "fields": {"year": "int"}})
    assert made.status_code == 201, made.text
    items = [{"id": f"v{n}", "vector": [1, n, 0, 0], "metadata": {"year": n}} for n in range(5)]
    assert attacked.http.post(f"{INDEX}/attacked/add", json={"items": items}).status_code == 200
    made = attacked.http.post(INDEX, json={"name": "canary_texts", "model": "default"})
    assert made.status_code == 201, made.text
    texts = [{"id": name, "text": text} for name, text in BIRDS.items()]
    assert attacked.http.post(f"{INDEX}/canary_texts/add", json={"items": texts}).json()["length"] == 3
    return attacked


def ask(beside: Attacked) -> httpx.Response:
    """Search the canary by meaning and word."""
    answer = beside.http.post(f"{INDEX}/canary_texts/search", json={"text": "a bird that hunts mice at night", "k": 1})
    assert answer.status_code == 200, answer.text
    assert [hit["id"] for hit in answer.json()["results"]] == ["owl"]
    return answer


@contextmanager
def searching(retrieval: Attacked) -> Iterator[None]:
    """Search for the length of the block; afterwards the indexes are as they were."""
    with canaries(retrieval, ask=ask, slowest=SLOW):
        yield
    check_indexes(retrieval)


def check_indexes(retrieval: Attacked) -> None:
    """Both indexes have what they had at the start, and find it."""
    assert retrieval.http.get(f"{INDEX}/canary_texts").json()["length"] == 3
    found = retrieval.http.post(f"{INDEX}/attacked/search", json={"vector": [1, 0, 0, 0], "k": 3}).json()
    assert [hit["id"] for hit in found["results"]] == ["v0", "v1", "v2"]
    assert all(math.isfinite(hit["distance"]) for hit in found["results"])


def send(retrieval: Attacked, path: str, body: bytes) -> httpx.Response:
    return retrieval.http.post(path, content=body, headers={"Content-Type": "application/json"})


def check(retrieval: Attacked, name: str, answer: httpx.Response, statuses: tuple[int, ...]) -> None:
    """The status is one of those, and a refusal is a short sentence."""
    assert answer.status_code in statuses, (name, answer.status_code, answer.text[:1000])
    if answer.status_code >= 400:
        assert len(check_refusal(retrieval, answer)) < 2000, name
    if answer.status_code != 204:
        json.loads(answer.content, parse_constant=lambda constant: pytest.fail(f"{name}: {constant} in JSON"))


def test_the_tables_are_long_enough() -> None:
    assert sum(map(len, (ITEMS, SEARCHES, FILTERS, TEXTS, REQUESTS))) >= 170


@pytest.mark.extended
def test_items(retrieval: Attacked) -> None:
    """A batch with one wrong item adds nothing. What is accepted can be found, at a distance that is a number."""
    with searching(retrieval):
        for name, attack in ITEMS.items():
            answer = send(retrieval, f"{INDEX}/attacked/add", attack.body())
            check(retrieval, name, answer, attack.statuses)
            info = retrieval.http.get(f"{INDEX}/attacked").json()
            added = answer.json().get("added", 0) if answer.status_code == 200 else 0
            assert info["length"] == 5 + added, name
            found = retrieval.http.post(f"{INDEX}/attacked/search", json={"vector": [1, 0, 0, 0], "k": 10})
            check(retrieval, name, found, (200,))
            assert len(found.json()["results"]) == 5 + added, name
            assert all(math.isfinite(hit["distance"]) for hit in found.json()["results"]), name
            remove = {"ids": [hit["id"] for hit in found.json()["results"] if not hit["id"].startswith("v")]}
            assert retrieval.http.post(f"{INDEX}/attacked/delete", json=remove).json()["length"] == 5, name


@pytest.mark.parametrize("kind", ["searches", "filters"])
def test_searches(retrieval: Attacked, kind: str) -> None:
    table: Mapping[str, Attack] = {"searches": SEARCHES, "filters": FILTERS}[kind]
    with searching(retrieval):
        for name, attack in table.items():
            answer = send(retrieval, f"{INDEX}/attacked/search", attack.body())
            check(retrieval, name, answer, attack.statuses)


def test_a_filter_deletes_no_more_than_it_says(retrieval: Attacked) -> None:
    """Filters that a search refuses delete nothing, and those that hold for no item neither."""
    with searching(retrieval):
        for name in pick(FILTERS, 3):
            attack = FILTERS[name]
            if name not in HOLD_FOR_ALL:
                body = attack.body().replace(f"{VECTOR},".encode(), b"", 1)
                answer = send(retrieval, f"{INDEX}/attacked/delete", body)
                check(retrieval, name, answer, attack.statuses)
                assert answer.status_code == 400 or answer.json()["deleted"] == 0, name


@pytest.mark.parametrize("name", pick(TEXTS, 6))
def test_texts_are_data(retrieval: Attacked, name: str) -> None:
    """A text can be stored, found, embedded and given as context; as a query it selects words and nothing else."""
    text = TEXTS[name]
    with searching(retrieval):
        for mode in ("hybrid", "keyword"):
            answer = retrieval.http.post(f"{INDEX}/canary_texts/search", json={"text": text, "mode": mode, "k": 10})
            check(retrieval, f"{name}: {mode}", answer, (200,))
            assert {hit["id"] for hit in answer.json()["results"]} <= set(BIRDS)
        body = {"query_text": text, "corpora": ["canary_texts"], "mode": "hybrid"}
        check(retrieval, f"{name}: matrix", retrieval.http.post("/v1/matrix/search", json=body), (200,))
        embedded = retrieval.http.post("/v1/embed", json={"texts": [text], "truncate": True})
        check(retrieval, f"{name}: embed", embedded, (200,))
        assert all(map(math.isfinite, embedded.json()["vectors"][0]))
        store(retrieval, name, text)


def store(retrieval: Attacked, name: str, text: str) -> None:
    """Store the text in an index of its own beside another one, and find both as they are."""
    index = f"texts{next(retrieval.numbers)}"
    assert retrieval.http.post(INDEX, json={"name": index, "model": "default"}).status_code == 201
    items = [{"id": "hostile", "text": text, "metadata": {"note": text}}, {"id": "heron", "text": BIRDS["heron"]}]
    answer = retrieval.http.post(f"{INDEX}/{index}/add", json={"items": items})
    check(retrieval, f"{name}: add", answer, (200,))
    found = retrieval.http.post(
        f"{INDEX}/{index}/search", json={"text": "heron in shallow water", "k": 2, "with": ["text", "metadata"]}
    )
    check(retrieval, f"{name}: find", found, (200,))
    texts = {hit["id"]: hit["text"] for hit in found.json()["results"]}
    assert texts == {"hostile": text, "heron": BIRDS["heron"]}, name
    assert retrieval.http.delete(f"{INDEX}/{index}").status_code == 204


def test_instructions_in_a_passage_are_a_passage(retrieval: Attacked) -> None:
    with searching(retrieval):
        index = f"texts{next(retrieval.numbers)}"
        assert retrieval.http.post(INDEX, json={"name": index, "model": "default"}).status_code == 201
        items = [{"id": "a", "text": INJECTION}]
        assert retrieval.http.post(f"{INDEX}/{index}/add", json={"items": items}).status_code == 200
        answer = retrieval.http.post("/v1/matrix/context", json={"query_text": "developer mode", "corpora": [index]})
        check(retrieval, "context", answer, (200,))
        assert [(passage["n"], passage["text"]) for passage in answer.json()["passages"]] == [(1, INJECTION)]
        assert answer.json()["text"].count("[1]") >= 1
        assert retrieval.http.delete(f"{INDEX}/{index}").status_code == 204


def test_other_requests(retrieval: Attacked) -> None:
    with searching(retrieval):
        for name in pick(REQUESTS, 2):
            request: Request = REQUESTS[name]
            content = b"" if request.body is None else request.body()
            headers = {"Content-Type": "application/json"}
            answer = retrieval.http.request(request.method, request.path, content=content, headers=headers)
            check(retrieval, name, answer, request.statuses)
            if answer.status_code == 201:
                assert retrieval.http.delete(f"{INDEX}/made").status_code == 204


@pytest.mark.extended
def test_giant_batches(retrieval: Attacked) -> None:
    """50,000 items in one request, twice: all are added, then all are replaced."""
    count = 50_000 if EVERYTHING else 10_000
    items = [{"id": f"g{n}", "vector": [1, n % 97, n % 89, n % 83], "metadata": {"n": n}} for n in range(count)]
    body = json.dumps({"items": items}).encode()
    assert retrieval.http.post(INDEX, json={"name": "giant", "dimension": 4}).status_code == 201
    with searching(retrieval):
        first = send(retrieval, f"{INDEX}/giant/add", body).json()
        again = send(retrieval, f"{INDEX}/giant/add", body).json()
    assert (first["added"], first["replaced"], first["length"]) == (count, 0, count)
    assert (again["added"], again["replaced"], again["length"]) == (0, count, count)
    assert retrieval.http.delete(f"{INDEX}/giant").status_code == 204
