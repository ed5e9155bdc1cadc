"""G1, G1P, GOLAKE-060, 061, 070, 083 and 085: indexes of vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from time import monotonic, sleep
from typing import Any

import pytest

from tests.services.conformance.lakes import Daemons, Lake, wait_for_service
from tests.services.conformance.service_cases import UNIT, add_unit_vectors, call_index

WORKERS = 200
DIMENSION = 768


def _make_workers() -> list[dict[str, Any]]:
    """The items of G1. The vectors are not of unit length, as those of the original's model."""
    random = Random(42)
    vectors = [[random.gauss(0, 1) * 0.75 for _ in range(DIMENSION)] for _ in range(WORKERS)]
    return [{"id": f"w-{n:03}", "vector": vector, "metadata": {"n": n}} for n, vector in enumerate(vectors)]


def _search(lake: Lake, name: str, vector: list[float], k: int = 3) -> list[dict[str, Any]]:
    answer = call_index(lake, "POST", f"/{name}/search", {"vector": vector, "k": k})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def _status(lake: Lake, method: str, path: str, document: object = None) -> int:
    return call_index(lake, method, path, document).status_code


def test_g1_smoke(lake: Lake, unique: str) -> None:
    workers = _make_workers()
    made = call_index(lake, "POST", "", {"name": unique, "dimension": DIMENSION})
    assert (made.status_code, made.json()["length"]) == (201, 0)  # 1
    assert _status(lake, "POST", "", {"name": unique, "dimension": DIMENSION}) == 409  # 2
    added = call_index(lake, "POST", f"/{unique}/add", {"items": workers})
    assert (added.status_code, added.json()["added"], added.json()["length"]) == (200, WORKERS, WORKERS)
    assert call_index(lake, "GET", f"/{unique}").json()["length"] == WORKERS  # 3
    hits = _search(lake, unique, workers[42]["vector"])
    assert (hits[0]["id"], hits[0]["metadata"], len(hits)) == ("w-042", {"n": 42}, 3)
    assert abs(hits[0]["distance"]) < 1e-6  # 4
    assert [hit["distance"] for hit in hits] == sorted(hit["distance"] for hit in hits)
    assert _status(lake, "POST", f"/{unique}/search", {"vector": [1.0] * 3}) == 400  # 5
    assert _status(lake, "POST", f"/{unique}x/search", {"vector": [1.0] * 3}) == 404  # 6
    assert _status(lake, "DELETE", f"/{unique}") == 204
    assert [_status(lake, method, f"/{unique}") for method in ("GET", "DELETE")] == [404, 404]  # 7


ENDINGS: dict[str, Callable[[Lake], None]] = {
    "the services are killed": lambda lake: lake.kill(),
    "the engine is killed": lambda lake: lake.kill_child("retrieval"),
}


@pytest.mark.parametrize(
    ("variant", "ending"),
    [
        ("embedded", "the services are killed"),
        ("embedded", "the engine is killed"),
        ("daemons", "the services are killed"),
    ],
)
def test_g1p_an_index_outlives_its_processes(
    lakes: Callable[[str], Lake], variant: str, ending: str, unique: str
) -> None:
    lake = lakes(variant)
    workers = _make_workers()[:20]
    assert _status(lake, "POST", "", {"name": unique, "dimension": DIMENSION}) == 201  # 1
    assert _status(lake, "POST", f"/{unique}/add", {"items": workers}) == 200  # 2
    before = _search(lake, unique, workers[7]["vector"])
    assert before[0]["id"] == "w-007"  # 3
    ENDINGS[ending](lake)  # 4
    wait_for_service(lake.through("vectord"), "/vectors/health")  # 5
    assert _search_patiently(lake, unique, workers[7]["vector"]) == before  # 6: bit for bit
    assert _status(lake, "DELETE", f"/{unique}") == 204
    names = [index["name"] for index in call_index(lake, "GET", "").json()["indexes"]]
    assert unique not in names  # 7
    ENDINGS[ending](lake)
    wait_for_service(lake.through("vectord"), "/vectors/health")
    assert _status_patiently(lake, f"/{unique}") == 404  # 8


def _search_patiently(lake: Lake, name: str, vector: list[float]) -> list[dict[str, Any]]:
    """A search after a kill: 503 until there is an engine again."""
    assert _status_patiently(lake, f"/{name}") == 200
    return _search(lake, name, vector)


def _status_patiently(lake: Lake, path: str) -> int:
    limit = monotonic() + 8
    while (status := _status(lake, "GET", path)) == 503 and monotonic() < limit:
        sleep(0.05)
    return status


def test_golake_060_061_unit_vectors(lake: Lake, unique: str) -> None:
    made = call_index(
        lake, "POST", "", {"name": unique, "dimension": 4, "distance": "cosine", "m": 16, "ef_search": 64}
    )
    assert made.status_code == 201
    items = [{"id": id_, "vector": UNIT[id_]} for id_ in ("v1", "v2", "v3")]
    assert _status(lake, "POST", f"/{unique}/add", {"items": items}) == 200
    assert call_index(lake, "GET", f"/{unique}").json()["length"] == 3
    hits = _search(lake, unique, [1, 0, 0, 0])
    assert (hits[0]["id"], len(hits)) == ("v1", 3)
    assert abs(hits[0]["distance"]) < 0.001
    assert [math.isclose(hit["distance"], 1, abs_tol=1e-6) for hit in hits[1:]] == [True, True]
    assert unique in [index["name"] for index in call_index(lake, "GET", "").json()["indexes"]]
    assert _status(lake, "DELETE", f"/{unique}") == 204


def test_golake_070_a_restart_gives_the_same_distance_bit_for_bit(lakes: Callable[[str], Lake], unique: str) -> None:
    lake = lakes("daemons")
    assert isinstance(lake, Daemons)
    add_unit_vectors(lake, unique)
    query = [0.1, 0.7, 0.3, 0.05]
    before = _search(lake, unique, query, 4)
    lake.restart()
    began = monotonic()
    wait_for_service(lake.through("vectord"), "/vectors/health")
    assert _search(lake, unique, query, 4) == before
    assert monotonic() - began < 8


def test_golake_083_another_dimension_is_refused_and_changes_nothing(lake: Lake, unique: str) -> None:
    add_unit_vectors(lake, unique)
    items = [{"id": "new", "vector": [1, 2, 3, 4]}, {"id": "short", "vector": [1, 2]}]
    answer = call_index(lake, "POST", f"/{unique}/add", {"items": items})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["item"]) == (400, "ErrBadRequest", 1)
    assert "`items[1].vector`" in error["message"]
    assert _status(lake, "POST", f"/{unique}/search", {"vector": [1, 0, 0]}) == 400
    assert call_index(lake, "GET", f"/{unique}").json()["length"] == 4


def test_golake_085_the_same_id_again_replaces(lake: Lake, unique: str) -> None:
    add_unit_vectors(lake, unique)
    again = call_index(lake, "POST", f"/{unique}/add", {"items": [{"id": "v1", "vector": [0, 0, 0, 1]}]})
    assert (again.json()["added"], again.json()["replaced"], again.json()["length"]) == (0, 1, 4)
    assert _search(lake, unique, [0, 0, 0, 1])[0] == {
        **_search(lake, unique, [0, 0, 0, 1])[0],
        "id": "v1",
        "metadata": {"n": 0},
    }
    twice = [{"id": "v2", "vector": [1, 1, 0, 0]}, {"id": "v2", "vector": [1, 0, 0, 0]}]
    both = call_index(lake, "POST", f"/{unique}/add", {"items": twice})
    assert (both.status_code, both.json()["length"]) == (200, 4)
    assert _search(lake, unique, [1, 0, 0, 0])[0]["id"] == "v2"
