"""A request target in absolute form: a URL of this listener is its path, any other is refused."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
import trustme

from lakehouse.server.http1.request_head import RequestHead, to_origin_form
from lakehouse.server.server import Service
from lakehouse.testing.upstreams import answer_with, open_upstream, respond
from tools.kit.in_process_service import make_config, open_service

V4, V6, LAN = ("127.0.0.1", 3110), ("::1", 3110), ("192.0.2.7", 3110)
HOST = (b"host", b"other")

OURS = [
    (b"http://127.0.0.1:3110/v1/models", V4, b"/v1/models", b"127.0.0.1:3110"),
    (b"http://127.0.0.1:3110/a?b=c", V4, b"/a?b=c", b"127.0.0.1:3110"),
    (b"http://127.0.0.1:3110", V4, b"/", b"127.0.0.1:3110"),
    (b"http://127.0.0.1:3110?q=1", V4, b"/?q=1", b"127.0.0.1:3110"),
    (b"http://127.0.0.1:3110/?", V4, b"/?", b"127.0.0.1:3110"),
    (b"http://127.0.0.1:3110//v1/models", V4, b"//v1/models", b"127.0.0.1:3110"),
    (b"http://127.0.0.1:3110/http://x/", V4, b"/http://x/", b"127.0.0.1:3110"),
    (b"http://127.0.0.1:3110/a@b", V4, b"/a@b", b"127.0.0.1:3110"),
    (b"http://127.0.0.1:03110/", V4, b"/", b"127.0.0.1:03110"),
    (b"HTTP://LocalHost:3110/x", V4, b"/x", b"LocalHost:3110"),
    (b"http://127.0.0.2:3110/x", V4, b"/x", b"127.0.0.2:3110"),
    (b"http://app.localhost:3110/x", V4, b"/x", b"app.localhost:3110"),
    (b"http://lakebox:3110/x", LAN, b"/x", b"lakebox:3110"),
    (b"http://lakebox.local:3110/x", LAN, b"/x", b"lakebox.local:3110"),
    (b"http://192.0.2.7:3110/x", LAN, b"/x", b"192.0.2.7:3110"),
    (b"http://[::1]:3110/x", V6, b"/x", b"[::1]:3110"),
    (b"http://[0:0:0:0:0:0:0:1]:3110/x", V6, b"/x", b"[0:0:0:0:0:0:0:1]:3110"),
    (b"http://127.0.0.1/x", ("127.0.0.1", 80), b"/x", b"127.0.0.1"),
    (b"http://127.0.0.1:/x", ("127.0.0.1", 80), b"/x", b"127.0.0.1:"),
    (b"http://localhost/x", ("/run/lake.sock", None), b"/x", b"localhost"),
]

FOREIGN = [
    b"http://evil.example/v1/models",
    b"http://evil.example:3110/v1/models",
    b"http://127.0.0.1/v1/models",
    b"http://127.0.0.1:80/v1/models",
    b"http://127.0.0.1:3111/v1/models",
    b"http://127.0.0.1:99999/v1/models",
    b"http://127.0.0.1.evil.example:3110/v1/models",
    b"http://192.0.2.7:3110/v1/models",
    b"http://169.254.169.254/latest",
    b"http://[::2]:3110/v1/models",
    b"http://user@127.0.0.1:3110/v1/models",
    b"http://user:word@127.0.0.1:3110/v1/models",
    b"http://127.0.0.1:3110@evil.example/v1/models",
    b"http://evil.example\\@127.0.0.1:3110/v1/models",
    b"http:///v1/models",
    b"http://:3110/v1/models",
    b"http:/v1/models",
    b"http:127.0.0.1:3110/v1/models",
    b"//127.0.0.1:3110/v1/models",
    b"https://127.0.0.1:3110/v1/models",
    b"ftp://127.0.0.1:3110/v1/models",
    b"ws://127.0.0.1:3110/v1/models",
    b"127.0.0.1:3110",
    b"*",
]


def head(target: bytes, method: bytes = b"GET") -> RequestHead:
    return RequestHead(method, target, "1.1", [(b"accept", b"*/*"), HOST], True)


@pytest.mark.parametrize(("target", "server", "path", "host"), OURS)
def test_a_url_of_ours_is_its_path_and_its_authority_the_host(
    target: bytes, server: tuple[str, int | None], path: bytes, host: bytes
) -> None:
    asked = head(target)
    to_origin_form(asked, secure=False, server=server)
    assert (asked.target, asked.headers) == (path, [(b"host", host), (b"accept", b"*/*")])


@pytest.mark.parametrize("target", FOREIGN)
def test_any_other_stays_as_it_is(target: bytes) -> None:
    asked = head(target)
    to_origin_form(asked, secure=False, server=V4)
    assert (asked.target, asked.headers[-1]) == (target, HOST)


def test_the_scheme_is_the_listeners() -> None:
    for target, secure in ((b"https://localhost:3110/x", False), (b"http://localhost:3110/x", True)):
        asked = head(target)
        to_origin_form(asked, secure=secure, server=V4)
        assert asked.target == target
    asked = head(b"https://localhost/x")
    to_origin_form(asked, secure=True, server=("127.0.0.1", 443))
    assert asked.target == b"/x"


def test_options_without_a_path_asks_about_the_server() -> None:
    asked = head(b"http://localhost:3110", b"OPTIONS")
    to_origin_form(asked, secure=False, server=V4)
    assert asked.target == b"*"


async def ask(service: Service, request: str, tls: ssl.SSLContext | None = None) -> bytes:
    port = int(service.urls[0].rpartition(":")[2])
    stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", port)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname="127.0.0.1", https_compatible=True)
    async with stream:
        await stream.send_all(request.replace("PORT", str(port)).replace("\n", "\r\n").encode())
        answer = b""
        while data := await stream.receive_some():
            answer += data
    return answer


GATEWAY = "GET {target} HTTP/1.1\nHost: other.example\nConnection: close\n\n"


async def test_the_service_answers_it_as_it_answers_the_path() -> None:
    async with open_upstream(answer_with(respond(b"here", content_type="text/plain"))) as there:
        async with open_service(make_config(gateway={"storaged_url": there.url})) as service:
            for target, path in (
                ("http://127.0.0.1:PORT/v1/storage/a?b", "/storage/a?b"),
                ("http://localhost:PORT/v1/storage/x%2Fy", "/storage/x%2Fy"),
            ):
                answer = await ask(service, GATEWAY.format(target=target))
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert there.requests[-1].target == path
                assert there.requests[-1].headers["x-forwarded-host"].partition(":")[0] in target
            models = await ask(service, GATEWAY.format(target="http://127.0.0.1:PORT/v1/models"))
            assert models.startswith(b"HTTP/1.1 200 ")
            assert (await ask(service, GATEWAY.format(target="http://127.0.0.1:PORT"))).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("target", [target.decode() for target in FOREIGN if b"models" in target])
async def test_the_service_refuses_any_other(target: str) -> None:
    async with open_service(make_config()) as service:
        answer = await ask(service, GATEWAY.format(target=target.replace(":3110", ":PORT").replace(":3111", ":1")))
    assert answer.partition(b" ")[2][:3] in (b"400", b"404")
    assert b"word@" not in answer


async def test_it_is_no_way_round_the_door() -> None:
    async with open_service(make_config(), {"LAKEHOUSE_TOKEN": "one"}) as service:
        answer = await ask(service, GATEWAY.format(target="http://127.0.0.1:PORT/v1/models"))
        assert answer.startswith(b"HTTP/1.1 401 ")
    async with open_service(make_config()) as service:
        page = (
            "GET http://127.0.0.1:PORT/v1/models HTTP/1.1\nHost: x\nOrigin: https://evil.example\nConnection: close\n\n"
        )
        assert (await ask(service, page)).startswith(b"HTTP/1.1 403 ")
        connect = "CONNECT 127.0.0.1:PORT HTTP/1.1\nHost: x\n\n"
        assert (await ask(service, connect)).startswith(b"HTTP/1.1 501 ")


async def test_over_tls_it_is_https(tmp_path: Path) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    client = ssl.create_default_context()
    authority.configure_trust(client)
    config = make_config(server={"certfile": str(tmp_path / "cert.pem"), "keyfile": str(tmp_path / "key.pem")})
    async with open_service(config) as service:
        taken = await ask(service, GATEWAY.format(target="https://127.0.0.1:PORT/v1/models"), client)
        refused = await ask(service, GATEWAY.format(target="http://127.0.0.1:PORT/v1/models"), client)
    assert taken.startswith(b"HTTP/1.1 200 ")
    assert refused.startswith(b"HTTP/1.1 400 ")
