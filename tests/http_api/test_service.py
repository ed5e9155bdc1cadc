"""The service around the chats: routes, methods, headers, authentication, the second listener, keys in files, the program."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from lakehouse.config import ConfigError
from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, never_answer, open_upstream, respond
from tools.kit.in_process_service import client_of, make_config, open_service
from tools.kit.service_with_providers import (
    HELLO,
    KEYS,
    MODELS,
    TABLES,
    ServiceWithProviders,
    answer_hello,
    open_service_with_providers,
)

GATEWAY = {
    "/v1/storage/a/b": ("storaged", "/storage/a/b"),
    "/v1/catalog/a": ("catalogd", "/catalog/a"),
    "/v1/vectors/a": ("vectord", "/vectors/a"),
    "/v1/pathway/a": ("pathwayd", "/pathway/a"),
    "/v1/matrix/a": ("matrixd", "/matrix/a"),
    "/v1/observer/a": ("observerd", "/observer/a"),
    "/v1/ingest": ("ingestd", "/ingest"),
    "/v1/sql": ("queryd", "/sql"),
    "/v1/embed": ("embedd", "/embed"),
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


async def fine(_: ReceivedRequest, stream: trio.SocketStream) -> None:
    """An upstream that has nothing to say."""
    await stream.send_all(respond(b"", 200))


@asynccontextmanager
async def gateway(
    *, env: dict[str, str] | None = None, **tables: Any
) -> AsyncIterator[tuple[ScriptedUpstream, httpx.AsyncClient]]:
    """The service with all nine upstreams in one."""
    async with open_upstream(fine) as there:
        urls = {f"{name}_url": f"{there.url}/{name}" for name, _ in GATEWAY.values()}
        config = make_config(**{**tables, "gateway": {**urls, **tables.get("gateway", {})}})
        async with open_service(config, env=env) as service, client_of(service) as client:
            yield there, client


async def test_each_prefix_leads_to_its_upstream_with_every_method_and_its_query() -> None:
    async with gateway() as (there, client):
        for path, (name, target) in GATEWAY.items():
            for method in METHODS:
                there.requests.clear()
                answer = await client.request(method, f"{path}?a=1&a=2;b=%2F+%20")
                assert answer.status_code == 200
                (asked,) = there.requests
                assert (asked.method, asked.target) == (method, f"/{name}{target}?a=1&a=2;b=%2F+%20")


async def test_our_authorization_ends_here_and_our_headers_go_on() -> None:
    env = {"LAKEHOUSE_TOKEN": "open-sesame, second"}
    async with gateway(env=env) as (there, client):
        for token in ("open-sesame", "second"):
            mine = {"authorization": f"Bearer {token}", "x-request-id": "mine", "x-request-timeout-ms": "5000"}
            assert (await client.get("/v1/sql", headers=mine)).status_code == 200
            headers = there.requests.pop().headers
            assert "authorization" not in headers
            assert headers["x-request-id"] == "mine"
            assert 4000 < int(headers["x-request-timeout-ms"]) <= 5000


async def test_a_chat_daemon_elsewhere_is_passed_on_to_like_the_others() -> None:
    async with open_upstream(fine) as chatd, gateway(gateway={"chatd_url": chatd.url}) as (_, client):
        for method, path in (
            ("POST", "/v1/chat"),
            ("GET", "/v1/chat/providers"),
            ("POST", "/v1/chat/completions"),
            ("GET", "/v1/models"),
        ):
            assert (await client.request(method, path)).status_code == 200
            asked = chatd.requests.pop()
            assert (asked.method, asked.target) == (method, path.removeprefix("/v1"))


# What each path takes. None: it is not there.
PATHS: list[tuple[str, str, int, str]] = [
    ("GET", "/healthz", 200, ""),
    ("HEAD", "/healthz", 200, ""),
    ("POST", "/healthz", 405, "GET, HEAD, OPTIONS"),
    ("GET", "/readyz", 200, ""),
    ("GET", "/metrics", 200, ""),
    ("DELETE", "/metrics", 405, "GET, HEAD, OPTIONS"),
    ("GET", "/v1/requests", 200, ""),
    ("POST", "/v1/requests", 405, "GET, HEAD, OPTIONS"),
    ("GET", "/v1/chat", 405, "OPTIONS, POST"),
    ("PUT", "/v1/chat", 405, "OPTIONS, POST"),
    ("POST", "/v1/chat/providers", 405, "GET, HEAD, OPTIONS"),
    ("GET", "/v1/chat/completions", 405, "OPTIONS, POST"),
    ("POST", "/v1/models", 405, "GET, HEAD, OPTIONS"),
    ("GET", "/v1/models", 200, ""),
    ("GET", "/v1", 404, ""),
    ("GET", "/v1/nothing", 404, ""),
    ("GET", "/v1/chat/", 404, ""),
    ("POST", "/v1/chat/nothing", 404, ""),
    ("GET", "/v1//models", 404, ""),
    ("POST", "/chat", 404, ""),
    ("GET", "/v1/storagex/a", 404, ""),
]


async def test_what_is_served_and_how_it_is_asked_for() -> None:
    async with open_service_with_providers() as there:
        for method, path, status, allow in PATHS:
            answer = await there.client.request(method, there.service.urls[0] + path)
            assert answer.status_code == status, (method, path)
            assert answer.headers.get("allow", "") == allow, (method, path)
            assert answer.headers["x-request-id"]
            assert re.fullmatch(r"upstream;dur=\d+\.\d, gateway;dur=\d+\.\d", answer.headers["server-timing"]), path
            if status >= 400:
                error = answer.json()["error"]
                assert (error["status"], error["request_id"]) == (status, answer.headers["x-request-id"])
        refused = (await there.client.get("/v1/chat/completions")).json()["error"]
        assert list(refused)[:4] == ["message", "type", "param", "code"]  # OpenAI's envelope where its clients ask


IDS = [
    ("abc-123", True),
    ("a" * 128, True),
    ("a" * 129, False),
    ("a b", False),
    ("a\tb", False),
    ("ü", False),
    ("", False),
]


async def test_a_sane_request_id_is_echoed_and_any_other_replaced() -> None:
    async with open_service_with_providers() as there:
        for sent, echoed in IDS:
            for path in ("/v1/chat", "/v1/chat/completions", "/v1/nothing", "/healthz"):
                headers = [(b"x-request-id", sent.encode())]
                body = json.dumps({"model": "m", "messages": HELLO}).encode()
                answer = await there.client.post(path, content=body, headers=headers)
                assert (answer.headers["x-request-id"] == sent) == echoed
                assert answer.headers["x-request-id"]
                assert len(answer.headers.get_list("x-request-id")) == 1


async def test_server_timing_is_on_an_answer_and_not_on_a_stream() -> None:
    async with open_service_with_providers() as there:
        for ask in (there.chat, there.complete):
            whole = await ask("m")
            upstream_ms = float(whole.headers["server-timing"].partition("dur=")[2].partition(",")[0])
            assert 0 < upstream_ms < 1000
            assert "server-timing" not in (await ask("m", stream=True)).headers
            assert "server-timing" in (await ask("ollama/")).headers


# Authentication.


async def test_without_a_token_the_door_is_shut_but_for_health() -> None:
    async with open_service_with_providers(env={**KEYS, "LAKEHOUSE_TOKEN": "t1,t2"}) as there:
        for method, path, _, _ in PATHS:
            answer = await there.client.request(method, there.service.urls[0] + path)
            if path in ("/healthz", "/readyz"):
                assert answer.status_code in (200, 405)
                continue
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer")
            error = answer.json()["error"]
            assert (error["class"], error["status"]) == (None, 401)
            assert error["code"] in ("ErrUnauthorized", "invalid_api_key")
            assert answer.headers.get("x-should-retry") == ("false" if error["code"] == "invalid_api_key" else None)
        for header in ("Bearer t3", "Bearer", "t1", "Basic t1", "Bearer t1,t2", "Bearer T1"):
            assert (await there.chat("m", {"authorization": header})).status_code == 401
        assert there.requests == {}
        for header in ("Bearer t1", "bearer t2"):
            assert (await there.chat("m", {"authorization": header})).status_code == 200


async def test_a_token_file_opens_the_door_as_well(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# for the tests\nfrom-file\n\nanother\n")
    async with open_service_with_providers(auth={"token_file": str(file)}) as there:
        assert (await there.chat("m")).status_code == 401
        for token in ("from-file", "another"):
            assert (await there.chat("m", {"authorization": f"Bearer {token}"})).status_code == 200


async def test_a_network_that_is_not_allowed_is_403_but_for_health() -> None:
    async with open_service_with_providers(auth={"allow": ["192.0.2.0/24"]}) as there:
        answer = await there.chat("m")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ErrForbidden")
        assert (await there.client.get("/healthz")).status_code == 200
    async with open_service_with_providers(auth={"allow": ["192.0.2.0/24", "127.0.0.0/8"]}) as there:
        assert (await there.chat("m")).status_code == 200


# The second listener.


async def test_the_second_listener_has_the_chat_group_alone_without_v1() -> None:
    async with open_service_with_providers(
        chatd={"bind": "127.0.0.1:0"}, env={**KEYS, "LAKEHOUSE_TOKEN": "t"}
    ) as there:
        url = there.service.urls[1]
        there.client.headers["authorization"] = "Bearer t"
        ask = {"model": "kimi/m", "messages": HELLO}
        assert (await there.client.post(f"{url}/chat", json=ask)).json()["content"] == "Hello."
        assert (await there.client.get(f"{url}/chat/providers")).json()["default"] == "ollama"
        assert (await there.client.post(f"{url}/chat/completions", json=ask)).json()["object"] == "chat.completion"
        assert (await there.client.get(f"{url}/models")).json()["object"] == "list"
        assert (await there.client.get(f"{url}/healthz")).status_code == 200
        for path in ("/v1/chat", "/v1/sql", "/sql", "/v1/storage/x", "/metrics", "/v1/requests", "/"):
            assert (await there.client.post(url + path, json=ask)).status_code in (404, 405)
            assert (await there.client.get(url + path)).status_code == 404, path
        assert (await there.client.post(f"{url}/chat", json=ask, headers={"authorization": ""})).status_code == 401


# Keys.


def key_files(directory: Path, **texts: str) -> dict[str, Any]:
    """The providers' tables, each with a key file that has this text."""
    tables = {}
    for name, text in texts.items():
        (directory / f"{name}.env").write_text(text)
        tables[name] = {"key_file": str(directory / f"{name}.env")}
    return tables


async def test_a_key_comes_from_the_environment_and_then_from_its_file(tmp_path: Path) -> None:
    files = key_files(
        tmp_path,
        openrouter="# a comment\nOTHER=x\nexport OPENROUTER_API_KEY='from-a-file'\n",
        opencode='OPENCODE_API_KEY="with$dollar" # and a comment\n',
        ollama_cloud="OTHER=x\n",
        kimi="KIMI_API_KEY=from-file\n",
    )
    async with open_service_with_providers(chatd=files, env={"KIMI_API_KEY": "from-env"}) as there:
        listed = [one["name"] for one in (await there.client.get("/v1/chat/providers")).json()["providers"]]
        assert listed == ["ollama", "openrouter", "opencode", "kimi"]
        for model in ("openrouter/v/m", "opencode/m", "kimi/m"):
            assert (await there.chat(model)).status_code == 200
        assert there.requests["opencode"][0].headers["authorization"] == "Bearer with$dollar"
        assert there.requests["kimi"][0].headers["x-api-key"] == "from-env"
        assert there.requests["openrouter"][0].headers["authorization"] == "Bearer from-a-file"


async def test_the_variable_and_the_file_can_be_named(tmp_path: Path) -> None:
    files = key_files(tmp_path, kimi="MINE=by-another-name\nKIMI_API_KEY=not-this\n")
    files["kimi"]["key_env"] = "MINE"
    async with open_service_with_providers(chatd=files, env={}) as there:
        assert (await there.chat("kimi/m")).status_code == 200
        assert there.only_request("kimi").headers["x-api-key"] == "by-another-name"


async def test_a_key_file_that_cannot_be_read_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chatd = {"kimi": {"key_file": str(tmp_path)}, "openrouter": {"key_file": str(tmp_path / "missing")}}
    async with open_service_with_providers(chatd=chatd, env={}) as there:
        assert (await there.chat("kimi/m")).status_code == 404
        assert (await there.chat("m")).status_code == 200
    assert [record.message for record in caplog.records if "key file" in record.message] == [
        f"the key file {tmp_path} cannot be read: Is a directory"
    ]


@pytest.mark.parametrize("key", ["title", "referer"])
def test_a_title_cannot_smuggle_a_header(key: str) -> None:
    for value in ("a\r\nX-Evil: 1", "a\nb", "a\0b"):
        with pytest.raises(ConfigError, match=rf"chatd\.openrouter\.{key} must be fit for a header"):
            make_config(chatd={"openrouter": {key: value}})


# Limits that the configuration names.


async def test_the_gateways_limits_hold() -> None:
    gateway_limits = {"response_timeout": "80ms", "connect_timeout": "80ms"}
    async with open_upstream(never_answer) as there:
        config = make_config(
            gateway={"storaged_url": there.url, "catalogd_url": "http://127.0.0.1:9", **gateway_limits}
        )
        async with open_service(config) as service, client_of(service) as client:
            late = await client.get("/v1/storage/x")
            assert (late.status_code, late.json()["error"]["code"]) == (504, "ErrTimeout")
            assert "storaged" in late.json()["error"]["message"]
            down = await client.get("/v1/catalog/x")
            assert (down.status_code, down.json()["error"]["code"]) == (502, "ErrUpstream")
            assert "catalogd" in down.json()["error"]["message"]


async def test_at_most_max_connections_are_made_to_a_provider() -> None:
    async def slowly(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        await trio.sleep(0.02)
        await answer_hello(asked, stream)

    async with (
        open_service_with_providers(scripts={"ollama": slowly}, chatd={"max_connections": 3}) as there,
        trio.open_nursery() as nursery,
    ):
        for _ in range(12):
            nursery.start_soon(there.chat, "m")
        while len(there.requests.get("ollama", ())) < 12:
            assert there.providers["ollama"].opened <= 3
            await trio.sleep(0.005)


def test_the_table_of_providers_is_complete() -> None:
    assert set(MODELS) == {"ollama", *TABLES}


async def test_ready_becomes_unready_while_draining() -> None:
    async with open_service_with_providers(scripts={"ollama": never_answer}) as there, trio.open_nursery() as nursery:
        nursery.start_soon(ask_and_forget, there)
        while "ollama" not in there.requests:
            await trio.sleep(0.005)
        port = int(there.service.urls[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
            stream.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
            there.service.stop()  # the request has arrived, and nobody has looked at it
            answer = await trio.to_thread.run_sync(stream.makefile("rb").read)  # to the connection's end
        assert answer.startswith(b"HTTP/1.1 503 ")
        nursery.cancel_scope.cancel()


async def ask_and_forget(there: ServiceWithProviders) -> None:
    """A chat that may fail."""
    with suppress(httpx.HTTPError):
        await there.chat("m")
