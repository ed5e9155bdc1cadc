"""Providers behind a forward proxy: which one the environment names, and the tunnel through it."""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

import lakehouse
from lakehouse.chat.dispatch.open_dispatcher import LocalServer, open_dispatcher
from lakehouse.cli import main
from lakehouse.config import ConfigError
from lakehouse.core.errors import ErrTimeout, ErrUpstream
from lakehouse.runtime.preflight import preflight
from lakehouse.testing.upstreams import answer_with, open_upstream, respond
from lakehouse.upstream.connections.forward_proxy import ForwardProxies, ForwardProxy
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream
from tools.kit.in_process_service import client_of, make_config, open_service
from tools.kit.service_with_providers import HELLO, completion, ollama
from tools.kit.socket_upstream import HELLO as HELLO_ANSWER
from tools.kit.socket_upstream import RawConnection, hello, open_socket_upstream

NOWHERE = 9
"""A port that nobody listens on."""

KEY = "sk-or-v1-routersecretroutersecret"


@dataclass
class Tunnels:
    """A real proxy that takes CONNECT and nothing else; `to` is where it leads, whatever it is asked for."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    open: int = 0

    @property
    def proxy(self) -> ForwardProxy:
        return ForwardProxy.parse(f"http://127.0.0.1:{self.port}")

    @property
    def url(self) -> str:
        return f"http://us%65r:hidden@127.0.0.1:{self.port}"


@asynccontextmanager
async def tunnelling(to: int, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> AsyncIterator[Tunnels]:
    tunnels = Tunnels()

    async def script(wire: RawConnection) -> None:
        tunnels.heads.append((await wire.read_head()).decode())
        for position in range(len(answer)):  # in the smallest pieces that there are
            await wire.send(answer[position : position + 1])
        if b" 200 " not in answer or to == NOWHERE:
            return
        tunnels.open += 1
        try:
            async with await trio.open_tcp_stream("127.0.0.1", to) as behind, trio.open_nursery() as nursery:
                nursery.start_soon(_copy, wire, behind, nursery.cancel_scope)
                async for data in behind:
                    await wire.send(bytes(data))
                nursery.cancel_scope.cancel()
        finally:
            tunnels.open -= 1

    async with open_socket_upstream(script) as tunnels.port:
        yield tunnels


async def _copy(wire: RawConnection, behind: trio.SocketStream, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await wire.receive():
            await behind.send_all(data)
    scope.cancel()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def get(there: Upstream) -> bytes:
    with await there.send(UpstreamRequest(b"GET", b"/", [(b"authorization", b"Bearer key")], None)) as response:
        return await response.read(1000)


class TestTunnels:
    async def test_tls_to_the_host_behind_the_proxy(self, authority: trustme.CA) -> None:
        server, client = contexts(authority, "api.provider.example")
        seen: list[bytes] = []

        async def script(wire: RawConnection) -> None:
            while True:
                seen.append(await wire.read_head())
                await wire.send(HELLO_ANSWER)

        async with open_socket_upstream(script, tls=server) as port, tunnelling(port) as tunnels:
            there = Upstream("https://api.provider.example", name="p", ssl_context=client, proxy=tunnels.proxy)
            assert [await get(there) for _ in range(3)] == [b"hello"] * 3
            there.close()
        assert tunnels.heads == ["CONNECT api.provider.example:443 HTTP/1.1\r\nHost: api.provider.example:443\r\n\r\n"]
        assert b"Bearer key" in seen[0]
        assert b"proxy" not in seen[0].lower()

    @pytest.mark.parametrize(
        ("url", "target"),
        [
            ("http://plain.example", "plain.example:80"),
            ("http://plain.example:8080", "plain.example:8080"),
            ("http://[2001:db8::1]", "[2001:db8::1]:80"),
            ("http://192.0.2.1:1", "192.0.2.1:1"),
        ],
    )
    async def test_plain_http_in_a_tunnel(self, url: str, target: str) -> None:
        async with open_socket_upstream(hello) as port, tunnelling(port) as tunnels:
            there = Upstream(url, name="p", proxy=tunnels.proxy)
            assert await get(there) == b"hello"
            there.close()
        assert tunnels.heads[0].startswith(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n")

    @pytest.mark.parametrize(
        ("written", "sent"),
        [("user:pa%73s@", b"user:pass"), ("user@", b"user:"), ("u%40x:p%3Aq@", b"u@x:p:q"), ("", None)],
    )
    async def test_its_password(self, written: str, sent: bytes | None) -> None:
        async with open_socket_upstream(hello) as port, tunnelling(port) as tunnels:
            there = Upstream(
                "http://h.example", name="p", proxy=ForwardProxy.parse(f"{written}127.0.0.1:{tunnels.port}")
            )
            await get(there)
            there.close()
        line = "" if sent is None else f"Proxy-Authorization: Basic {base64.b64encode(sent).decode()}\r\n"
        assert tunnels.heads[0] == f"CONNECT h.example:80 HTTP/1.1\r\nHost: h.example:80\r\n{line}\r\n"

    @pytest.mark.parametrize(
        ("answer", "why", "retryable"),
        [
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "refused the connection: 407 Proxy Auth", False),
            (b"HTTP/1.0 403 Forbidden\r\nContent-Length: 3\r\n\r\nNo.", "refused the connection: 403 Forbidden", False),
            (b"HTTP/1.1 502\r\n\r\n", "refused the connection: 502", True),
            (b"HTTP/1.1 503 \x1b[31m\r\n\r\n", "refused the connection: 503 [31m", True),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "refused the connection: 101", False),
            (b"SSH-2.0-OpenSSH\r\n\r\n", "did not answer with HTTP", True),
            (b"HTTP/1.1 2", "closed the connection", True),
            (b"", "closed the connection", True),
            (b"HTTP/1.1 299 x\r\nx: " + b"y" * 40000, "answered with a head of more than 16384 bytes", True),
        ],
    )
    async def test_a_proxy_that_does_not(self, answer: bytes, why: str, retryable: bool) -> None:
        async def script(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.send(answer)

        async with open_socket_upstream(script) as port:
            there = Upstream(
                "http://h.example", name="p", proxy=ForwardProxy.parse(f"http://user:hidden@127.0.0.1:{port}")
            )
            with pytest.raises(ErrUpstream) as caught:
                await get(there)
            assert (there.in_use, there.idle) == (0, 0)
        message = caught.value.message
        assert message.startswith(f"p could not be connected to: the proxy http://127.0.0.1:{port} {why}")
        assert caught.value.retryable is retryable
        assert caught.value.upstream_status is None
        assert "hidden" not in message

    async def test_a_proxy_that_is_not_there(self) -> None:
        there = Upstream("https://h.example", name="p", proxy=ForwardProxy.parse("user:hidden@127.0.0.1:9"))
        with pytest.raises(ErrUpstream) as caught:
            await get(there)
        assert caught.value.message == (
            "p could not be connected to: the proxy http://127.0.0.1:9 could not be connected to: Connection refused"
        )

    async def test_a_certificate_for_another_name(self, authority: trustme.CA) -> None:
        server, client = contexts(authority, "other.example")
        async with open_socket_upstream(hello, tls=server) as port, tunnelling(port) as tunnels:
            there = Upstream("https://h.example", name="p", ssl_context=client, proxy=tunnels.proxy)
            with pytest.raises(ErrUpstream, match=f"not trusted .through the proxy http://127.0.0.1:{tunnels.port}"):
                await get(there)

    async def test_a_silent_proxy_is_given_up(self, autojump_clock: trio.testing.MockClock) -> None:
        async def silent(wire: RawConnection) -> None:
            await wire.read_head()
            await wire.receive()

        async with open_socket_upstream(silent) as port:
            there = Upstream(
                "http://h.example", name="p", connect_timeout=7.0, proxy=ForwardProxy.parse(f"127.0.0.1:{port}")
            )
            began = trio.current_time()
            with pytest.raises(ErrTimeout, match=f"through the proxy http://127.0.0.1:{port} within 7 s"):
                await get(there)
            assert trio.current_time() - began == pytest.approx(7.0)
            assert there.in_use == 0

    async def test_whoever_leaves_meanwhile_leaves_nothing(self) -> None:
        asked, left = trio.Event(), trio.Event()

        async def silent(wire: RawConnection) -> None:
            await wire.read_head()
            asked.set()
            assert await wire.receive() == b""
            left.set()

        async with open_socket_upstream(silent) as port:
            there = Upstream("http://h.example", name="p", proxy=ForwardProxy.parse(f"127.0.0.1:{port}"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(get, there)
                await asked.wait()
                nursery.cancel_scope.cancel()
            with trio.fail_after(20):
                await left.wait()
            assert there.in_use == 0


PROXY = "http://proxy.example:3128"

FOUND = [
    ({"HTTPS_PROXY": PROXY}, "https://api.example/v1", PROXY),
    ({"https_proxy": PROXY}, "https://api.example/v1", PROXY),
    ({"HTTP_PROXY": PROXY}, "https://api.example/v1", None),
    ({"HTTPS_PROXY": PROXY}, "http://api.example/v1", None),
    ({"HTTP_PROXY": PROXY}, "http://api.example/v1", PROXY),
    ({"http_proxy": PROXY}, "http://localhost:11434", PROXY),
    ({"ALL_PROXY": PROXY}, "https://api.example", PROXY),
    ({"all_proxy": PROXY}, "http://api.example", PROXY),
    ({"ALL_PROXY": "http://other:1", "HTTPS_PROXY": PROXY}, "https://api.example", PROXY),
    ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, "https://api.example", PROXY),
    ({"https_proxy": "", "HTTPS_PROXY": PROXY}, "https://api.example", None),
    ({"HTTPS_PROXY": ""}, "https://api.example", None),
    ({"HTTPS_PROXY": "proxy.example:3128"}, "https://api.example", PROXY),
    ({"HTTPS_PROXY": "http://user:hidden@proxy.example:3128/"}, "https://api.example", PROXY),
    ({"HTTPS_PROXY": "http://proxy.example"}, "https://api.example", "http://proxy.example:80"),
    ({"HTTPS_PROXY": "http://[::1]:3128"}, "https://api.example", "http://[::1]:3128"),
    ({}, "https://api.example", None),
]

EXCEPTED = [
    ("*", "https://api.example"),
    ("api.example", "https://api.example"),
    ("API.Example", "https://api.example"),
    ("example", "https://api.example"),
    (".example", "https://api.example"),
    (".api.example", "https://api.example"),
    ("*.example", "https://api.example"),
    ("other, api.example", "https://api.example"),
    ("other api.example", "https://api.example"),
    (" , api.example ,", "https://api.example"),
    ("api.example:443", "https://api.example"),
    ("api.example:8443", "https://api.example:8443"),
    ("api.example", "https://api.example:8443"),
    ("https://api.example", "https://api.example"),
    ("all://api.example", "https://api.example"),
    ("localhost", "http://localhost:11434"),
    ("127.0.0.1", "http://127.0.0.1:11434"),
    ("127.0.0.0/8", "http://127.0.0.1:11434"),
    ("10.0.0.0/8", "http://10.1.2.3"),
    ("::1", "http://[::1]:11434"),
    ("[::1]", "http://[::1]:11434"),
    ("[::1]:11434", "http://[::1]:11434"),
    ("fd00::/8", "http://[fd00::1]"),
]

NOT_EXCEPTED = [
    ("", "https://api.example"),
    ("pi.example", "https://api.example"),
    ("api.example.org", "https://api.example"),
    ("www.api.example", "https://api.example"),
    ("api.example:80", "https://api.example"),
    ("http://api.example", "https://api.example"),
    ("10.0.0.0/8", "http://11.1.2.3"),
    ("127.0.0.1", "http://localhost:11434"),
    ("localhost", "http://127.0.0.1:11434"),
    ("::1", "http://[::2]"),
    ("[::1]:1", "http://[::1]:11434"),
    (".", "https://api.example"),
    ("*api", "https://api.example"),
]


class TestEnvironment:
    @pytest.mark.parametrize(("env", "url", "proxy"), FOUND)
    def test_which_proxy(self, env: dict[str, str], url: str, proxy: str | None) -> None:
        found = ForwardProxies(env).find(url)
        assert (None if found is None else str(found)) == proxy
        assert "hidden" not in repr(found)

    @pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
    @pytest.mark.parametrize(("exceptions", "url"), EXCEPTED)
    def test_what_is_reached_directly(self, name: str, exceptions: str, url: str) -> None:
        assert ForwardProxies({"ALL_PROXY": PROXY, name: exceptions}).find(url) is None

    @pytest.mark.parametrize(("exceptions", "url"), NOT_EXCEPTED)
    def test_what_is_not(self, exceptions: str, url: str) -> None:
        assert str(ForwardProxies({"ALL_PROXY": PROXY, "NO_PROXY": exceptions}).find(url)) == PROXY

    @pytest.mark.parametrize(
        "value",
        [
            "socks5://user:hidden@proxy.example:1080",
            "socks5h://proxy.example:1080",
            "socks4://proxy.example",
            "https://user:hidden@proxy.example",
            "ftp://proxy.example",
            "http://",
            "http://user:hidden@",
            "http://user:hidden@proxy.example:port",
            "http://user:hidden@proxy.example:0",
            "http://proxy example",
            "http://[::1",
        ],
    )
    @pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
    async def test_a_proxy_that_cannot_be_used_stops_the_start(self, name: str, value: str) -> None:
        with pytest.raises(ConfigError) as caught:
            preflight(make_config(chatd={"proxy_from_env": True}), {name: value})
        (problem,) = caught.value.problems
        assert problem.startswith(f"chatd.proxy_from_env: {name} ")
        assert "hidden" not in problem
        with pytest.raises(ConfigError):
            async with open_dispatcher(make_config(chatd={"proxy_from_env": True}), env={name: value}):
                pass
        preflight(make_config(), {name: value})  # it is not used

    @pytest.mark.parametrize("value", ["yes", 1, ""])
    def test_the_key(self, value: object) -> None:
        with pytest.raises(ConfigError, match=r"chatd\.proxy_from_env must be true or false"):
            make_config(chatd={"proxy_from_env": value})


class TestService:
    async def test_providers_go_through_it_and_nothing_else(
        self, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        server, _ = contexts(authority, "openrouter.example")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        body = json.dumps(completion()).encode()

        async def script(wire: RawConnection) -> None:
            while True:
                head = await wire.read_head()
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                while length:
                    length -= len(await wire.receive(length))
                await wire.send(respond(body))

        async with (
            open_socket_upstream(script, tls=server) as port,
            tunnelling(port) as tunnels,
            open_upstream(answer_with(respond(ollama()))) as near,
        ):
            config = make_config(
                gateway={"storaged_url": near.url},
                chatd={
                    "proxy_from_env": True,
                    "ollama_url": near.url,
                    "openrouter": {"base_url": "https://openrouter.example/api/v1"},
                },
            )
            env = {"OPENROUTER_API_KEY": KEY, "ALL_PROXY": tunnels.url, "NO_PROXY": "127.0.0.1"}
            async with open_service(config, env) as service, client_of(service) as client:
                for model in ("openrouter/v/m", "ollama/m"):
                    answer = await client.post("/v1/chat", json={"model": model, "messages": HELLO})
                    assert answer.json()["content"] == "Hello."
                assert (await client.get("/v1/storage/x")).status_code == 200
                shown = [(await client.get(path)).text for path in ("/metrics", "/v1/requests", "/")]
        (head,) = tunnels.heads
        assert head.startswith("CONNECT openrouter.example:443 ")
        assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:hidden').decode()}\r\n" in head
        assert KEY not in head
        assert not [
            text
            for text in (*shown, caplog.text)
            if "hidden" in text.replace("overflow:hidden", "") and "user:" in text
        ]

    async def test_off_by_default(self) -> None:
        async with tunnelling(NOWHERE) as tunnels, open_upstream(answer_with(respond(ollama()))) as near:
            config = make_config(chatd={"ollama_url": near.url})
            async with open_service(config, {"ALL_PROXY": tunnels.url}) as service, client_of(service) as client:
                answer = await client.post("/v1/chat", json={"model": "ollama/m", "messages": HELLO})
        assert answer.status_code == 200
        assert not tunnels.heads

    async def test_the_embedded_model_is_never_behind_it(self) -> None:
        async with tunnelling(NOWHERE) as tunnels, open_upstream(answer_with(respond({"data": []}))) as near:
            config = make_config(chatd={"proxy_from_env": True, "ollama_url": near.url})
            local = LocalServer(base_url=f"{near.url}/v1", api_key="k", model="m")
            async with open_dispatcher(config, env={"ALL_PROXY": tunnels.url}, local=local) as dispatcher:
                answers = {probed.name: probed.answers for probed in await dispatcher.probe()}
        assert answers == {"ollama": False, "local": True}
        assert [head.partition(" HTTP")[0] for head in tunnels.heads] == [f"CONNECT {near.url.removeprefix('http://')}"]

    async def test_a_refusal_is_told_to_the_caller(self) -> None:
        async with tunnelling(NOWHERE, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as tunnels:
            config = make_config(chatd={"proxy_from_env": True, "ollama_url": "http://ollama.example"})
            async with lakehouse.open_dispatcher(config, env={"HTTP_PROXY": tunnels.url}) as chat:
                with pytest.raises(ErrUpstream, match=f"the proxy http://127.0.0.1:{tunnels.port} refused") as caught:
                    await chat(lakehouse.Request(model="ollama/m", messages=HELLO))
        assert len(caught.value.attempts) == 1, "whoever has the wrong password does not try it again"

    def test_check_says_what_is_set_and_whether_it_is_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        file = tmp_path / "it.toml"
        check = partial(main, ["check", "-c", str(file)])
        file.write_text("")
        assert check() == 0
        assert "PROXY" not in capsys.readouterr().out
        monkeypatch.setenv("https_proxy", "http://user:hidden@proxy.example:3128")
        monkeypatch.setenv("ALL_PROXY", "socks5://user:hidden@proxy.example:1080")
        monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-secret")
        assert check() == 0
        shown = capsys.readouterr()
        assert "https_proxy, ALL_PROXY are set and not used: chatd.proxy_from_env = false" in shown.out
        assert "proxy.example" not in shown.out
        file.write_text("[chatd]\nproxy_from_env = true\n")
        assert check() == 2
        refused = capsys.readouterr()
        assert refused.err.startswith("chatd.proxy_from_env: ALL_PROXY must be an http:// URL")
        monkeypatch.delenv("ALL_PROXY")
        assert check() == 0
        used = capsys.readouterr()
        assert "KIMI_API_KEY, through http://proxy.example:3128" in used.out
        assert "https_proxy is used" in used.out
        assert "hidden" not in shown.out + shown.err + refused.out + refused.err + used.out + used.err
