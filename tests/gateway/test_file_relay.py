"""Large files of the embedded storage: the services process names the file, the gateway sends its bytes."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from lakehouse.asgi.file_handover import FilePart
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.responses import Response
from lakehouse.asgi.router import Router
from lakehouse.asgi.types import App, Message, Receive, Scope, Send
from lakehouse.config import GatewayTable, StoragedTable
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.gateway.gateway import Gateway
from lakehouse.server.connection import serve_connection
from lakehouse.server.server_state import open_server_state
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.storaged.app import make_storaged_app
from lakehouse.services.storaged.store import LakeObjectStore, open_object_store
from tools.kit.raw_http import RunningServer, get, serve_app

LARGE = random.Random(1).randbytes(1_000_003)
SMALL = LARGE[:70_000]


@dataclass
class Recorder:
    """Around an application: the headers of its requests and of its responses."""

    app: App
    requests: list[dict[bytes, bytes]] = field(default_factory=list)
    responses: list[dict[bytes, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def record(message: Message) -> None:
            if "headers" in message:
                self.responses.append(dict(message["headers"]))
            await send(message)

        self.requests.append(dict(scope["headers"]))
        await self.app(scope, receive, record)

    @property
    def handed_over(self) -> bool:
        """Whether the last response named a file."""
        return bool(self.responses) and b"x-lakehouse-file" in self.responses[-1]


@dataclass
class Running:
    """A gateway, and the application behind its Unix socket."""

    gateway: RunningServer
    http: httpx.AsyncClient
    service: Recorder


@asynccontextmanager
async def open_embedded(app: App, folder: Path, *, by_url: bool = False) -> AsyncIterator[Running]:
    """A gateway in front of a Unix socket with the application, as of the services process, or as of a URL."""
    service = Recorder(app)
    lifetime = RequestLifetimeMiddleware(service, active_requests=ActiveRequests())
    sock = trio.socket.socket(socket.AF_UNIX)
    path = str(folder / "s.sock")
    await sock.bind(path)
    sock.listen()
    async with open_server_state(lifetime) as state, trio.open_nursery() as nursery:
        listeners = [trio.SocketListener(sock)]
        nursery.start_soon(partial(trio.serve_listeners, partial(serve_connection, state), listeners))
        table = GatewayTable(storaged_url=f"unix:{path}") if by_url else GatewayTable()
        gateway = Gateway(table, embedded_url=f"unix:{path}")
        async with serve_app(Router(gateway.mounts), lifetime=True) as served:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as http:
                yield Running(served, http, service)
        gateway.close()
        nursery.cancel_scope.cancel()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    table = StoragedTable()
    with open_lake_directory(tmp_path / "lake") as directory:
        async with open_object_store(directory) as store:
            await put(store, "large", LARGE)
            await put(store, "small", SMALL)
            async with open_embedded(make_storaged_app(store, table), tmp_path) as embedded:
                yield embedded


async def put(store: LakeObjectStore, key: str, data: bytes) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield data

    await store.write(key, body(), content_type="text/html")


async def test_a_large_object_is_sent_from_its_file(running: Running) -> None:
    whole = await running.http.get("/v1/storage/get/large")
    assert running.service.handed_over
    assert (whole.status_code, whole.content) == (200, LARGE)
    assert whole.headers["content-length"] == str(len(LARGE))
    assert whole.headers["content-type"] == "text/html"
    assert "attachment" in whole.headers["content-disposition"]
    assert whole.headers["etag"]
    part = await running.http.get("/v1/storage/get/large", headers={"Range": "bytes=3-600002"})
    assert running.service.handed_over
    assert (part.status_code, part.content) == (206, LARGE[3:600_003])
    assert part.headers["content-range"] == f"bytes 3-600002/{len(LARGE)}"
    for answer in (whole, part):
        assert not [name for name in answer.headers if name.startswith("x-lakehouse")]
    assert [context.outcome for context in running.gateway.ended] == ["answered", "answered"]


@pytest.mark.parametrize(
    ("method", "key", "headers", "status", "body"),
    [
        ("GET", "small", {}, 200, SMALL),
        ("HEAD", "large", {}, 200, b""),
        pytest.param("GET", "large", {"Range": "bytes=0-99"}, 206, LARGE[:100], id="range"),
        ("GET", "large", {"If-None-Match": "*"}, 304, b""),
        ("GET", "large", {"Range": "bytes=5000000-"}, 416, None),
        ("GET", "large", {"Range": "bytes=0-300000,400000-900000"}, 206, None),
        ("GET", "absent", {}, 404, None),
        ("DELETE", "large", {}, 204, b""),
    ],
)
async def test_all_other_responses_come_whole_from_the_service(
    running: Running, method: str, key: str, headers: dict[str, str], status: int, body: bytes | None
) -> None:
    answer = await running.http.request(method, f"/v1/storage/objects/{key}", headers=headers)
    assert not running.service.handed_over
    assert answer.status_code == status
    if body is not None:
        assert answer.content == body


async def test_a_client_cannot_make_the_offer_itself(running: Running, tmp_path: Path) -> None:
    offer = {"X-Lakehouse-Accept-File": "1"}
    answer = await running.http.get("/v1/storage/get/large", headers=offer)
    assert answer.content == LARGE
    await running.http.head("/v1/storage/get/large", headers=offer)
    assert b"x-lakehouse-accept-file" not in running.service.requests[-1]
    table = StoragedTable()
    with open_lake_directory(tmp_path / "daemon") as directory:
        async with open_object_store(directory) as store:
            await put(store, "large", LARGE)
            async with serve_app(make_storaged_app(store, table), lifetime=True) as served:  # as `lakehouse run`
                out = await served.exchange(
                    get("/storage/get/large", "X-Lakehouse-Accept-File: 1", "Connection: close")
                )
    assert out.endswith(LARGE + b"<EOF>")
    assert b"x-lakehouse-file" not in out[:2000].lower()


async def test_a_storage_of_a_url_gets_no_offer_and_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)

    async def foreign(_scope: Scope, _receive: Receive, send: Send) -> None:
        value = FilePart(str(tmp_path / "file"), 0, 400_000).encode()
        await Response(b"its own", 200, [(b"x-lakehouse-file", value)]).send_to(send)

    async with open_embedded(foreign, tmp_path, by_url=True) as embedded:
        answer = await embedded.http.get("/v1/storage/get/k", headers={"X-Lakehouse-Accept-File": "1"})
    assert answer.content == b"its own"
    assert b"x-lakehouse-accept-file" not in embedded.service.requests[-1]


async def test_a_file_that_was_replaced_meanwhile_is_asked_for_again(tmp_path: Path) -> None:
    async def replaced(scope: Scope, receive: Receive, send: Send) -> None:
        if b"x-lakehouse-accept-file" in dict(scope["headers"]):
            value = FilePart(str(tmp_path / "absent"), 0, 10).encode()
            await Response(b"", 200, [(b"x-lakehouse-file", value)]).send_to(send)
        else:
            await Response(b"the new one", 200).send_to(send)

    async with open_embedded(replaced, tmp_path) as embedded:
        answer = await embedded.http.get("/v1/storage/get/k")
    assert (answer.status_code, answer.content, len(embedded.service.requests)) == (200, b"the new one", 2)


async def test_a_file_that_became_shorter_cuts_the_response(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(300_000))

    async def shorter(scope: Scope, receive: Receive, send: Send) -> None:
        value = FilePart(str(tmp_path / "file"), 0, 400_000).encode()
        await Response(b"", 200, [(b"x-lakehouse-file", value)]).send_to(send)

    async with open_embedded(shorter, tmp_path) as embedded:
        with pytest.raises(httpx.RemoteProtocolError):
            await embedded.http.get("/v1/storage/get/k")
    assert [context.outcome for context in embedded.gateway.ended] == ["failed"]


async def test_a_client_that_leaves_closes_the_file(running: Running) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    async with await running.gateway.connect() as client:
        await client.send(get("/v1/storage/get/large"))
        await client.read_until(b"\r\n\r\n")
        client.leave("rst")
    with trio.fail_after(20):
        while len(running.gateway.active_requests) or len(os.listdir("/proc/self/fd")) > before + 2:  # noqa: PTH208
            await trio.sleep(0.005)


@pytest.mark.parametrize("path", ["/a/b", "/a b/ä%2F\n", "/" + "x" * 300])
def test_the_value_of_the_header(path: str) -> None:
    part = FilePart(path, 5, 1 << 40)
    assert FilePart.parse(part.encode()) == part
    for value in (b"", b"1-2", b"-1-2 /a", b"1-2 /a b", b"1-2 /\xff"):
        with pytest.raises(ValueError, match="no part of a file"):
            FilePart.parse(value)
