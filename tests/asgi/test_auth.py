"""Access to the service: tokens from the environment and a file, networks, open paths, WebSockets, web pages."""

from __future__ import annotations

import hmac
import json
import logging
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from lakehouse.asgi.middleware import tokens as tokens_module
from lakehouse.asgi.middleware.auth import AuthMiddleware
from lakehouse.asgi.middleware.tokens import Tokens
from lakehouse.asgi.types import Message, Receive, Scope, Send
from lakehouse.config import AuthTable, ConfigError
from lakehouse.core.errors import ErrForbidden, ErrUnauthorized
from tools.kit.gateway_services import open_gateway
from tools.kit.service_with_providers import open_service_with_providers
from tools.kit.telemetry_fixtures import CapturedLog

LOCAL = "127.0.0.1"


class RecordingApp:
    """An application behind the middleware; records the types of the scopes that reached it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        self.reached.append(scope["type"])


async def _no_receive() -> Message:
    raise AssertionError("the middleware must not read")


async def _no_send(message: Message) -> None:
    raise AssertionError(f"the middleware must not answer by itself: {message}")


async def admit(
    *headers: bytes,
    tokens: tuple[str, ...] = ("one", "two"),
    allow: tuple[str, ...] = (),
    peer: str | None = LOCAL,
    path: bytes = b"/v1/sql",
    kind: str = "http",
) -> bool:
    app = RecordingApp()
    middleware = AuthMiddleware(app, tokens=Tokens(tokens), allow=[ip_network(network) for network in allow])
    scope: dict[str, Any] = {
        "type": kind,
        "raw_path": path,
        "client": None if peer is None else (peer, 50000),
        "headers": [(b"authorization", header) for header in headers],
    }
    await middleware(scope, _no_receive, _no_send)
    return app.reached == [kind]


@pytest.mark.parametrize(
    "header", [b"Bearer one", b"Bearer two", b"bearer one", b"BEARER  one", b" Bearer one ", b"Bearer\tone"]
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_one_of_the_tokens_opens(header: bytes, kind: str) -> None:
    assert await admit(header, kind=kind)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (b"",),
        (b"Bearer",),
        (b"Bearer ",),
        (b"Bearer three",),
        (b"Bearer on",),
        (b"Bearer onetwo",),
        (b"Bearer one,two",),
        (b"one",),
        (b"Basic one",),
        (b"Token one",),
        (b"Bearer \xff",),
        (b"Bearer one", b"Bearer one"),
        (b"Bearer three", b"Bearer one"),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_nothing_else_does(headers: tuple[bytes, ...], kind: str) -> None:
    with pytest.raises(ErrUnauthorized) as refused:
        await admit(*headers, kind=kind)
    assert ("www-authenticate", "Bearer") in refused.value.headers()


async def test_without_tokens_the_door_is_open() -> None:
    assert await admit(tokens=())


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz"])
async def test_health_is_open_to_everybody(path: bytes) -> None:
    assert await admit(path=path)
    assert await admit(path=path, allow=("10.0.0.0/8",))


@pytest.mark.parametrize(
    "path", [b"/healthz/", b"/healthz/x", b"/%68ealthz", b"//healthz", b"/readyz%2f..", b"/metrics"]
)
async def test_what_only_looks_like_health_is_not(path: bytes) -> None:
    with pytest.raises(ErrUnauthorized):
        await admit(path=path)


async def test_a_websocket_to_an_open_path_is_not_open() -> None:
    with pytest.raises(ErrUnauthorized):
        await admit(path=b"/healthz", kind="websocket")


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"])
async def test_allowed_networks_may_connect(peer: str) -> None:
    assert await admit(b"Bearer one", allow=("10.0.0.0/8", "2001:db8::/32"), peer=peer)


@pytest.mark.parametrize("peer", ["11.1.2.3", "127.0.0.1", "2001:db9::1", "::1", "", None])
@pytest.mark.parametrize("tokens", [(), ("one",)])
async def test_other_networks_may_not_with_or_without_a_token(peer: str | None, tokens: tuple[str, ...]) -> None:
    with pytest.raises(ErrForbidden):
        await admit(b"Bearer one", tokens=tokens, allow=("10.0.0.0/8", "2001:db8::/32"), peer=peer)


async def test_networks_alone_need_no_token() -> None:
    assert await admit(tokens=(), allow=("127.0.0.0/8",))


def test_tokens_come_from_the_environment_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# for the importer\nthree\n\n  four  \r\nfive,six\n")
    tokens = Tokens.load(AuthTable(token_file=str(file)), {"LAKEHOUSE_TOKEN": " one ,two,,"})
    assert len(tokens) == 5
    for token in (b"one", b"two", b"three", b"four", b"five,six"):
        assert tokens.identify(b"Bearer " + token) is not None
    assert tokens.identify(b"Bearer # for the importer") is None
    assert tokens.identify(b"Bearer five") is None


def test_the_variables_name_is_configurable() -> None:
    assert len(Tokens.load(AuthTable(token_env="MINE"), {"LAKEHOUSE_TOKEN": "a", "MINE": "b,c"})) == 2
    assert not Tokens.load(AuthTable(token_env=""), {"": "a"})
    assert not Tokens.load(AuthTable(), {})


def test_a_file_that_gives_no_token_stops_the_start(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n# nothing\n")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path, why in ((tmp_path / "none", "No such file"), (empty, "no token in it"), (binary, "not UTF-8")):
        with pytest.raises(ConfigError, match=r"auth\.token_file") as raised:
            Tokens.load(AuthTable(token_file=str(path)), {"LAKEHOUSE_TOKEN": "one"})
        assert why in str(raised.value)


def test_every_token_is_compared_by_digest_and_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    original = hmac.compare_digest

    def watched(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return original(left, right)

    tokens = Tokens(["a", "bb", "ccc"])
    monkeypatch.setattr(tokens_module.hmac, "compare_digest", watched)
    for presented in (b"a", b"ccc", b"none of them, and of another length"):
        compared.clear()
        tokens.identify(b"Bearer " + presented)
        assert compared == [(32, 32)] * 3


def test_tokens_do_not_show() -> None:
    assert "secret" not in repr(Tokens(["secret"]))
    assert b"secret" not in b"".join(Tokens(["secret"])._principals)


@pytest.mark.parametrize(
    ("entry", "principal", "token"),
    [
        ("one", "default", b"one"),
        ("alice one", "alice", b"one"),
        ("  ci-bot@build.7 \t one ", "ci-bot@build.7", b"one"),
        ("default one", "default", b"one"),
        ("a" * 32 + " one", "a" * 32, b"one"),
    ],
)
def test_a_token_may_have_a_name(entry: str, principal: str, token: bytes) -> None:
    assert Tokens([entry]).identify(b"Bearer " + token) == principal
    assert Tokens([entry]).identify(b"Bearer " + entry.encode()) == (principal if entry == "one" else None)


def test_several_tokens_may_belong_to_one_principal() -> None:
    tokens = Tokens(["alice old", "alice new", "bob other"])
    assert [tokens.identify(b"Bearer " + token) for token in (b"old", b"new", b"other")] == ["alice", "alice", "bob"]


@pytest.mark.parametrize(
    ("env", "lines", "problems"),
    [
        ("a one, b two three", "", ["auth.token_env: entry 2 of $LAKEHOUSE_TOKEN must be `token` or `name token`"]),
        ("s/lash one", "", ["auth.token_env: entry 1 of $LAKEHOUSE_TOKEN must be"]),
        ("a" * 33 + " one", "", ["auth.token_env: entry 1 of $LAKEHOUSE_TOKEN must be"]),
        ("one,,one", "", ["auth.token_env: entry 3 of $LAKEHOUSE_TOKEN has the same token as auth.token_env: entry 1"]),
        ("a one, b one", "", ["auth.token_env: entry 2 of $LAKEHOUSE_TOKEN has the same token as"]),
        (
            "a one",
            "# mine\nb one\nc two x\nd two\n",
            [
                "auth.token_file: line 2 of {file} has the same token as auth.token_env: entry 1 of $LAKEHOUSE_TOKEN",
                "auth.token_file: line 3 of {file} must be",
            ],
        ),
    ],
)
def test_entries_that_are_malformed_or_there_twice_stop_the_start(
    tmp_path: Path, env: str, lines: str, problems: list[str]
) -> None:
    file = tmp_path / "tokens"
    file.write_text(lines or "unrelated")
    with pytest.raises(ConfigError) as raised:
        Tokens.load(AuthTable(token_file=str(file)), {"LAKEHOUSE_TOKEN": env})
    assert len(raised.value.problems) == len(problems)
    for found, start in zip(raised.value.problems, problems, strict=True):
        assert found.startswith(start.format(file=file))
        assert not {"one", "two", "three", "lash"} & set(found.replace("`", " ").split())


async def test_the_principal_is_in_the_log_and_in_the_list_of_requests_and_the_token_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    env = {"LAKEHOUSE_TOKEN": "alice s3cret-a, s3cret-b"}
    log = CapturedLog()
    async with open_service_with_providers(env=env, log=log.log) as there:
        for token, principal in (("s3cret-a", "alice"), ("s3cret-b", "default")):
            answer = await there.client.get("/v1/requests", headers={"authorization": f"Bearer {token}"})
            assert [row["principal"] for row in answer.json()["requests"]] == [principal]
            assert "s3cret" not in answer.text
        await there.client.get("/healthz")
        await there.client.get("/v1/requests", headers={"authorization": "Bearer wrong"})
        lines = await log.requests(4)
    assert [line.get("principal") for line in lines] == ["alice", "default", None, None]
    assert "s3cret" not in log.text + caplog.text


async def test_the_door_in_front_of_the_gateway(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = Tokens(["s3cret-token"])
    async with open_gateway(wrap=lambda app: AuthMiddleware(app, tokens=tokens)) as up:
        for headers in ("", "authorization: Bearer wr0ng-token", "authorization: Basic s3cret-token"):
            answer = await up.ask("/v1/sql", method="POST", headers=f"content-length: 2\n{headers}", body=b"hi")
            document = json.loads(answer.body)["error"]
            assert (answer.status, answer["www-authenticate"]) == (401, "Bearer")
            assert (document["code"], document["class"]) == ("ErrUnauthorized", None)
            assert b"s3cret" not in answer.body
            assert b"wr0ng" not in answer.body
        assert not up.queryd.requests
        assert (await up.ask("/v1/sql", headers="authorization: Bearer s3cret-token")).status == 200
        assert b"authorization" not in dict(up.queryd.last.headers)
    assert "s3cret-token" not in caplog.text
    assert "wr0ng-token" not in caplog.text


async def test_a_network_that_may_not_connect_gets_a_403() -> None:
    allow = [ip_network("10.0.0.0/8")]
    async with open_gateway(wrap=lambda app: AuthMiddleware(app, tokens=Tokens(), allow=allow)) as up:
        answer = await up.ask("/v1/sql", headers="x-forwarded-for: 10.1.1.1\nforwarded: for=10.1.1.1")
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (403, "ErrForbidden")
        assert not up.queryd.requests


# A service without a token, and the pages that a browser shows on the same machine.

PAGE = {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
OURS = "127.0.0.1:3110"


async def admit_page(
    headers: dict[str, str],
    *,
    method: str = "POST",
    kind: str = "http",
    server: str | None = LOCAL,
    tokens: tuple[str, ...] = (),
    trusted: tuple[str, ...] = (),
) -> bool:
    app = RecordingApp()
    middleware = AuthMiddleware(app, tokens=Tokens(tokens), trusted=[ip_network(network) for network in trusted])
    scope: dict[str, Any] = {
        "type": kind,
        "raw_path": b"/v1/sql",
        "client": (LOCAL, 50000),
        "server": None if server is None else (server, 3110),
        "headers": [(name.encode(), value.encode()) for name, value in ({"host": OURS} | headers).items()],
    }
    if kind == "http":
        scope["method"] = method
    await middleware(scope, _no_receive, _no_send)
    return app.reached == [kind]


@pytest.mark.parametrize(
    ("headers", "method"),
    [
        ({}, "POST"),  # curl, every SDK
        ({"sec-fetch-mode": "cors"}, "POST"),  # Node's fetch
        ({"sec-fetch-site": "same-origin", "origin": f"http://{OURS}"}, "POST"),  # the page at `/`
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, "GET"),  # typed in
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, "GET"),  # a link in somebody's README
        ({"origin": f"http://{OURS}"}, "POST"),  # a browser before 2023
        ({"origin": "vscode-webview://x", "sec-fetch-site": "cross-site"}, "POST"),  # a program that is built on one
        ({"origin": "app://obsidian.md"}, "POST"),
    ],
)
async def test_without_a_token_programs_and_our_own_page_come_in(headers: dict[str, str], method: str) -> None:
    assert await admit_page(headers, method=method)


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "headers",
    [
        PAGE,
        {**PAGE, "sec-fetch-site": "same-site"},  # http://localhost:8080 against http://localhost:3110
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},  # a form that sends itself
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},  # an image's GET has no Origin
        {"origin": "https://evil.example"},  # a WebSocket, and a browser that says no more than that
        {"origin": "http://127.0.0.1:8080"},
        {"origin": "null"},  # a sandboxed frame, or a file
    ],
)
async def test_without_a_token_the_pages_of_other_sites_do_not(headers: dict[str, str], kind: str) -> None:
    with pytest.raises(ErrForbidden, match="another site"):
        await admit_page(headers, kind=kind)
    assert await admit_page(headers | {"authorization": "Bearer one"}, kind=kind, tokens=("one",)), "they have no token"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:3110",
        "[::1]:3110",
        "192.0.2.7:1",
        "localhost",
        "LocalHost.:3110",
        "a.localhost",
        "lakehouse:3110",
        "box.local",
        "host.docker.internal:3110",
        "",
    ],
)
async def test_without_a_token_nobody_may_own_the_name_that_was_asked_for(host: str) -> None:
    assert await admit_page({"host": host})


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3110", "127.0.0.1.evil.example", "localhost.evil.example."]
)
async def test_a_name_that_somebody_pointed_at_us_is_refused(host: str) -> None:
    rebound = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    with pytest.raises(ErrForbidden, match="is not a name of this machine"):
        await admit_page(rebound)
    with pytest.raises(ErrForbidden, match="is not a name of this machine"):
        await admit_page({"host": host, "accept-language": "en"}, method="GET")  # over HTTP a browser says no more
    assert await admit_page({"host": host, "user-agent": "curl/8"}), "no page, so nobody is behind its back"
    assert await admit_page(rebound, server="192.0.2.7"), (
        "whoever listens beyond loopback has a name, and said `insecure`"
    )
    assert await admit_page(rebound, server=None)
    assert await admit_page(rebound, trusted=("127.0.0.0/8",)), "a proxy of ours passes on what it was asked for"
    assert await admit_page(rebound | {"authorization": "Bearer one"}, tokens=("one",))


async def test_a_page_of_another_site_gets_through_to_nothing() -> None:
    """The whole service as it comes: no token, on loopback."""
    rebound = {"host": "evil.example", "accept-language": "en"}
    async with open_service_with_providers() as here:
        for path in ("/v1/chat", "/v1/chat/completions", "/v1/sql", "/v1/storage/x"):
            answer = await here.client.post(path, content=b"{}", headers={**PAGE, "content-type": "text/plain"})
            assert (answer.status_code, answer.json()["error"]["message"].startswith("a page of")) == (403, True)
        assert (await here.client.get("/metrics", headers=rebound)).status_code == 403
        assert (await here.client.get("/healthz", headers=rebound)).status_code == 200
        assert (await here.chat("ollama/m")).status_code == 200
        assert len(here.requests["ollama"]) == 1
