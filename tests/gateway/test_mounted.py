"""A service in this process behind a route of the gateway: a plain ASGI application, and one of a web framework."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from quart import request
from quart_trio import QuartTrio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, Request, TextMessage

from lakehouse.asgi.body import read_body
from lakehouse.asgi.responses import send_json
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.core.errors import ErrNotFound
from tools.kit.gateway_services import Client, open_gateway, serve_hypercorn, serve_ours

both = pytest.mark.parametrize("server", [serve_ours, serve_hypercorn])


class Service:
    """A service that does what the path says, and counts what is under way."""

    def __init__(self) -> None:
        self.began = trio.Event()
        self.ended = trio.Event()
        self.cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.began.set()
        try:
            await self._answer(scope, receive, send)
        except trio.Cancelled:
            self.cancelled = True
            raise
        finally:
            self.ended.set()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope["root_path"])
        if scope["type"] == "websocket":
            await echo(receive, send)
        elif path.endswith("/never"):
            await trio.sleep_forever()
        elif path.endswith("/half"):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            await trio.sleep_forever()
        elif path.endswith("/missing"):
            raise ErrNotFound("no such table")
        elif path.endswith("/broken"):
            raise KeyError("a defect")
        else:
            body = await read_body(receive, 1_000_000)
            document = {
                "method": scope["method"],
                "path": path,
                "raw": scope["raw_path"].decode(),
                "query": scope["query_string"].decode(),
                "bytes": len(body),
            }
            await send_json(send, 200, document)


async def echo(receive: Receive, send: Send) -> None:
    """Give every message back until the client closes."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


@both
async def test_a_mounted_application_answers_below_its_prefix(server: Any) -> None:
    async with open_gateway(server=server, apps={"queryd": Service()}) as up:
        answer = await up.ask("/v1/sql/a%2Fb?x=1")
        assert (answer.status, json.loads(answer.body)) == (
            200,
            {"method": "GET", "path": "/sql/a/b", "raw": "/v1/sql/a%2Fb", "query": "x=1", "bytes": 0},
        )
        assert json.loads((await up.ask("/v1/sql")).body)["path"] == "/sql"
        assert json.loads((await up.ask("/v1/s%71l/x")).body)["path"] == "/sql/x"
        posted = await up.ask("/v1/sql", method="POST", headers="content-length: 70000", body=b"x" * 70_000)
        assert (json.loads(posted.body)["method"], json.loads(posted.body)["bytes"]) == ("POST", 70_000)
        assert (await up.ask("/v1/storage/x")).body == b"ok"  # another service has its URL as before
        assert up.queryd.opened == 0
        assert [(ended.route, ended.upstream, ended.status) for ended in up.ended[:1]] == [("/v1/sql", "queryd", 200)]


@both
async def test_what_a_mounted_application_raises_is_the_response(server: Any) -> None:
    async with open_gateway(server=server, apps={"queryd": Service()}) as up:
        missing = await up.ask("/v1/sql/missing")
        assert (missing.status, json.loads(missing.body)["error"]["message"]) == (404, "no such table")
        assert (await up.ask("/v1/sql/broken")).status == 500
        leaving = await up.ask("/v1/sql/../storage/x")
        assert (leaving.status, "dot segments" in json.loads(leaving.body)["error"]["message"]) == (400, True)


@both
@pytest.mark.parametrize("path", ["/v1/sql/never", "/v1/sql/half"])
async def test_a_client_that_leaves_cancels_it(server: Any, path: str) -> None:
    service = Service()
    async with open_gateway(server=server, apps={"queryd": service}) as up:
        async with await up.connect() as client:
            await client.send(b"GET %b HTTP/1.1\r\nhost: door\r\n\r\n" % path.encode())
            if path.endswith("half"):
                await client.answer_head()
            await service.began.wait()
        await service.ended.wait()
        assert service.cancelled
        while not up.is_quiet():
            await trio.sleep(0.001)


@both
async def test_the_deadline_of_the_caller_ends_it(server: Any) -> None:
    service = Service()
    async with open_gateway(server=server, apps={"queryd": service}) as up:
        answer = await up.ask("/v1/sql/never", headers="x-request-timeout-ms: 50")
        assert (answer.status, service.cancelled) == (504, True)
        assert "queryd" in json.loads(answer.body)["error"]["message"]


@both
async def test_a_websocket_reaches_it(server: Any) -> None:
    service = Service()
    async with open_gateway(server=server, apps={"observerd": service}) as up, await up.connect() as client:
        socket = WSConnection(ConnectionType.CLIENT)
        await client.send(socket.send(Request(host="door", target="/v1/observer/live")))
        assert isinstance(await next_event(socket, client), AcceptConnection)
        await client.send(socket.send(TextMessage(data="hello")))
        assert (await next_event(socket, client)).data == "hello"
        await client.send(socket.send(CloseConnection(code=1000)))
        await service.ended.wait()
        assert not service.cancelled


async def next_event(socket: WSConnection, client: Client) -> Any:
    """The next event that the server has sent."""
    while True:
        for event in socket.events():
            assert not isinstance(event, RejectConnection)
            return event
        socket.receive_data(await client.some())


@both
async def test_a_web_framework_routes_as_it_does_behind_a_url(server: Any) -> None:
    app = QuartTrio("sql")

    @app.post("/sql/tables/<name>")
    async def create(name: str) -> dict[str, object]:
        return {"name": name, "body": await request.get_data(as_text=True)}

    mounted: App = app  # type: ignore[assignment]
    async with open_gateway(server=server, apps={"queryd": mounted}) as up:
        answer = await up.ask("/v1/sql/tables/t", method="POST", headers="content-length: 3", body=b"abc")
        assert (answer.status, json.loads(answer.body)) == (200, {"name": "t", "body": "abc"})
        assert (await up.ask("/v1/sql/nothing")).status == 404  # the framework's own
