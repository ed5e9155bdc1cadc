"""Upstream over TLS: whose certificate is believed, how a connection ends, and the same promises as over TCP."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from lakehouse.core.errors import ErrUpstream
from lakehouse.upstream.connections.connect import default_context
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream
from tools.kit.socket_upstream import HELLO, OK, RawConnection, hello, open_socket_upstream


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ours(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that believes the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def theirs(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def get(upstream: Upstream, body: bytes | None = None) -> bytes:
    with await upstream.send(UpstreamRequest(b"GET" if body is None else b"POST", b"/", [], body)) as response:
        return await response.read(100_000_000)


async def test_a_certificate_that_is_good_and_the_connection_used_again(
    authority: trustme.CA, ours: ssl.SSLContext
) -> None:
    connections: set[int] = set()

    async def script(wire: RawConnection) -> None:
        connections.add(wire.number)
        await hello(wire)

    async with open_socket_upstream(script, tls=theirs(authority, "127.0.0.1")) as port:
        upstream = Upstream(f"https://127.0.0.1:{port}", name="kimi", ssl_context=ours)
        assert [await get(upstream) for _ in range(5)] == [b"hello"] * 5
        assert connections == {0}, "the session tickets that TLS 1.3 sends afterwards are no unasked-for answer"
        assert (upstream.in_use, upstream.idle) == (0, 1)
        upstream.close()


async def test_the_name_is_sent_and_checked(authority: trustme.CA, ours: ssl.SSLContext) -> None:
    asked: list[str | None] = []
    server = theirs(authority, "localhost")
    server.sni_callback = lambda _sock, name, _context: asked.append(name)
    async with open_socket_upstream(hello, tls=server) as port:
        upstream = Upstream(f"https://localhost:{port}", name="kimi", ssl_context=ours)
        assert await get(upstream) == b"hello"
        assert asked == ["localhost"]
        upstream.close()
        other = Upstream(f"https://127.0.0.1:{port}", name="kimi", ssl_context=ours)
        with pytest.raises(
            ErrUpstream, match="kimi showed a certificate that is not trusted: IP address mismatch"
        ) as caught:
            await get(other)
        assert caught.value.retryable is False
        assert other.in_use == 0


async def test_by_default_only_certificates_that_the_world_trusts(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    async with open_socket_upstream(hello, tls=theirs(authority, "127.0.0.1")) as port:
        upstream = Upstream(f"https://127.0.0.1:{port}", name="kimi")
        with pytest.raises(ErrUpstream, match=r"not trusted: (unable to get local issuer|self.signed)"):
            await get(upstream)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        upstream = Upstream(f"https://127.0.0.1:{port}", name="kimi")
        assert await get(upstream) == b"hello"
        upstream.close()


def test_the_default_context_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    context = default_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509_ca"] > 50


async def test_who_does_not_speak_tls() -> None:
    async def script(wire: RawConnection) -> None:
        await wire.receive()
        await wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with open_socket_upstream(script) as port:
        upstream = Upstream(f"https://127.0.0.1:{port}", name="kimi")
        with pytest.raises(ErrUpstream, match="kimi could not be spoken to over TLS"):
            await get(upstream)
        assert upstream.in_use == 0


@pytest.mark.parametrize("goodbye", [True, False])
async def test_a_body_without_length_is_whole_only_if_tls_says_so(
    authority: trustme.CA, ours: ssl.SSLContext, goodbye: bool
) -> None:
    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        await wire.send(OK + b"\r\nhello")
        assert isinstance(wire.stream, trio.SSLStream)
        if goodbye:
            await wire.stream.unwrap()
        else:
            await wire.stream.transport_stream.aclose()  # as anybody on the way could

    async with open_socket_upstream(script, tls=theirs(authority, "127.0.0.1")) as port:
        upstream = Upstream(f"https://127.0.0.1:{port}", name="kimi", ssl_context=ours)
        if goodbye:
            assert await get(upstream) == b"hello"
        else:
            with pytest.raises(ErrUpstream, match="ended the connection without TLS's goodbye"):
                await get(upstream)
        assert upstream.in_use == 0


async def test_an_idle_connection_that_ended_is_not_used(authority: trustme.CA, ours: ssl.SSLContext) -> None:
    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        await wire.send(HELLO)

    async with open_socket_upstream(script, tls=theirs(authority, "127.0.0.1")) as port:
        upstream = Upstream(f"https://127.0.0.1:{port}", name="kimi", ssl_context=ours)
        for _ in range(3):
            assert await get(upstream, b"once") == b"hello"
            await trio.testing.wait_all_tasks_blocked()
        upstream.close()


async def test_many_bytes_both_ways_at_once(authority: trustme.CA, ours: ssl.SSLContext) -> None:
    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        await wire.send(OK + b"Content-Length: 4000000\r\n\r\n")
        left = 4_000_000
        while left:
            data = await wire.receive()
            left -= len(data)
            await wire.send(data)

    class Body:
        length = 4_000_000
        sent = 0

        async def receive(self) -> bytes:
            await trio.lowlevel.checkpoint()
            self.sent += 1
            return bytes([self.sent]) * 100_000 if self.sent <= 40 else b""

    async with open_socket_upstream(script, tls=theirs(authority, "127.0.0.1")) as port:
        upstream = Upstream(f"https://127.0.0.1:{port}", name="kimi", ssl_context=ours)
        async with upstream.send_full_duplex(UpstreamRequest(b"POST", b"/", [], Body())) as response:
            echoed = await response.read(4_000_000)
        assert echoed == b"".join(bytes([i]) * 100_000 for i in range(1, 41))
        assert (upstream.in_use, upstream.idle) == (0, 1)
        upstream.close()


async def test_a_large_body_of_bytes(authority: trustme.CA, ours: ssl.SSLContext) -> None:
    content = bytes(range(256)) * 40_000
    got = 0

    async def script(wire: RawConnection) -> None:
        nonlocal got
        await wire.read_head()
        while got < len(content):
            data = await wire.receive()
            assert data == content[got : got + len(data)]
            got += len(data)
        await wire.send(HELLO)
        await wire.receive()

    async with open_socket_upstream(script, tls=theirs(authority, "127.0.0.1")) as port:
        upstream = Upstream(f"https://127.0.0.1:{port}", name="kimi", ssl_context=ours)
        assert await get(upstream, content) == b"hello"
        assert (upstream.in_use, upstream.idle) == (0, 1)
        upstream.close()


async def test_an_upgraded_connection(authority: trustme.CA, ours: ssl.SSLContext) -> None:
    async def script(wire: RawConnection) -> None:
        await wire.read_head()
        await wire.send(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi")
        while data := await wire.receive():
            await wire.send(data)

    async with open_socket_upstream(script, tls=theirs(authority, "127.0.0.1")) as port:
        upstream = Upstream(f"https://127.0.0.1:{port}", name="kimi", ssl_context=ours)
        headers = [(b"Connection", b"Upgrade"), (b"Upgrade", b"echo")]
        with await upstream.send(UpstreamRequest(b"GET", b"/", headers)) as response:
            stream = response.upgrade()
        async with stream:
            assert await stream.receive_some() == b"hi"
            await stream.send_all(b"there")
            assert await stream.receive_some() == b"there"
        assert upstream.in_use == 0


async def test_cancelled_in_the_handshake(ours: ssl.SSLContext) -> None:
    left = trio.Event()

    async def script(wire: RawConnection) -> None:
        while await wire.receive():
            pass
        left.set()

    async with open_socket_upstream(script) as port:
        upstream = Upstream(f"https://127.0.0.1:{port}", name="kimi", ssl_context=ours)
        with trio.move_on_after(0.05):
            await get(upstream)
        assert upstream.in_use == 0
        with trio.fail_after(20):
            await left.wait()
