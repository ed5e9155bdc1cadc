"""Every family of paths over real HTTP: methods, `Allow`, HEAD, 404 and spelling, under both servers.

The application of `create_app`, under stock Hypercorn, has the same tables as `lakehouse serve`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import hypercorn
import hypercorn.trio
import pytest
import trio

from lakehouse.chat.api.ollama.paths import PATHS as OLLAMA_PATHS
from lakehouse.config import Config
from lakehouse.runtime.preflight import preflight
from lakehouse.runtime.quart_app import create_app
from lakehouse.runtime.runtime import open_runtime
from lakehouse.testing.upstreams import ReceivedRequest, open_upstream, respond
from tools.kit.in_process_service import client_of, make_config, open_service

Served = Callable[[Config], AbstractAsyncContextManager[httpx.AsyncClient]]


@asynccontextmanager
async def ours(config: Config) -> AsyncIterator[httpx.AsyncClient]:
    """As `lakehouse serve` serves it."""
    async with open_service(config) as service, client_of(service) as client:
        yield client


@asynccontextmanager
async def stock(config: Config) -> AsyncIterator[httpx.AsyncClient]:
    """The application under Hypercorn as it comes."""
    settings = hypercorn.Config()
    settings.bind = ["127.0.0.1:0"]
    settings.accesslog = settings.errorlog = None
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        serve: Any = partial(hypercorn.trio.serve, create_app(config), settings, shutdown_trigger=stop.wait)
        (url,) = await nursery.start(serve)
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
            yield client
        stop.set()


SERVERS: dict[str, Served] = {"lakehouse serve": ours, "stock Hypercorn": stock}
both = pytest.mark.parametrize("server", SERVERS)

READ = "GET, HEAD, OPTIONS"
FAMILIES = [
    ("/", READ),
    ("/healthz", READ),
    ("/readyz", READ),
    ("/metrics", READ),
    ("/v1/requests", READ),
    ("/v1/chat", "OPTIONS, POST"),
    ("/v1/chat/completions", "OPTIONS, POST"),
    ("/v1/messages", "OPTIONS, POST"),
    ("/v1/messages/count_tokens", "OPTIONS, POST"),
    ("/v1/chat/providers", READ),
    ("/v1/models", READ),
    ("/v1/models/no/such", READ),
]
"""Each path of the service's own, and the methods that it takes."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@both
async def test_every_path_takes_its_methods_and_names_them_to_any_other(server: str) -> None:
    async with SERVERS[server](make_config()) as client:
        for path, allow in FAMILIES:
            for method in METHODS:
                response = await client.request(method, path)
                if method == "OPTIONS":
                    assert (response.status_code, response.content) == (204, b""), path
                    assert response.headers["allow"] == allow, path
                elif method in allow.split(", "):
                    assert response.status_code != 405, (method, path)
                    assert "allow" not in response.headers, (method, path)
                else:
                    assert (response.status_code, response.headers["allow"]) == (405, allow), (method, path)
                    if method != "HEAD":
                        assert response.headers["x-request-id"] in response.text


@both
async def test_head_is_get_without_the_body(server: str) -> None:
    async with SERVERS[server](make_config()) as client:
        for path, allow in FAMILIES:
            if "GET" not in allow:
                continue
            get, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.headers["content-type"] == get.headers["content-type"], path
            assert int(head.headers["content-length"]) > 0, path


@both
async def test_what_is_in_no_table_is_not_found(server: str) -> None:
    async with SERVERS[server](make_config()) as client:
        for path in ("/v1", "/v1/nothing", "/v1/chat/", "/v1/chat/x", "/v1//models", "/chat", "/v1/sqlx", "/v1/storage",
                     "/static/x", "/healthz/"):  # fmt: skip
            for method in ("GET", "POST", "OPTIONS"):
                response = await client.request(method, str(client.base_url) + path)
                assert response.status_code == 404, (method, path)
                assert response.json()["error"]["status"] == 404


@both
async def test_an_encoded_letter_is_the_letter(server: str) -> None:
    async def answer(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(respond(b"here"))

    async with open_upstream(answer) as storaged, SERVERS[server](make_config(gateway={"storaged_url": storaged.url})) as client:  # fmt: skip
        base = str(client.base_url)
        for path, same in (
            ("/he%61lthz", "/healthz"),
            ("/v1/ch%61t/providers", "/v1/chat/providers"),
            ("/v1/m%6Fdels", "/v1/models"),
            ("/%761/requests", "/v1/requests"),
        ):
            odd, plain = await client.get(base + path), await client.get(base + same)
            assert (odd.status_code, plain.status_code) == (200, 200), path
            assert odd.headers["content-type"] == plain.headers["content-type"]
        refused = await client.post(base + "/v1/ch%61t", content=b"{}")
        assert refused.status_code == 400  # by the endpoint of /v1/chat, which wants a model
        assert "model" in refused.json()["error"]["message"]
        assert (await client.get(base + "/v1/%73torage/a%2Fb%2Dc?x=%7e")).text == "here"
        assert [request.target for request in storaged.requests] == ["/%73torage/a%2Fb%2Dc?x=%7e"]
        leaving = await client.get(base + "/v1/%73torage/..%2f..%2fsql")
        assert (leaving.status_code, len(storaged.requests)) == (400, 1)


@both
async def test_the_gateway_passes_every_method_on(server: str) -> None:
    async def answer(request: ReceivedRequest, stream: trio.SocketStream) -> None:
        body = b"" if request.method == "HEAD" else b"theirs"
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nallow: BREW\r\n\r\n" + body)

    async with open_upstream(answer) as storaged, SERVERS[server](make_config(gateway={"storaged_url": storaged.url})) as client:  # fmt: skip
        for method in ("GET", "HEAD", "OPTIONS", "DELETE", "PATCH"):
            response = await client.request(method, "/v1/storage/x")
            assert (response.status_code, response.headers["allow"]) == (200, "BREW"), method
        assert [request.method for request in storaged.requests] == ["GET", "HEAD", "OPTIONS", "DELETE", "PATCH"]


async def test_the_second_listener_has_the_same_rules_on_its_own_paths() -> None:
    async with open_service(make_config(chatd={"bind": "127.0.0.1:0"})) as service:
        async with httpx.AsyncClient(base_url=service.urls[1], timeout=20, trust_env=False) as client:
            for main_path, allow in FAMILIES:
                path = main_path.removeprefix("/v1")
                served = path.startswith(("/chat", "/messages", "/models", "/healthz", "/readyz"))
                options, wrong = await client.options(path), await client.delete(path)
                assert (options.status_code, options.headers.get("allow")) == ((204, allow) if served else (404, None))
                assert (wrong.status_code, wrong.headers.get("allow")) == ((405, allow) if served else (404, None))
            assert (await client.get("/v1/chat/providers")).status_code == 404


async def test_both_servers_have_the_same_routes_from_the_same_tables() -> None:
    config = make_config()
    app = create_app(config)
    lifespan = {"type": "lifespan", "asgi": {"version": "3.0"}}
    started, stop = trio.Event(), trio.Event()
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        kind = next(messages)
        if kind == "lifespan.shutdown":
            await stop.wait()
        return {"type": kind}

    async def send(message: Any) -> None:
        if message["type"] == "lifespan.startup.complete":
            started.set()

    async with trio.open_nursery() as nursery:
        start: Any = app
        nursery.start_soon(start, lifespan, receive, send)
        await started.wait()
        async with open_runtime(config, preflight(config, {}), env={}) as runtime:
            every = [(type(route), route.name) for route in runtime.routers[0].routes]
            served = [(kind, name) for kind, name in every if name not in OLLAMA_PATHS]  # which may be an app's own
            assert [(type(route), route.name) for route in app.runtime.routers[0].routes] == served
        listed = {str(rule) for rule in app.url_map.iter_rules()}
        assert listed == {"/v1/chat/providers", "/v1/models", "/v1/models/<path:name>"}
        stop.set()
    assert {path for path, _ in FAMILIES} - {"/v1/models/no/such"} <= {name for _, name in served}
