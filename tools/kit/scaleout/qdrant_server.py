"""A server with the part of Qdrant's REST API that the vector store uses, over Qdrant's own engine (`qdrant-edge-py`).

There is no package with Qdrant's server. Its engine is in one: storage, filters, distances, sparse vectors with their
inverse document frequencies are the real ones. Paths, documents, statuses and error texts are those of the server 1.16.
What the store does not use is refused.

    python -m tools.kit.scaleout.qdrant_server FOLDER PORT [API_KEY]
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import qdrant_edge as edge

from tools.kit.scaleout.qdrant_requests import (
    BadRequest,
    read_filter,
    read_point,
    read_query,
    show_record,
    show_scored,
)

VERSION = "1.16.0"
Document = dict[str, Any]


class ServiceError(Exception):
    """An answer with an error: its status and its text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Collection:
    """One collection: a shard of the engine, used by one thread at a time."""

    def __init__(self, folder: Path, config: Document | None) -> None:
        self.lock = threading.Lock()
        self.folder = folder
        self._file = folder / "collection.json"
        if config is None:
            self.config: Document = json.loads(self._file.read_text())
            self.shard = edge.EdgeShard.load(str(folder / "shard"))
            return
        self.config = config
        folder.mkdir()
        self.shard = edge.EdgeShard.create(str(folder / "shard"), make_shard_config(config))
        self._file.write_text(json.dumps(config))

    def close(self) -> None:
        """Release the files."""
        self.shard.close()


def make_shard_config(config: Document) -> edge.EdgeConfig:
    """The engine's configuration of a collection: named vectors, named sparse vectors."""
    known = {"vectors", "sparse_vectors", "shard_number", "hnsw_config", "optimizers_config"}
    if unknown := config.keys() - known:
        raise BadRequest(f"unknown field `{min(unknown)}`")
    distances = {"Cosine": edge.Distance.Cosine, "Dot": edge.Distance.Dot, "Euclid": edge.Distance.Euclid}
    vectors = {
        name: edge.EdgeVectorParams(size=one["size"], distance=distances[one["distance"]])
        for name, one in config.get("vectors", {}).items()
    }
    sparse = {
        name: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if one.get("modifier") == "idf" else None)
        for name, one in config.get("sparse_vectors", {}).items()
    }
    return edge.EdgeConfig(vectors=vectors or None, sparse_vectors=sparse or None)


class QdrantService:
    """The collections below a folder, and the operations of the API on them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._collections = {
            unquote(path.name): Collection(path, None)
            for path in sorted(folder.iterdir())
            if (path / "collection.json").exists()
        }

    def handle(self, method: str, path: str, query: str, document: Any) -> object:
        """The result of a request. Raises ServiceError, BadRequest."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts == ["collections"] and method == "GET":
            return {"collections": [{"name": name} for name in sorted(self._collections)]}
        if parts[0] != "collections" or len(parts) < 2:
            raise ServiceError(404, "")
        name, rest = parts[1], "/".join(parts[2:])
        if (method, rest) == ("PUT", ""):
            return self._create(name, document)
        if (method, rest) == ("DELETE", ""):
            return self._delete(name)
        collection = self._collections.get(name)
        if collection is None:
            raise ServiceError(404, f"Not found: Collection `{name}` doesn't exist!")
        operation = OPERATIONS.get((method, rest))
        if operation is None:
            raise ServiceError(404, "")
        if operation in UPDATES and query != "wait=true":
            raise ServiceError(400, "this server updates with `wait=true` only")
        with collection.lock:
            return operation(collection, document)

    def _create(self, name: str, document: Document) -> bool:
        if not re.fullmatch(r"[^<>:\"/\\|?*\0\x1f]{1,255}", name):
            raise ServiceError(422, f"Validation error in path: collection name {name!r}")
        with self._lock:
            if name in self._collections:
                raise ServiceError(409, f"Wrong input: Collection `{name}` already exists!")
            self._collections[name] = Collection(self._folder / name, document)
        return True

    def _delete(self, name: str) -> bool:
        with self._lock:
            collection = self._collections.pop(name, None)
            if collection is None:
                return False
            with collection.lock:
                collection.close()
                shutil.rmtree(collection.folder)
        return True


def _update(collection: Collection, operation: edge.UpdateOperation) -> Document:
    try:
        collection.shard.update(operation)
    except Exception as error:  # noqa: BLE001 - of the engine, which has no class for them
        raise ServiceError(400, f"Wrong input: {error}") from None
    return {"operation_id": 0, "status": "completed"}


def _upsert(collection: Collection, document: Document) -> Document:
    sparse = frozenset(collection.config.get("sparse_vectors", {}))
    points = [read_point(point, sparse) for point in document["points"]]
    return _update(collection, edge.UpdateOperation.upsert_points(points))


def _delete_points(collection: Collection, document: Document) -> Document:
    if "points" in document:
        return _update(collection, edge.UpdateOperation.delete_points(document["points"]))
    condition = read_filter(document["filter"])
    return _update(collection, edge.UpdateOperation.delete_points_by_filter(condition))


def _set_payload(collection: Collection, document: Document) -> Document:
    return _update(collection, edge.UpdateOperation.set_payload(document["points"], document["payload"]))


def _batch(collection: Collection, document: Document) -> list[Document]:
    kinds = {"upsert": _upsert, "delete": _delete_points, "set_payload": _set_payload}
    return [kinds[kind](collection, one) for each in document["operations"] for kind, one in each.items()]


def _create_field_index(collection: Collection, document: Document) -> Document:
    kinds = {"keyword": edge.PayloadSchemaType.Keyword, "float": edge.PayloadSchemaType.Float}
    kind = kinds[document["field_schema"]]
    return _update(collection, edge.UpdateOperation.create_field_index(document["field_name"], kind))


def _retrieve(collection: Collection, document: Document) -> list[Document]:
    with_payload, with_vector = document.get("with_payload", True), document.get("with_vector", False)
    found = collection.shard.retrieve(document["ids"], with_payload, with_vector)
    return [show_record(record) for record in found]


def _scroll(collection: Collection, document: Document) -> Document:
    request = edge.ScrollRequest(
        offset=document.get("offset"),
        limit=document.get("limit", 10),
        filter=read_filter(document["filter"]) if document.get("filter") else None,
        with_payload=document.get("with_payload", True),
        with_vector=document.get("with_vector", False),
    )
    records, following = collection.shard.scroll(request)
    return {"points": [show_record(record) for record in records], "next_page_offset": _show_id(following)}


def _show_id(point_id: object) -> object:
    return point_id if point_id is None or isinstance(point_id, int) else str(point_id)


def _count(collection: Collection, document: Document) -> Document:
    condition = read_filter(document["filter"]) if document.get("filter") else None
    return {"count": collection.shard.count(edge.CountRequest(exact=document.get("exact", True), filter=condition))}


def _query(collection: Collection, document: Document) -> Document:
    try:
        found = collection.shard.query(read_query(document))
    except BadRequest:
        raise
    except Exception as error:  # noqa: BLE001 - of the engine, which has no class for them
        raise ServiceError(400, f"Wrong input: {error}") from None
    return {"points": [show_scored(point) for point in found]}


def _query_batch(collection: Collection, document: Document) -> list[Document]:
    return [_query(collection, one) for one in document["searches"]]


def _describe(collection: Collection, _document: object) -> Document:
    found = collection.shard.info()
    return {
        "status": "green",
        "optimizer_status": "ok",
        "points_count": found.points_count,
        "segments_count": found.segments_count,
        "config": {"params": collection.config},
        "payload_schema": {},
    }


Operation = Callable[[Collection, Any], object]
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", ""): _describe,
    ("PUT", "index"): _create_field_index,
    ("PUT", "points"): _upsert,
    ("POST", "points"): _retrieve,
    ("POST", "points/delete"): _delete_points,
    ("POST", "points/payload"): _set_payload,
    ("POST", "points/batch"): _batch,
    ("POST", "points/scroll"): _scroll,
    ("POST", "points/count"): _count,
    ("POST", "points/query"): _query,
    ("POST", "points/query/batch"): _query_batch,
}
UPDATES = frozenset({_create_field_index, _upsert, _delete_points, _set_payload, _batch})


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: QdrantService
    api_key = ""

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        target = urlsplit(self.path)
        given = self.headers.get("api-key", "")
        if self.api_key and given != self.api_key:
            message = "Invalid API key or JWT" if given else "Must provide an API key or an Authorization bearer token"
            self._send(401, message.encode(), "text/plain")
        elif target.path == "/":
            document = {"title": "qdrant - vector search engine", "version": VERSION, "commit": None}
            self._send(200, json.dumps(document).encode())
        else:
            self._send(*self._call(target.path, target.query, body))

    def _call(self, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        try:
            document = json.loads(body) if body else {}
            result = self.service.handle(self.command, path, query, document)
        except ServiceError as error:
            return error.status, json.dumps({"status": {"error": str(error)}, "time": 0.0}).encode()
        except (BadRequest, ValueError, KeyError, TypeError) as error:
            message = f"Format error in JSON body: {error}"
            return 400, json.dumps({"status": {"error": message}, "time": 0.0}).encode()
        return 200, json.dumps({"result": result, "status": "ok", "time": 0.0}).encode()

    def _send(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main(folder: str, port: str, api_key: str = "") -> None:
    """Serve until the process ends."""
    Handler.service, Handler.api_key = QdrantService(Path(folder)), api_key
    with ThreadingHTTPServer(("127.0.0.1", int(port)), Handler) as server:
        server.daemon_threads = True
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
