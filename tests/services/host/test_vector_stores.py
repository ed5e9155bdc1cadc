"""What `lakehouse check` says of a server of indexes, and with which key it asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.config import Config, parse_config
from lakehouse.services.host.store_checks import describe_store
from tools.kit.raw_http import read_whole_body, send_response, serve_app

CHROMA = {"max_batch_size": 5461, "supports_base64_encoding": True}


class Server:
    """Answers each request with a document, and records paths and keys."""

    def __init__(self, document: object) -> None:
        self._document = document
        self.requests: list[tuple[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        key = headers.get(b"api-key") or headers.get(b"x-chroma-token") or b""
        self.requests.append((scope["raw_path"].decode(), key.decode()))
        await read_whole_body(receive)
        body = msgspec.json.encode(self._document)
        await send_response(send, body, 200, [(b"content-length", b"%d" % len(body))])


@asynccontextmanager
async def open_server(kind: str, document: object, key_file: Path) -> AsyncIterator[tuple[Server, Config]]:
    server = Server(document)
    async with serve_app(server) as served:
        store = f"{kind}+http://127.0.0.1:{served.port}"
        yield server, parse_config({"lake": {"key_file": str(key_file)}, "vectord": {"store": store}}).config


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.env"
    path.write_text("QDRANT_API_KEY=of-the-file\n")
    return path


@pytest.mark.parametrize(
    ("kind", "document", "said", "path", "key"),
    [
        ("qdrant", {"title": "qdrant", "version": "1.16.3"}, "Qdrant 1.16.3, fits", "/", "of-the-file"),
        ("qdrant", {"title": "qdrant", "version": "1.9.7"}, "does not fit: needs Qdrant 1.10", "/", "of-the-file"),
        ("chroma", CHROMA, "Chroma, API 2, fits", "/api/v2/pre-flight-checks", "of-the-environment"),
        ("chroma", {"max_batch_size": 40}, "does not fit: needs Chroma 1.5", "/api/v2/pre-flight-checks", ""),
    ],
)
async def test_the_version_of_a_server_is_said_and_whether_it_fits(
    kind: str, document: object, said: str, path: str, key: str, key_file: Path
) -> None:
    environment = {"QDRANT_API_KEY": "other", "CHROMA_TOKEN": key if kind == "chroma" else ""}
    async with open_server(kind, document, key_file) as (server, config):
        found = await describe_store(config, environment)
    assert found.startswith(f"{config.vectord.store}: ")
    assert said in found
    assert server.requests == [(path, key)]


async def test_a_server_that_is_something_else_or_not_there_is_said(key_file: Path) -> None:
    async with open_server("qdrant", ["no", "qdrant"], key_file) as (_, config):
        assert "not understood" in await describe_store(config, {})
    assert str(config.vectord.store) in await describe_store(config, {})
    key_file.unlink()
    assert "cannot be read" in await describe_store(config, {})
