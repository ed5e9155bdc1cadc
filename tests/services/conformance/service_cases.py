"""What each service brings to the tests of all services: its health, requests with equal answers, mistakes, and data
that has to survive.

A service that is added to the lake adds its case here, and its own tests in a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.services.conformance.lakes import Lake

PEOPLE = b"""id,name,city,role,score
1,Alice,Chicago,engineer,90
2,Bob,Houston,engineer,84
3,Barbara,Houston,safety,95
4,Dan,Chicago,manager,78
5,Eve,Boston,analyst,95
"""
JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request, and the status of its answer."""

    method: str
    path: str
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: dict(JSON))
    status: int
    code: str = ""

    def send(self, lake: Lake, service: str) -> httpx.Response:
        """Send it, and check the status and the envelope of an error."""
        answer = lake.through(service).request(self.method, self.path, content=self.content, headers=self.headers)
        assert answer.status_code == self.status, (self, answer.text)
        if self.status >= 400:
            error = answer.json()["error"]
            assert error["status"] == self.status
            assert error["message"]
            assert self.code in ("", error["code"])
        return answer


@dataclass(frozen=True, kw_only=True)
class ServiceCase:
    """What the tests of all services do with one service."""

    service: str
    health: str
    """The path of its own health, which names it where it is embedded as well."""
    same: tuple[Exchange, ...]
    """Requests whose answers have the same status and bytes on each way (GOLAKE-003)."""
    mistakes: tuple[Exchange, ...]
    """GOLAKE-080 to 084: bodies that are not JSON, missing fields, bad SQL, missing objects, wrong methods."""
    keep: Callable[[Lake], None]
    """Write something that a kill must not lose."""
    check_kept: Callable[[Lake], None]
    more_health: tuple[str, ...] = ()
    """The names of what its health says beside its name."""


def _post(path: str, content: bytes, status: int = 400, code: str = "ErrBadRequest") -> Exchange:
    return Exchange(method="POST", path=path, content=content, status=status, code=code)


def _get(path: str, status: int, code: str = "") -> Exchange:
    return Exchange(method="GET", path=path, status=status, code=code)


def _keep_object(lake: Lake) -> None:
    route = lake.through("storaged")
    assert route.request("PUT", f"/storage/put/kept/{lake.name}", content=b"kept").status_code in (200, 201)
    assert route.request("PUT", f"/storage/put/deleted/{lake.name}", content=b"x").status_code in (200, 201)
    assert route.request("DELETE", f"/storage/delete/deleted/{lake.name}").status_code == 204


def _check_object(lake: Lake) -> None:
    route = lake.through("storaged")
    assert route.request("GET", f"/storage/get/kept/{lake.name}").content == b"kept"
    assert route.request("GET", f"/storage/get/deleted/{lake.name}").status_code == 404


def ingest(lake: Lake, name: str, content: bytes = PEOPLE, parameters: str = "") -> httpx.Response:
    """Upload a CSV file."""
    route = lake.through("ingestd")
    return route.request("POST", f"/ingest?name={name}{parameters}", content=content, headers=CSV)


def ask(lake: Lake, sql: str) -> list[list[object]]:
    """The rows of a statement."""
    answer = lake.through("queryd").request("POST", "/sql", json={"sql": sql})
    assert answer.status_code == 200, answer.text
    rows: list[list[object]] = answer.json()["rows"]
    assert answer.json()["row_count"] == len(rows)
    return rows


def _keep_dataset(lake: Lake) -> None:
    assert ingest(lake, f"kept/{lake.name}").status_code in (200, 201)


def _check_dataset(lake: Lake) -> None:
    manifest = lake.through("catalogd").request("GET", f"/catalog/manifest/kept/{lake.name}")
    assert (manifest.status_code, manifest.json()["row_count"]) == (200, 5)
    again = ingest(lake, f"kept/{lake.name}")
    assert (again.status_code, again.json()["existing"], again.json()["dataset_id"]) == (
        200,
        True,
        manifest.json()["dataset_id"],
    )


def ingest_document(lake: Lake, corpus: str, source: str, content: bytes) -> httpx.Response:
    """Put a Markdown document into a corpus."""
    path = f"/ingest?name={corpus}&format=markdown&source={source}"
    return lake.through("ingestd").request("POST", path, content=content)


def _keep_document(lake: Lake) -> None:
    assert ingest_document(lake, f"kept_docs_{lake.name}", "a.md", b"# Owls\n\nhunt mice").status_code in (200, 201)


def _check_uploads(lake: Lake) -> None:
    _check_dataset(lake)
    again = ingest_document(lake, f"kept_docs_{lake.name}", "a.md", b"# Owls\n\nhunt mice").json()
    assert (again["existing"], again["added"], again["replaced"], again["length"]) == (True, 0, 1, 1)


def _keep_nothing(_lake: Lake) -> None:
    """The service has no state of its own."""


def _check_rows(lake: Lake) -> None:
    assert ask(lake, f'SELECT count(*), sum(score) FROM "kept/{lake.name}"') == [[5, 442]]


def fill_index(lake: Lake, name: str, dimension: int, items: Sequence[Mapping[str, object]]) -> None:
    """Make an index of vectors, or one of texts without a dimension, unless it is there, and add items."""
    kind: dict[str, object] = {"dimension": dimension} if dimension else {"model": "default"}
    route = lake.through("vectord")
    assert route.request("POST", "/vectors/index", json={"name": name, **kind}).status_code in (201, 409)
    answer = route.request("POST", f"/vectors/index/{name}/add", json={"items": items})
    assert answer.status_code == 200, answer.text


def post_matrix(lake: Lake, path: str, body: object, status: int = 200) -> Any:
    """The document of an answer of matrixd."""
    answer = lake.through("matrixd").request("POST", f"/matrix/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def _playbook(lake: Lake) -> dict[str, object]:
    return {"query_text": "who welds?", "answer_id": "kept", "answer_corpus": f"kept_{lake.name}", "score": 1}


def _keep_playbook(lake: Lake) -> None:
    fill_index(lake, f"kept_{lake.name}", 0, [{"id": "kept", "text": "Ada welds."}, {"id": "x", "text": "Bob cooks."}])
    post_matrix(lake, "playbooks/record", {**_playbook(lake), "corpus": f"kept_playbooks_{lake.name}"})


def _check_playbook(lake: Lake) -> None:
    body = {"query_text": "who welds?", "corpora": [f"kept_{lake.name}"]}
    plain = post_matrix(lake, "search", body)
    playbooks = {"use_playbook": True, "playbook_corpus": f"kept_playbooks_{lake.name}"}
    boosted = post_matrix(lake, "search", {**body, **playbooks})
    assert (plain["results"][0]["id"], boosted["boosted"]) == ("kept", 1)
    assert boosted["results"][0]["distance"] / plain["results"][0]["distance"] == 0.5


UNIT = {"v1": [1, 0, 0, 0], "v2": [0, 1, 0, 0], "v3": [0, 0, 1, 0], "v4": [0, 0, 0.6, 0.8]}
"""Vectors by the ids of their items."""


def call_index(lake: Lake, method: str, path: str, document: object = None) -> httpx.Response:
    """A request to vectord; `path` is below `/vectors/index`."""
    return lake.through("vectord").request(method, f"/vectors/index{path}", json=document)


def add_unit_vectors(lake: Lake, name: str) -> None:
    """An index of dimension 4 with the vectors."""
    assert call_index(lake, "POST", "", {"name": name, "dimension": 4}).status_code in (201, 409)
    items = [{"id": id_, "vector": vector, "metadata": {"n": n}} for n, (id_, vector) in enumerate(UNIT.items())]
    answer = call_index(lake, "POST", f"/{name}/add", {"items": items})
    assert (answer.status_code, answer.json()["length"]) == (200, 4), answer.text


def _keep_index(lake: Lake) -> None:
    add_unit_vectors(lake, f"vectors_{lake.name}")
    answer = call_index(lake, "DELETE", f"/vectors_{lake.name}/items", {"ids": ["v4"]})
    assert (answer.status_code, answer.json()["length"]) == (200, 3), answer.text


def _check_index(lake: Lake) -> None:
    info = call_index(lake, "GET", f"/vectors_{lake.name}").json()
    assert (info["length"], info["dimension"], info["distance"], info["exact"]) == (3, 4, "cosine", lake.exact)
    answer = call_index(lake, "POST", f"/vectors_{lake.name}/search", {"vector": [0, 0, 1, 0.1], "k": 4})
    hits = answer.json()["results"]
    assert (hits[0]["id"], hits[0]["metadata"], len(hits)) == ("v3", {"n": 2}, 3)


def _keep_trace(lake: Lake) -> None:
    """A trace with two versions of which the first is retired."""
    route = lake.through("pathwayd")
    added = route.request("POST", "/pathway/add_idempotent", json={"uid": f"kept/{lake.name}", "content": {"n": 1}})
    assert added.status_code == 200, added.text
    if added.json()["replay_count"]:
        return
    revised = {"predecessor_uid": f"kept/{lake.name}", "uid": f"kept/{lake.name}/2", "content": "two", "tags": ["kept"]}
    assert route.request("POST", "/pathway/add", json=revised).status_code == 200
    assert route.request("POST", "/pathway/retire", json={"uid": f"kept/{lake.name}"}).status_code == 200


def _check_trace(lake: Lake) -> None:
    route, uid = lake.through("pathwayd"), f"kept/{lake.name}"
    chain = route.request("GET", f"/pathway/history/{uid}/2").json()["history"]
    assert [(trace["uid"], trace["content"], trace["retired"]) for trace in chain] == [
        (f"{uid}/2", "two", False),
        (uid, {"n": 1}, True),
    ]
    found = route.request("POST", "/pathway/search", json={"tag": "kept"}).json()["traces"]
    assert f"{uid}/2" in [trace["uid"] for trace in found]


def _check_vector(lake: Lake) -> None:
    answer = lake.through("embedd").request("POST", "/embed", json={"texts": ["kept"]})
    assert (answer.status_code, answer.json()["dimension"]) == (200, 256)


def _keep_operations(lake: Lake) -> None:
    """Five operations of two sources, three of them successes, once."""
    route = lake.through("observerd")
    source = f"kept_{lake.name}"
    if source in route.request("GET", "/observer/stats").json()["by_source"]:
        return
    for number in range(5):
        body = {"endpoint": "/x", "success": number < 3, "source": source if number else f"{source}_first"}
        assert route.request("POST", "/observer/event", json=body).status_code == 200


def _check_operations(lake: Lake) -> None:
    sources = lake.through("observerd").request("GET", "/observer/stats").json()["by_source"]
    assert (sources[f"kept_{lake.name}"], sources[f"kept_{lake.name}_first"]) == (4, 1)


SERVICE_CASES = (
    ServiceCase(
        service="storaged",
        health="/storage/health",
        same=(
            _get("/storage/list", 200),
            _get("/storage/list?prefix=kept/&delimiter=/&limit=1", 200),
            _get("/storage/get/no/such/object", 404),
            _get("/storage/get/a%00b", 400),
            _get("/storage/list?limit=x", 400),
        ),
        mistakes=(
            _get("/storage/get/no/such/object", 404, "ErrNotFound"),
            _get("/storage/list?limit=x", 400, "ErrBadRequest"),
            Exchange(method="DELETE", path="/storage/delete/none", status=404, code="ErrNotFound"),
            Exchange(method="PUT", path="/storage/put/a%2f..%2fb", content=b"x", status=400, code="ErrBadRequest"),
            Exchange(method="PUT", path="/storage/put/_own/x", content=b"x", status=403, code="ErrForbidden"),
            Exchange(method="PUT", path="/storage/put/datasets/x", content=b"x", status=403, code="ErrForbidden"),
            Exchange(method="POST", path="/storage/list", status=405, code="ErrMethodNotAllowed"),
        ),
        keep=_keep_object,
        check_kept=_check_object,
    ),
    ServiceCase(
        service="catalogd",
        health="/catalog/health",
        same=(
            _get("/catalog/list", 200),
            _get("/catalog/dropped", 200),
            _get("/catalog/manifest/none", 404),
            _post("/catalog/register", b"{", code=""),
            _post("/catalog/register", b"{}", code=""),
        ),
        mistakes=(
            _post("/catalog/register", b'{"name": "x", '),
            _post("/catalog/register", b"[]"),
            _post("/catalog/register", b'{"schema_fingerprint": "v1", "objects": []}'),
            _post("/catalog/register", b'{"name": "", "schema_fingerprint": "v1", "objects": []}'),
            _post("/catalog/register", b'{"name": "x", "schema_fingerprint": "", "objects": []}'),
            _post("/catalog/register", b'{"name": "' + b"x" * 5 * 2**20 + b'"}', 413, ""),
            _get("/catalog/manifest/none/such", 404, "ErrNotFound"),
            _get("/catalog/register", 405, "ErrMethodNotAllowed"),
        ),
        keep=_keep_dataset,
        check_kept=_check_dataset,
    ),
    ServiceCase(
        service="ingestd",
        health="/ingest/health",
        same=(
            _post("/ingest", b"a\n1\n", code=""),
            _post("/ingest?name=x", b"", 422, ""),
            _post("/ingest?name=x&mode=other", b"a\n1\n", code=""),
        ),
        mistakes=(
            _post("/ingest", b"a\n1\n"),
            _post("/ingest?name=", b"a\n1\n"),
            _post("/ingest?name=x&format=json", b'{"a": ', 422, "ErrUnprocessable"),
            _post("/ingest?name=x&mode=other", b"a\n1\n"),
            _post("/ingest?name=x&format=pdf&source=a", b"no PDF", 422, "ErrUnprocessable"),
            Exchange(method="DELETE", path="/ingest?name=none&source=a", status=404, code="ErrNotFound"),
            Exchange(
                method="POST",
                path="/ingest?name=x",
                content=b"no boundary",
                headers={"content-type": "multipart/form-data"},
                status=400,
                code="ErrBadRequest",
            ),
            Exchange(
                method="POST",
                path="/ingest?name=x",
                content=b"--B\r\n\r\n",
                headers={"content-type": "multipart/form-data; boundary=B"},
                status=400,
                code="ErrBadRequest",
            ),
            Exchange(
                method="POST",
                path="/ingest?name=x",
                content=b"--B--\r\n",
                headers={"content-type": "multipart/form-data; boundary=B"},
                status=400,
                code="ErrBadRequest",
            ),
            _get("/ingest", 405, "ErrMethodNotAllowed"),
        ),
        keep=_keep_document,
        check_kept=_check_uploads,
    ),
    ServiceCase(
        service="queryd",
        health="/sql/health",
        same=(
            _post("/sql", b'{"sql": ""}', code=""),
            _post("/sql", b'{"sql": "SELECT nothing"}', code=""),
            _post("/sql", b'{"sql": "DROP TABLE x"}', 403, ""),
        ),
        mistakes=(
            _post("/sql", b'{"sql": '),
            _post("/sql", b""),
            _post("/sql", b"{}"),
            _post("/sql", b'{"sql": ""}'),
            _post("/sql", b'{"query": "SELECT 1"}'),
            _post("/sql", b'{"sql": "SELECT 1", "more": 1}'),
            _post("/sql", b'{"sql": "SELEC 1"}'),
            _post("/sql", b'{"sql": "SELECT x FROM no_such_table"}'),
            _post("/sql", b'{"sql": "SELECT 1; SELECT 2"}'),
            _post("/sql", b'{"sql": "INSTALL httpfs"}', 403, "ErrForbidden"),
            _post("/sql", b'{"sql": "' + b"x" * 5 * 2**20 + b'"}', 413, ""),
            _get("/sql", 405, "ErrMethodNotAllowed"),
        ),
        keep=_keep_nothing,
        check_kept=_check_rows,
    ),
    ServiceCase(
        service="vectord",
        health="/vectors/health",
        same=(
            _get("/vectors/index/none", 404),
            _post("/vectors/index", b"{", code=""),
            _post("/vectors/index/none/search", b'{"vector": [1, 0], "k": 3}', 404, ""),
            _post("/vectors/index/none/add", b'{"items": [{"id": "", "vector": [1]}]}', code=""),
        ),
        mistakes=(
            _post("/vectors/index", b'{"name": "x", '),
            _post("/vectors/index", b""),
            _post("/vectors/index", b"{}"),
            _post("/vectors/index", b'{"name": "x"}'),
            _post("/vectors/index", b'{"dimension": 4}'),
            _post("/vectors/index", b'{"name": "x", "dimension": 0}'),
            _post("/vectors/index", b'{"name": "x", "dimension": 4, "distance": "other"}'),
            _post("/vectors/index/none/add", b'{"vectors": []}'),
            _post("/vectors/index/none/add", b'{"items": []}', 404, "ErrNotFound"),
            _post("/vectors/index/none/search", b"{}"),
            _post("/vectors/index/none/search", b'{"vector": [1], "k": 0}'),
            _post("/vectors/index/none/merge", b'{"dest": "none either"}', 404, "ErrNotFound"),
            _post("/vectors/index/none/delete", b"{}"),
            _post("/vectors/index/none/sync", b"{}", 404, "ErrNotFound"),
            Exchange(method="DELETE", path="/vectors/index/none", status=404, code="ErrNotFound"),
            _get("/vectors/index/none", 404, "ErrNotFound"),
            _get("/vectors/index/none/search", 405, "ErrMethodNotAllowed"),
            _get("/vectors/none", 404, "ErrNotFound"),
        ),
        keep=_keep_index,
        check_kept=_check_index,
    ),
    ServiceCase(
        service="matrixd",
        health="/matrix/health",
        same=(
            _post("/matrix/search", b"{", code=""),
            _post("/matrix/search", b'{"corpora": ["none"], "query_text": "x"}', 502, ""),
            _post("/matrix/downgrade", b'{"mode": "codereview_lakehouse", "model": "m"}', 200, ""),
        ),
        mistakes=(
            _post("/matrix/search", b'{"corpora": ["none"'),
            _post("/matrix/search", b'{"query_text": "x"}'),
            _post("/matrix/search", b'{"corpora": [], "query_text": "x"}'),
            _post("/matrix/search", b'{"corpora": ["none"]}'),
            _post("/matrix/search", b'{"corpora": ["none"], "query": "x"}'),
            _post("/matrix/search", b'{"corpora": ["none"], "query_text": "x"}', 502, "ErrUpstream"),
            _post("/matrix/context", b'{"corpora": ["none"], "query_text": "x", "max_tokens": 0}'),
            _post("/matrix/playbooks/record", b'{"query_text": "x", "answer_id": "y", "score": 1}'),
            _post("/matrix/playbooks/bulk", b"{}"),
            _post("/matrix/relevance", b"{}"),
            _post("/matrix/downgrade", b"{}"),
            _post("/matrix/search", b'{"query_text": "' + b"x" * 5 * 2**20 + b'"}', 413, ""),
            _get("/matrix/search", 405, "ErrMethodNotAllowed"),
        ),
        keep=_keep_playbook,
        check_kept=_check_playbook,
    ),
    ServiceCase(
        service="pathwayd",
        health="/pathway/health",
        same=(
            _get("/pathway/get/none", 404),
            _post("/pathway/search", b'{"tag": "none"}', 200, ""),
            _post("/pathway/add", b"{", code=""),
        ),
        mistakes=(
            _post("/pathway/add", b'{"content": '),
            _post("/pathway/add", b"{}"),
            _post("/pathway/add_idempotent", b'{"content": 1}'),
            _post("/pathway/update", b'{"uid": "none", "content": 1}', 404, "ErrNotFound"),
            _post("/pathway/revise", b'{"predecessor_uid": "none", "content": 1}', 404, "ErrNotFound"),
            _post("/pathway/retire", b'{"uid": "none"}', 404, "ErrNotFound"),
            _post("/pathway/add", b'{"content": "' + b"x" * 5 * 2**20 + b'"}', 413, ""),
            _get("/pathway/history/none", 404, "ErrNotFound"),
            _get("/pathway/add", 405, "ErrMethodNotAllowed"),
        ),
        keep=_keep_trace,
        check_kept=_check_trace,
    ),
    ServiceCase(
        service="embedd",
        health="/embed/health",
        same=(
            _get("/embed/models", 200),
            _post("/embeddings", b'{"input": "the same", "model": "wordllama-256"}', 200, ""),
            _post("/rerank", b'{"query": "a", "documents": ["a", "b"]}', 200, ""),
            _post("/embed", b'{"texts": []}', code=""),
            _post("/embeddings", b'{"input": []}', code=""),
        ),
        mistakes=(
            _post("/embed", b'{"texts": ["a", '),
            _post("/embed", b""),
            _post("/embed", b"{}"),
            _post("/embed", b'{"texts": []}'),
            _post("/embed", b'{"texts": ["a", ""]}'),
            _post("/embed", b'{"texts": ["a", 1]}'),
            _post("/embed", b'{"texts": ["a"], "model": "none/"}', 502, "ErrUpstream"),
            _post("/embed", b'{"texts": ["a"], "model": "kimi/m"}', 404, "ErrProviderNotFound"),
            _post("/embed", b'{"texts": ["' + b"a " * 9_000 + b'"]}', 422, "ErrUnprocessable"),
            _post("/embed", b'{"texts": ["' + b"x" * 17 * 2**20 + b'"]}', 413, ""),
            _post("/rerank", b'{"query": "a"}'),
            _get("/embed", 405, "ErrMethodNotAllowed"),
            _get("/embed/none", 404, "ErrNotFound"),
        ),
        keep=_keep_nothing,
        check_kept=_check_vector,
    ),
    ServiceCase(
        service="observerd",
        health="/observer/health",
        same=(
            _get("/observer/stats", 200),
            _post("/observer/event", b"{}", code=""),
            _post("/observer/inbox", b'{"type": "fax"}', code=""),
        ),
        mistakes=(
            _post("/observer/event", b'{"endpoint": '),
            _post("/observer/event", b"{}"),
            _post("/observer/inbox", b'{"type": "sms"}'),
            _post("/observer/inbox", b'{"type": "sms", "body": "' + b"x" * 9000 + b'"}', 413, ""),
            _post("/observer/event", b'{"endpoint": "' + b"x" * 5 * 2**20 + b'"}', 413, ""),
            _get("/observer/event", 405, "ErrMethodNotAllowed"),
        ),
        keep=_keep_operations,
        check_kept=_check_operations,
        more_health=("ring_size",),
    ),
)
