"""The service's own life: how it starts, drains, ends, and shares a process or a socket with others."""

from __future__ import annotations

import socket
import ssl
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
import trio
import trustme

import lakehouse
from lakehouse.config import ConfigError
from lakehouse.server.server import Service
from lakehouse.testing.upstreams import ReceivedRequest, never_answer, open_upstream, respond
from tools.kit.in_process_service import client_of, make_config, open_service


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def refused(url: str) -> bool:
    """Whether nobody listens there."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(url))
    except OSError:
        return True
    await stream.aclose()
    return False


async def test_it_reports_the_port_it_was_given() -> None:
    async with open_service(make_config()) as service, client_of(service) as client:
        assert service.urls[0].startswith("http://127.0.0.1:")
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
    assert await refused(service.urls[0])


async def test_an_address_in_use_raises_from_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = make_config(gateway={"bind": f"127.0.0.1:{taken.getsockname()[1]}"})
        with pytest.RaisesGroup(OSError, flatten_subgroups=True):
            async with trio.open_nursery() as nursery:
                await nursery.start(lakehouse.serve, config)


async def test_a_second_address_in_use_leaves_the_first_one_unbound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        first = free.getsockname()[1]
        free.close()
        config = make_config(
            gateway={"bind": f"127.0.0.1:{first}"}, chatd={"bind": f"127.0.0.1:{taken.getsockname()[1]}"}
        )
        with pytest.RaisesGroup(OSError, flatten_subgroups=True):
            async with trio.open_nursery() as nursery:
                await nursery.start(lakehouse.serve, config)
        assert await refused(f"http://127.0.0.1:{first}")


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        (
            {"gateway": {"bind": "0.0.0.0:0"}},
            "gateway.bind 0.0.0.0:0 can be reached from other machines and no token is set",
        ),
        ({"chatd": {"bind": ":0"}}, "chatd.bind 0.0.0.0:0 can be reached from other machines"),
        (
            {"ollama": {"bind": ":0"}},
            "ollama.bind 0.0.0.0:0 can be reached from other machines, and Ollama's clients send",
        ),
        ({"auth": {"token_file": "/nowhere/tokens"}}, "auth.token_file cannot be read: /nowhere/tokens"),
        (
            {"server": {"certfile": "/nowhere/c", "keyfile": "/nowhere/k"}},
            "server.certfile, server.keyfile cannot be used",
        ),
        ({"chatd": {"default": "local"}}, 'chatd.default is "local", but no embedded model is named'),
    ],
)
async def test_a_start_that_would_be_unsafe_or_useless_is_refused(tables: dict[str, object], problem: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=problem), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(lakehouse.serve, make_config(**tables), env={}))


async def test_beyond_loopback_with_a_token_or_on_ones_own_word() -> None:
    async with open_service(make_config(gateway={"bind": "0.0.0.0:0"}), env={"LAKEHOUSE_TOKEN": "t"}):
        pass
    async with open_service(make_config(gateway={"bind": "0.0.0.0:0"}, auth={"insecure": True})):
        pass


async def test_draining_lets_requests_finish_and_takes_no_new_ones() -> None:
    go_on = trio.Event()

    async def slow(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await go_on.wait()
        await stream.send_all(respond(b"done", content_type="text/plain"))

    async with open_upstream(slow) as there, trio.open_nursery() as nursery:
        config = make_config(gateway={"storaged_url": there.url})
        service: Service = await nursery.start(partial(lakehouse.serve, config, env={}))
        async with client_of(service) as client:
            responses: list[httpx.Response] = []

            async def ask() -> None:
                responses.append(await client.get("/v1/storage/x"))

            async with trio.open_nursery() as asking:
                asking.start_soon(ask)
                while not there.requests:
                    await trio.sleep(0.005)
                service.stop()
                with trio.fail_after(20):
                    while not await refused(service.urls[0]):
                        await trio.sleep(0.005)
                go_on.set()
            (response,) = responses
            assert (response.status_code, response.text) == (200, "done")
            assert response.headers["connection"] == "close"


async def test_after_the_drain_timeout_the_rest_gets_503() -> None:
    async with open_upstream(never_answer) as there, trio.open_nursery() as nursery:
        config = make_config(gateway={"storaged_url": there.url}, server={"drain_timeout": 0.05})
        service: Service = await nursery.start(partial(lakehouse.serve, config, env={}))
        async with client_of(service) as client, trio.open_nursery() as asking:

            async def ask() -> None:
                response = await client.get("/v1/storage/x")
                assert response.status_code == 503
                assert response.json()["error"]["code"] == "ErrUnavailable"

            asking.start_soon(ask)
            while not there.requests:
                await trio.sleep(0.005)
            service.stop()
        with trio.fail_after(20):
            while there.closed < there.opened:
                await trio.sleep(0.005)


async def test_not_ready_while_draining() -> None:
    """A load balancer that asks on a connection it has kept is told; idle connections are closed, so one is busy."""
    async with open_upstream(never_answer) as there, trio.open_nursery() as nursery:
        config = make_config(gateway={"storaged_url": there.url}, server={"drain_timeout": 0.3})
        service: Service = await nursery.start(partial(lakehouse.serve, config, env={}))
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(service.urls[0]))
        await stream.send_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n")  # its head is not complete: not idle
        with trio.fail_after(20):
            async with client_of(service) as client:
                assert (await client.get("/healthz")).status_code == 200
        service.stop()
        await stream.send_all(b"\r\n")
        with trio.fail_after(20):
            head = await stream.receive_some()
        assert head.startswith(b"HTTP/1.1 503 ")
        await stream.aclose()


async def test_cancelled_from_outside_everything_ends_at_once() -> None:
    async with open_upstream(never_answer) as there:
        async with trio.open_nursery() as nursery:
            config = make_config(gateway={"storaged_url": there.url})
            service: Service = await nursery.start(partial(lakehouse.serve, config, env={}))
            stream = await trio.open_tcp_stream("127.0.0.1", port_of(service.urls[0]))
            await stream.send_all(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
            while not there.requests:
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
        assert await refused(service.urls[0])
        with trio.fail_after(20):
            while there.closed < there.opened:
                await trio.sleep(0.005)
            assert await stream.receive_some() == b""
        await stream.aclose()


async def test_two_services_in_one_process_do_not_know_of_each_other() -> None:
    async with (
        open_service(make_config(), env={"LAKEHOUSE_TOKEN": "one"}) as first,
        open_service(make_config()) as second,
        client_of(first) as a,
        client_of(second) as b,
    ):
        assert (await a.get("/v1/requests")).status_code == 401
        assert (await b.get("/v1/requests")).status_code == 200
        first.stop()
        with trio.fail_after(20):
            while not await refused(first.urls[0]):
                await trio.sleep(0.005)
        assert (await b.get("/readyz")).status_code == 200


async def test_the_second_listener_serves_the_chat_group_alone_as_of_old() -> None:
    config = make_config(chatd={"bind": "127.0.0.1:0", "ollama_url": "http://127.0.0.1:9"})
    async with open_service(config) as service:
        assert len(service.urls) == 2
        async with httpx.AsyncClient(base_url=service.urls[1], trust_env=False) as client:
            assert (await client.get("/chat/providers")).json()["default"] == "ollama"
            assert (await client.get("/healthz")).status_code == 200
            for path in ("/v1/chat/providers", "/v1/storage/x", "/metrics"):
                response = await client.get(path)
                assert response.status_code == 404
                assert response.json()["error"]["code"] == "ErrNotFound"


async def test_requests_in_flight_are_listed() -> None:
    async with open_upstream(never_answer) as there:
        config = make_config(gateway={"storaged_url": there.url})
        async with open_service(config) as service, client_of(service) as client, trio.open_nursery() as nursery:
            nursery.start_soon(partial(client.get, "/v1/storage/x?secret=1", headers={"x-request-timeout-ms": "9000"}))
            while not there.requests:
                await trio.sleep(0.005)
            listed = (await client.get("/v1/requests")).json()["requests"]
            (mine,) = [entry for entry in listed if entry["route"] == "/v1/storage"]
            assert (mine["phase"], mine["upstream"], mine["method"]) == ("waiting", "storaged", "GET")
            assert 0 <= mine["age"] < 9
            assert 0 < mine["time_left"] < 9
            assert "secret" not in str(listed)
            nursery.cancel_scope.cancel()


def test_embedded_in_an_anyio_program_on_its_trio_backend() -> None:
    async def program() -> int:
        async with anyio.create_task_group() as group:
            service = await group.start(partial(lakehouse.serve, make_config(), env={}))
            async with httpx.AsyncClient(trust_env=False) as client:
                status = (await client.get(f"{service.urls[0]}/readyz")).status_code
            group.cancel_scope.cancel()
        return status

    assert anyio.run(program, backend="trio") == 200


async def test_tls_from_the_configuration(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    tables = {"server": {"certfile": str(tmp_path / "cert.pem"), "keyfile": str(tmp_path / "key.pem")}}
    async with open_service(make_config(**tables)) as service:
        assert service.urls[0].startswith("https://127.0.0.1:")
        async with httpx.AsyncClient(base_url=service.urls[0], verify=context, trust_env=False) as client:
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
        plain = await trio.open_tcp_stream("127.0.0.1", port_of(service.urls[0]))
        async with plain:  # a client that does not speak TLS ends its own connection and nobody else's
            await plain.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            with trio.fail_after(20):
                while await plain.receive_some():
                    pass
        async with httpx.AsyncClient(base_url=service.urls[0], verify=context, trust_env=False) as client:
            assert (await client.get("/readyz")).status_code == 200
