"""CORS: the pages of `[auth] origins` may call and read every answer, and no other page may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from lakehouse.asgi.middleware.cors import Origins, grant_preflight, mark_headers
from lakehouse.cli import main
from lakehouse.config import ConfigError, parse_config
from lakehouse.testing.upstreams import answer_with, open_upstream, respond
from tools.kit.in_process_service import client_of, make_config, open_service
from tools.kit.service_with_providers import HELLO, chunk, events, line, lines, ollama, streamed_response

APP = "https://app.example"
OTHER = "https://other.example"
PAGE = {"origin": APP, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
STRANGER = {**PAGE, "origin": OTHER}
TOKEN = {"authorization": "Bearer one"}

READ_AS = {
    "https://app.example": "https://app.example",
    "HTTPS://App.Example": "https://app.example",
    "https://app.example:443": "https://app.example",
    "http://app.example:80": "http://app.example",
    "http://app.example:443": "http://app.example:443",
    "http://localhost:5173": "http://localhost:5173",
    "http://127.0.0.1:3000": "http://127.0.0.1:3000",
    "http://[::1]:8080": "http://[::1]:8080",
    "https://bücher.example": "https://xn--bcher-kva.example",
    "chrome-extension://abcdefghijklmnop": "chrome-extension://abcdefghijklmnop",
    "app://obsidian.md": "app://obsidian.md",
    "tauri://localhost": "tauri://localhost",
}

NO_ORIGINS = [
    "https://app.example/",
    "https://app.example/page",
    "https://app.example?x",
    "https://app.example#x",
    "https://user@app.example",
    "https://user:word@app.example",
    "app.example",
    "//app.example",
    "https://",
    "https://app.example:0",
    "https://app.example:65536",
    "https://app.example:x",
    "https://*.example",
    "https://app example",
    "https://app.example ",
    "*",
    "null",
    "",
]


class TestConfiguration:
    @pytest.mark.parametrize(("written", "meant"), READ_AS.items())
    def test_what_is_an_origin(self, written: str, meant: str) -> None:
        assert parse_config({"auth": {"origins": [written]}}).config.auth.origins == (meant,)

    @pytest.mark.parametrize("written", NO_ORIGINS)
    def test_what_is_none(self, written: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_config({"auth": {"origins": [APP, written]}})
        (problem,) = caught.value.problems
        assert problem.startswith("auth.origins must be a list of web origins")
        assert "word" not in problem

    @pytest.mark.parametrize("written", [APP, 1, [1], {"a": 1}, True])
    def test_what_is_no_list(self, written: object) -> None:
        with pytest.raises(ConfigError, match=r"auth\.origins must be a list of web origins"):
            parse_config({"auth": {"origins": written}})

    def test_check_shows_them(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "it.toml"
        file.write_text(f'[auth]\norigins = ["{APP}", "http://localhost:5173"]\n')
        assert main(["check", "-c", str(file)]) == 0
        shown = capsys.readouterr().out
        assert f"pages of       {APP}\n               http://localhost:5173\n" in shown
        assert main(["check", "--json", "-c", str(file)]) == 0
        assert f'"{APP}"' in capsys.readouterr().out


class TestMatching:
    @pytest.mark.parametrize("origin", [b"https://app.example", b"https://APP.example", b"https://app.example:443"])
    def test_who_is_listed(self, origin: bytes) -> None:
        assert Origins([APP]).find_allowed([(b"origin", origin)]) == origin

    @pytest.mark.parametrize(
        "headers",
        [
            [],
            [b""],
            [b"null"],
            [b"*"],
            [b"http://app.example"],
            [b"https://app.example:8443"],
            [b"https://app.example.evil.example"],
            [b"https://evil.example/https://app.example"],
            [b"https://xapp.example"],
            [b"https://sub.app.example"],
            [b"https://app.example/"],
            [b"https://app.example, https://app.example"],
            [b"https://app.example https://app.example"],
            [b"https://app.example\xff"],
            [b"https://app.example", b"https://app.example"],
        ],
    )
    def test_who_is_not(self, headers: list[bytes]) -> None:
        assert Origins([APP]).find_allowed([(b"origin", value) for value in headers]) is None


def granted(**headers: str) -> dict[bytes, bytes] | None:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    found = grant_preflight({"method": "OPTIONS", "headers": fields})
    return None if found is None else dict(found)


@pytest.mark.parametrize(
    "requested",
    [
        "authorization",
        "authorization, content-type",
        "authorization,content-type,x-request-id,x-request-timeout-ms",
        "x-api-key,anthropic-version,anthropic-beta,anthropic-dangerous-direct-browser-access",
        "x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-retry-count,x-stainless-timeout",
        "X-Custom",
    ],
)
def test_the_headers_that_are_asked_for_are_allowed(requested: str) -> None:
    grant = granted(access_control_request_method="POST", access_control_request_headers=requested)
    assert grant is not None
    allowed = grant[b"access-control-allow-headers"].decode().split(", ")
    assert allowed == [name.strip().lower() for name in requested.split(",")]


@pytest.mark.parametrize("requested", ["", "a b", "a,,b", "x\tx", 'a"', ",".join(f"x-{n}" for n in range(101))])
def test_what_is_no_list_of_headers_gets_ours(requested: str) -> None:
    grant = granted(access_control_request_method="POST", access_control_request_headers=requested)
    assert grant is not None
    assert b"authorization" in grant[b"access-control-allow-headers"]


@pytest.mark.parametrize(
    ("method", "more"),
    [("GET", b""), ("POST", b""), ("PROPFIND", b", PROPFIND"), ("TRACE", b""), ("connect", b""), ("a b", b"")],
)
def test_every_method_that_is_served_is_allowed(method: str, more: bytes) -> None:
    grant = granted(access_control_request_method=method)
    assert grant is not None
    assert grant[b"access-control-allow-methods"] == b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" + more


def test_options_without_a_method_is_no_preflight() -> None:
    assert granted(access_control_request_headers="x") is None
    assert grant_preflight({"method": "GET", "headers": [(b"access-control-request-method", b"GET")]}) is None


@pytest.mark.parametrize(
    ("vary", "more"),
    [(None, ["Origin"]), ("Accept", ["Accept", "Origin"]), ("*", ["*"]), ("accept, ORIGIN", ["accept, ORIGIN"])],
)
def test_answers_vary_by_origin_once(vary: str | None, more: list[str]) -> None:
    headers = mark_headers([] if vary is None else [(b"Vary", vary.encode())], None)
    assert [value.decode() for name, value in headers if name.lower() == b"vary"] == more


def readable(answer: httpx.Response, origin: str = APP) -> bool:
    assert "access-control-allow-credentials" not in answer.headers
    assert "origin" in answer.headers["vary"].lower()
    allowed = answer.headers.get_list("access-control-allow-origin")
    if not allowed:
        return False
    assert allowed == [origin]
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "server-timing", "retry-after", "x-lakehouse-attempts"} <= set(exposed)
    return True


def settings(**tables: Any) -> Any:
    return make_config(auth={"origins": [APP]}, **tables)


@pytest.mark.parametrize("env", [{}, {"LAKEHOUSE_TOKEN": "one"}])
@pytest.mark.parametrize(
    "path", ["/v1/chat", "/v1/chat/completions", "/v1/models", "/v1/storage/x", "/v1/sql", "/healthz", "/none"]
)
async def test_a_preflight_needs_no_token(env: dict[str, str], path: str) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    async with open_service(settings(), env) as service, client_of(service) as client:
        answer = await client.options(path, headers={**PAGE, **asks})
        assert (answer.status_code, answer.content) == (204, b"")
        assert readable(answer)
        assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
        assert int(answer.headers["access-control-max-age"]) > 0
        assert "access-control-allow-private-network" not in answer.headers
        private = {"access-control-request-private-network": "true"}
        answer = await client.options(path, headers={**PAGE, **asks, **private})
        assert answer.headers["access-control-allow-private-network"] == "true"
        stranger = await client.options(path, headers={**STRANGER, **asks})
        assert not readable(stranger)
        assert "access-control-allow-methods" not in stranger.headers
        if path != "/healthz":
            assert stranger.status_code == (401 if env else 403)


ERRORS = [
    ("GET", "/v1/none", {}, b"", 404),
    ("GET", "/v1/chat", {}, b"", 405),
    ("POST", "/v1/chat", {}, b"{", 400),
    ("POST", "/v1/chat/completions", {}, b"{}", 400),
    ("POST", "/v1/chat", {}, b"[" * 3000, 413),
    ("POST", "/v1/chat", {"x-request-timeout-ms": "x"}, b"{}", 400),
    ("POST", "/v1/chat", {"content-encoding": "gzip"}, b"{}", 400),
    ("GET", "/v1/storage/%2e%2e/%2e%2e/x", {}, b"", 400),
    ("GET", "/v1/sql", {}, b"", 502),
    ("GET", "/v1/storage/slow", {"x-request-timeout-ms": "50"}, b"", 504),
    ("GET", "/v1/storage/" + "x" * 9000, {}, b"", 414),
    ("GET", "/v1/storage/x", {f"x-{n}": "" for n in range(120)}, b"", 431),
    ("TRACE", "/v1/storage/x", {}, b"", 501),
    ("POST", "/v1/storage/x", {"expect": "wonders"}, b"", 417),
]


@pytest.mark.parametrize(("method", "path", "headers", "body", "status"), ERRORS)
async def test_errors_can_be_read(method: str, path: str, headers: dict[str, str], body: bytes, status: int) -> None:
    async with open_upstream(never) as slow:
        gateway = {"storaged_url": slow.url, "queryd_url": "http://127.0.0.1:9"}
        async with open_service(settings(gateway=gateway, chatd={"ollama_url": "", "max_body": 1000})) as service:
            async with client_of(service) as client:
                answer = await client.request(method, path, headers={**PAGE, **headers}, content=body)
    assert answer.status_code == status
    assert readable(answer)


async def never(*_: object) -> None:
    await trio.sleep_forever()


async def test_a_token_is_still_needed_and_its_absence_can_be_read() -> None:
    async with open_service(settings(), {"LAKEHOUSE_TOKEN": "one"}) as service, client_of(service) as client:
        for headers, status in ((PAGE, 401), ({**PAGE, "authorization": "Bearer two"}, 401), ({**PAGE, **TOKEN}, 200)):
            answer = await client.get("/v1/models", headers=headers)
            assert answer.status_code == status
            assert readable(answer)
        stranger = await client.get("/v1/models", headers={**STRANGER, **TOKEN})
        assert stranger.status_code == 200
        assert not readable(stranger)
        assert not readable(await client.get("/v1/models", headers=TOKEN))


async def test_pages_of_other_origins_are_refused_as_before() -> None:
    async with open_service(settings()) as service, client_of(service) as client:
        for origin in (OTHER, "null", f"{APP}.evil.example", "http://app.example", f"{APP}:8443"):
            answer = await client.get("/v1/models", headers={**PAGE, "origin": origin})
            assert answer.status_code == 403
            assert not readable(answer)
        assert (await client.get("/v1/models", headers=PAGE)).status_code == 200
        rebound = await client.get("/v1/models", headers={**PAGE, "host": "app.example"})
        assert rebound.status_code == 403


async def test_without_origins_nothing_is_said() -> None:
    async with open_upstream(answer_with(respond(b"", more="access-control-allow-origin: *\r\n"))) as there:
        config = make_config(gateway={"storaged_url": there.url})
        async with open_service(config) as service, client_of(service) as client:
            plain = await client.get("/v1/models")
            passed = await client.get("/v1/storage/x")
            asks = {**PAGE, "access-control-request-method": "POST"}
            assert (await client.options("/v1/chat", headers=asks)).status_code == 403
            assert (await client.get("/v1/models", headers=PAGE)).status_code == 403
    assert not [name for name in plain.headers if name.startswith("access-control") or name == "vary"]
    assert passed.headers["access-control-allow-origin"] == "*"


async def test_what_an_upstream_says_about_cors_is_replaced() -> None:
    theirs = (
        "Access-Control-Allow-Origin: *\r\naccess-control-allow-credentials: true\r\nVary: Accept\r\n"
        "access-control-expose-headers: x-theirs\r\nX-Theirs: 1\r\n"
    )
    async with open_upstream(answer_with(respond(b"{}", more=theirs))) as there:
        async with open_service(settings(gateway={"storaged_url": there.url})) as service, client_of(service) as client:
            ours = await client.get("/v1/storage/x", headers=PAGE)
            none = await client.get("/v1/storage/x")
    assert readable(ours)
    assert "x-theirs" in ours.headers["access-control-expose-headers"].split(", ")
    assert ours.headers.get_list("vary") == ["Accept", "Origin"]
    assert not readable(none)


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
async def test_chats(path: str, stream: bool) -> None:
    answer = streamed_response(lines(line("Hel"), line("lo."), line(done=True))) if stream else respond(ollama())
    async with open_upstream(answer_with(answer)) as there:
        async with open_service(settings(chatd={"ollama_url": there.url})) as service, client_of(service) as client:
            body = {"model": "ollama/m", "messages": HELLO, "stream": stream}
            got = await client.post(path, json=body, headers=PAGE)
    assert got.status_code == 200
    assert readable(got)
    assert "origin" not in there.requests[0].headers


async def test_a_stream_through_the_gateway() -> None:
    async with open_upstream(
        answer_with(respond(events(chunk(content="x")), content_type="text/event-stream"))
    ) as there:
        async with open_service(settings(gateway={"storaged_url": there.url})) as service, client_of(service) as client:
            got = await client.get("/v1/storage/events", headers=PAGE)
    assert readable(got)
    assert got.content.endswith(b"[DONE]\n\n")


UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def test_websockets_of_other_origins_are_refused() -> None:
    async with open_service(settings()) as service, client_of(service) as client:
        for origin, status in ((APP, 404), (OTHER, 403), ("null", 403)):  # 404: let in, and nothing is served there
            answer = await client.get("/v1/none", headers={**UPGRADE, "origin": origin})
            assert answer.status_code == status


async def test_the_listener_for_chat_alone_as_well() -> None:
    async with open_service(settings(chatd={"ollama_url": "", "bind": "127.0.0.1:0"})) as service:
        async with httpx.AsyncClient(base_url=service.urls[1], trust_env=False) as client:
            assert readable(await client.get("/models", headers=PAGE))
            asks = {**PAGE, "access-control-request-method": "POST"}
            assert (await client.options("/chat", headers=asks)).status_code == 204
