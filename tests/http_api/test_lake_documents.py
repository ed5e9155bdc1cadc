"""The OpenAPI document is true of what the lake answers: its operations in the order in which a client would use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from lakehouse.config import Config, parse_config
from lakehouse.services.host.activation import open_services_process
from tools.kit.doc_pages.openapi.document import document
from tools.kit.doc_pages.openapi.lake import OPERATIONS
from tools.kit.doc_pages.openapi.operations import Operation

pytest.importorskip("duckdb", reason="the extra `lake` is not installed")

DOCUMENT = document()
BY_ID = {operation.id: operation for operation in OPERATIONS}

CALLS: list[tuple[str, str, dict[str, Any], int]] = [
    ("ingest", "/v1/ingest?name=a/b", {"content": b"id,zip\n1,00123\n", "headers": {"content-type": "text/csv"}}, 201),
    ("ingest", "/v1/ingest?name=a/b&mode=append", {"files": {"file": ("b.ndjson", b'{"id": 2, "zip": "x"}')}}, 200),
    ("ingest", "/v1/ingest?name=a/b", {"content": b"id\nx\n", "headers": {"content-type": "text/csv"}}, 409),
    ("ingest", "/v1/ingest?name=c", {"content": b"PK\x03\x04", "headers": {"content-type": "text/csv"}}, 415),
    ("ingest", "/v1/ingest?name=c", {"content": b'id\n"x', "headers": {"content-type": "text/csv"}}, 422),
    ("ingest", "/v1/ingest?name=d", {"files": {"file": ("a.md", b"# A\n\ntea")}}, 201),
    ("ingest", "/v1/ingest?name=d", {"files": {"file": ("a.md", b"# A\n\ncoffee")}}, 200),
    ("ingest", "/v1/ingest?name=d&format=pdf&source=b", {"content": b"x"}, 422),
    ("remove_document", "/v1/ingest?name=d&source=a.md", {}, 200),
    ("remove_document", "/v1/ingest?name=d&source=a.md", {}, 404),
    ("remove_document", "/v1/ingest?name=d", {}, 400),
    ("tables", "/v1/catalog/list", {}, 200),
    ("table", "/v1/catalog/manifest/a/b", {}, 200),
    ("table", "/v1/catalog/manifest/none", {}, 404),
    ("snapshots", "/v1/catalog/tables/a/b/snapshots", {}, 200),
    ("engines", "/v1/sql/engines", {}, 200),
    ("sql", "/v1/sql", {"json": {"sql": 'SELECT *, NULL, [1, 2.5], 2::HUGEINT << 60 FROM "a/b" ORDER BY id'}}, 200),
    ("sql", "/v1/sql", {"json": {"sql": "SELECT ?", "params": ["x"], "max_rows": 1, "timeout": "5s"}}, 200),
    ("sql", "/v1/sql", {"json": {"sql": "SELECT colour FROM a.b"}}, 400),
    ("sql", "/v1/sql", {"json": {"sql": "DROP TABLE a.b"}}, 403),
    ("put_object", "/v1/storage/put/notes/a.txt", {"content": b"hello"}, 201),
    ("put_object", "/v1/storage/put/notes/a.txt", {"content": b"hello!"}, 200),
    ("put_object", "/v1/storage/put/notes/a.txt", {"content": b"x", "headers": {"if-none-match": "*"}}, 412),
    ("objects", "/v1/storage/list?prefix=notes/", {}, 200),
    ("get_object", "/v1/storage/get/notes/a.txt", {"headers": {"range": "bytes=0-1"}}, 206),
    ("get_object", "/v1/storage/get/notes/a.txt", {"headers": {"range": "bytes=90-"}}, 416),
    ("delete_object", "/v1/storage/delete/notes/a.txt", {}, 204),
    ("get_object", "/v1/storage/get/notes/a.txt", {}, 404),
    ("embed", "/v1/embed", {"json": {"texts": ["a", "b"]}}, 200),
    ("embed", "/v1/embed", {"json": {"input": "a", "encoding": "base64", "dimension": 64}}, 200),
    ("embed", "/v1/embed", {"json": {"texts": ["a", ""]}}, 400),
    ("embed", "/v1/embed", {"json": {"texts": ["a " * 9000]}}, 422),
    ("embed_stats", "/v1/embed/stats", {}, 200),
    ("embed_models", "/v1/embed/models", {}, 200),
    ("openai_embeddings", "/v1/embeddings", {"json": {"input": ["a"], "model": "wordllama-256"}}, 200),
    ("openai_embeddings", "/v1/embeddings", {"json": {"input": "a", "encoding_format": "base64"}}, 200),
    ("openai_embeddings", "/v1/embeddings", {"json": {"input": [1, 2]}}, 400),
    ("openai_embeddings", "/v1/embeddings", {"json": {"input": "a", "model": "kimi/m"}}, 404),
    ("rerank", "/v1/rerank", {"json": {"query": "a", "documents": ["a", "b"], "return_documents": True}}, 200),
    ("rerank", "/v1/rerank", {"json": {"query": "a", "documents": []}}, 400),
    ("create_index", "/v1/vectors/index", {"json": {"name": "i", "model": "default", "fields": {"n": "int"}}}, 201),
    ("create_index", "/v1/vectors/index", {"json": {"name": "i", "dimension": 2}}, 409),
    ("create_index", "/v1/vectors/index", {"json": {"name": "v", "dimension": 2, "ef_search": 64}}, 201),
    ("create_index", "/v1/vectors/index", {"json": {"name": "w", "dimension": 2}}, 201),
    ("create_index", "/v1/vectors/index", {"json": {"name": "x"}}, 400),
    ("add_items", "/v1/vectors/index/v/add", {"json": {"items": [{"id": "a", "vector": [1, 0], "metadata": {}}]}}, 200),
    ("add_items", "/v1/vectors/index/v/add", {"json": {"items": [{"id": "a", "vector": [1]}]}}, 400),
    ("add_items", "/v1/vectors/index/i/add", {"json": {"items": [{"id": "a", "text": "tea"}]}}, 200),
    ("search_index", "/v1/vectors/index/v/search", {"json": {"vector": [1, 0], "k": 1}}, 200),
    ("search_index", "/v1/vectors/index/i/search", {"json": {"text": "tea", "with": ["text", "scores"]}}, 200),
    ("search_index", "/v1/vectors/index/i/search", {"json": {"text": "tea", "model": "other"}}, 409),
    ("merge_index", "/v1/vectors/index/v/merge", {"json": {"dest": "w"}}, 200),
    ("merge_index", "/v1/vectors/index/v/merge", {"json": {"dest": "v"}}, 400),
    ("sync_index", "/v1/vectors/index/i/sync", {"json": {"table": "a/b", "key": "id", "text": ["zip"]}}, 200),
    ("sync_index", "/v1/vectors/index/i/sync", {}, 200),
    ("sync_index", "/v1/vectors/index/i/sync", {"json": {"table": "none", "key": "id", "text": "zip"}}, 404),
    ("index", "/v1/vectors/index/i", {}, 200),
    ("indexes", "/v1/vectors/index", {}, 200),
    ("delete_items", "/v1/vectors/index/i/items", {"json": {"ids": ["a"]}}, 200),
    ("delete_items_by_post", "/v1/vectors/index/i/delete", {"json": {"filter": {"n": {"gte": 3}}}}, 200),
    ("delete_index", "/v1/vectors/index/i", {}, 204),
    ("index", "/v1/vectors/index/i", {}, 404),
]


def validate(operation: Operation, answer: httpx.Response) -> None:
    """Raise unless the document has this status, and its body fits the schema."""
    described = DOCUMENT["paths"][operation.path][operation.method]["responses"][str(answer.status_code)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][described["$ref"].rpartition("/")[2]]
    if answer.headers.get("content-type") != "application/json":
        assert answer.status_code in (204, 206)
        return
    schema = described["content"]["application/json"]["schema"]
    jsonschema_rs.validate({**schema, "components": DOCUMENT["components"]}, answer.json())


def config_of(folder: Path) -> Config:
    return parse_config({"lake": {"path": str(folder)}, "observe": {"log": "off"}}).config


@pytest.mark.extended
async def test_each_operation_of_the_lake_answers_as_it_says(tmp_path: Path) -> None:
    assert {name for name, *_ in CALLS} == BY_ID.keys()
    async with open_services_process(config_of(tmp_path / "lake")) as process:
        transport = httpx.AsyncHTTPTransport(uds=process.socket_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://lake", timeout=60) as client:
            for name, target, request, status in CALLS:
                operation = BY_ID[name]
                answer = await client.request(operation.method, target, **request)
                assert answer.status_code == status, (target, answer.text)
                validate(operation, answer)
