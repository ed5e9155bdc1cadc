"""The service as a Quart-Trio application: views beside the service's routes, mounting, and its lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import hypercorn
import hypercorn.trio
import pytest
import trio
from hypercorn.utils import load_application
from quart import Blueprint, abort, websocket
from quart_trio import QuartTrio

import lakehouse
from lakehouse.core.errors import ErrUnavailable
from lakehouse.runtime.quart_app import LakehouseApp
from tools.kit.in_process_service import make_config

Message = dict[str, Any]


class Lifespan:
    """A server's side of the lifespan: what was sent, in order, and the end."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.started = trio.Event()
        self.stop = trio.Event()
        self._asked = 0

    async def receive(self) -> Message:
        self._asked += 1
        if self._asked == 1:
            return {"type": "lifespan.startup"}
        await self.stop.wait()
        return {"type": "lifespan.shutdown"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.started.set()


@asynccontextmanager
async def running(app: LakehouseApp, root_path: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """The application under stock Hypercorn, with a client; mounted by another application at `root_path`."""

    inner: Any = app

    async def mounted(scope: Message, receive: Any, send: Any) -> None:
        await inner({**scope, "root_path": root_path} if scope["type"] != "lifespan" else scope, receive, send)

    server_app: Any = mounted
    settings = hypercorn.Config()
    settings.bind = ["127.0.0.1:0"]
    settings.accesslog = settings.errorlog = None
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        serve: Any = partial(hypercorn.trio.serve, server_app, settings, shutdown_trigger=stop.wait, mode="asgi")
        (url,) = await nursery.start(serve)
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
            yield client
        stop.set()


def make_app() -> LakehouseApp:
    return lakehouse.create_app(make_config())


async def call(app: Any, scope: Message, receive: Any, send: Any) -> None:
    """What an ASGI server does, without the types of Hypercorn's."""
    await app(scope, receive, send)


def test_it_is_a_quart_trio_application_that_hypercorn_finds_by_its_public_name(
    monkeypatch: Any, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    wrapper: Any = load_application("lakehouse:create_app()", 1024)
    assert isinstance(wrapper.app, QuartTrio)
    assert {str(rule) for rule in wrapper.app.url_map.iter_rules()} == {
        "/v1/chat/providers",
        "/v1/models",
        "/v1/models/<path:name>",
    }


async def test_views_and_blueprints_of_its_owner_come_after_the_services_paths() -> None:
    app = make_app()
    mine = Blueprint("mine", __name__, url_prefix="/mine")

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    @app.get("/v1/chat")
    async def never() -> str:
        raise AssertionError("the service's own path")

    @mine.post("/<name>")
    async def create(name: str) -> tuple[dict[str, str], int]:
        return {"name": name}, 201

    app.register_blueprint(mine)
    async with running(app) as client:
        found = await client.get("/hello")
        assert (found.text, found.headers["x-request-id"] != "") == ("hello", True)
        assert found.headers["server-timing"].startswith("upstream;dur=0.0")
        created = await client.post("/mine/a")
        assert (created.status_code, created.json()) == (201, {"name": "a"})
        assert (await client.get("/v1/chat")).status_code == 405
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        wrong = await client.delete("/hello")
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "ErrMethodNotAllowed")
        assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
        assert (await client.get("/nothing")).json()["error"]["code"] == "ErrNotFound"


async def test_failures_of_a_view_are_the_services_to_answer(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()

    @app.get("/ours")
    async def ours() -> str:
        raise ErrUnavailable("later", retry_after=3)

    @app.get("/group")
    async def group() -> str:
        raise ExceptionGroup("nursery", [ErrUnavailable("later")])

    @app.get("/defect")
    async def defect() -> str:
        raise KeyError("secret")

    @app.get("/teapot")
    async def teapot() -> str:
        abort(418)

    async with running(app) as client:
        unavailable = await client.get("/ours")
        assert (unavailable.status_code, unavailable.headers["retry-after"]) == (503, "3")
        assert (await client.get("/group")).json()["error"]["message"] == "later"
        broken = await client.get("/defect")
        assert (broken.status_code, "secret" in broken.text) == (500, False)
        assert "KeyError" in caplog.text
        assert (await client.get("/teapot")).status_code == 418


async def test_it_can_be_mounted_below_a_path_of_another_application() -> None:
    async with running(make_app(), root_path="/ai") as client:
        assert (await client.get("/ai/healthz")).json() == {"status": "alive"}
        assert (await client.get("/ai/v1/models")).json() == {"object": "list", "data": []}
        assert (await client.get("/ai/v1/ch%61t")).status_code == 405


async def test_a_server_that_gives_no_raw_path_is_enough() -> None:
    app = make_app()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await trio.sleep_forever()
        raise AssertionError

    async with running(app):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/models",
            "query_string": b"",
            "headers": [],
            "scheme": "http",
        }
        await call(app, scope | {"http_version": "1.1", "extensions": {}}, receive, send)
    assert sent[0]["status"] == 200


async def test_a_websocket_view_is_found_and_no_other_is() -> None:
    app = make_app()

    @app.websocket("/echo")
    async def echo() -> None:
        await websocket.send(await websocket.receive())

    async def scope_at(path: str) -> list[Message]:
        sent: list[Message] = []
        came = iter([{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hi"}])

        async def receive() -> Message:
            for message in came:
                return message
            await trio.sleep_forever()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
        await call(app, scope | {"scheme": "ws", "subprotocols": [], "extensions": {}}, receive, send)
        return sent

    async with running(app):
        accepted, echoed, *_ = await scope_at("/echo")
        assert (accepted["type"], echoed["text"]) == ("websocket.accept", "hi")
        (refused,) = await scope_at("/other")
        assert refused["type"] == "websocket.close"


async def test_a_start_that_fails_is_reported_with_its_reason() -> None:
    lifespan = Lifespan()
    app = lakehouse.create_app(make_config(auth={"token_file": "/nowhere/tokens"}))
    await call(app, {"type": "lifespan", "asgi": {}}, lifespan.receive, lifespan.send)
    (message,) = lifespan.sent
    assert message["type"] == "lifespan.startup.failed"
    assert "auth.token_file cannot be read: /nowhere/tokens" in message["message"]
    with pytest.raises(RuntimeError, match="lifespan's startup"):
        await call(app, {"type": "http", "path": "/healthz"}, lifespan.receive, lifespan.send)


async def test_it_is_not_ready_while_it_drains_and_its_owners_resources_are_open_inside_the_services() -> None:
    app, order = make_app(), []

    @app.before_serving
    async def before() -> None:
        order.append(("before", bool(app.runtime.routers)))

    @app.after_serving
    async def after() -> None:
        order.append(("after", app.runtime.stopping.is_set()))

    async with running(app):
        pass
    assert order == [("before", True), ("after", True)]


async def test_the_server_is_told_of_the_end_when_everything_is_closed() -> None:
    app = make_app()
    tasks = trio.lowlevel.current_statistics().tasks_living

    class Watching(Lifespan):
        async def send(self, message: Message) -> None:
            self.left = trio.lowlevel.current_statistics().tasks_living - tasks
            await super().send(message)

    lifespan = Watching()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, app, {"type": "lifespan", "asgi": {}}, lifespan.receive, lifespan.send)
        await lifespan.started.wait()
        assert lifespan.left > 1
        lifespan.stop.set()
    assert [message["type"] for message in lifespan.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert lifespan.left == 1  # the lifespan's own task
    with pytest.raises(RuntimeError, match="lifespan's startup"):
        assert app.runtime
