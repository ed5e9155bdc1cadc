"""The whole application under Hypercorn as it comes: what we promise there, and that it is not more than we keep.

What stock Hypercorn makes impossible is in the README: stalled readers, pipelined requests that hide a leaving client,
malformed requests that end the worker. None of that is tried here.
"""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
import trio

from tools.kit.lifetime.phases import chat_request, get_request, post_request
from tools.kit.lifetime.testbed import Client
from tools.kit.lifetime.under_hypercorn import open_hypercorn_testbed

pytestmark = pytest.mark.alone  # measures the time from the end of a client to the end of its work

REQUESTS = {
    "gateway": ("silent/x", get_request("silent/x")),
    "gateway, body up": ("silent/x", post_request("/v1/storage/silent/x", 1000) + b"half"),
    "gateway, body down": ("endless/x", get_request("endless/x")),
    "chat, whole": ("silent.x", chat_request("silent.x")),
    "chat, stream": ("stall.x", chat_request("stall.x", stream=True)),
    "OpenAI's form, stream": ("stall.x", chat_request("stall.x", stream=True, path="/v1/chat/completions")),
    "chat, fallback": ("silent.x", chat_request("500-always.x", fallbacks=["silent.x"])),
}


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_client_that_leaves_ends_what_was_done_for_it(name: str, how: str) -> None:
    key, request = REQUESTS[name]
    async with open_hypercorn_testbed() as served, await served.client() as client:
        await client.send(request)
        await served.wait_requested(key)
        await trio.sleep(0.01)
        began = trio.current_time()
        client.leave(how)
        assert await served.wait_abandoned(key) - began < 0.25


@pytest.mark.parametrize("name", ["gateway", "chat, whole", "chat, fallback"])
async def test_a_deadline_is_answered_with_504_in_time(name: str) -> None:
    key, request = REQUESTS[name]
    request = request.replace(b"\r\n", b"\r\nX-Request-Timeout-Ms: 300\r\n", 1)
    async with open_hypercorn_testbed() as served, await served.client() as client:
        began = time.perf_counter()
        await client.send(request)
        await client.until(b"\r\n\r\n")
        assert 0.29 <= time.perf_counter() - began <= 0.5
        assert client.said.startswith(b"HTTP/1.1 504 ")
        await served.wait_abandoned(key)


async def test_a_deadline_cuts_an_answer_that_has_begun() -> None:
    async with open_hypercorn_testbed() as served, await served.client() as client:
        await client.send(get_request("endless/x", "X-Request-Timeout-Ms: 200\r\n"))
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 200 ")
        assert not said.endswith(b"0\r\n\r\n")
        await served.wait_abandoned("endless/x")


async def offer(client: Client, data: bytes) -> None:
    """Send, as far as it is taken."""
    with suppress(trio.BrokenResourceError):
        await client.send(data)


EARLY = {"404": "/v1/nothing", "405": "/v1/models", "413": "/v1/chat", "401": "/v1/storage/ok/x"}
TOKEN = "Authorization: Bearer secret\r\n"


@pytest.mark.parametrize("size", [20_000, 3_000_000])
@pytest.mark.parametrize("status", EARLY)
async def test_an_early_answer_before_an_unread_body_hangs_nothing(
    status: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that came with its head is in nobody's way: the connection goes on. Where more of it is on its way,
    Hypercorn ends the connection, as it may; what it may not is wait for somebody to read."""
    monkeypatch.setenv("LAKEHOUSE_TOKEN", "secret")
    request = post_request(EARLY[status], size, "" if status == "401" else TOKEN) + bytes(size)
    async with open_hypercorn_testbed(chatd={"max_body": 10_000}) as served, await served.client() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(offer, client, request)
            await client.until(b"}}")
            nursery.cancel_scope.cancel()
        assert client.said.startswith(f"HTTP/1.1 {status} ".encode())
        again = client if size < 60_000 else await served.client()
        async with again:
            again.said = b""
            await again.send(get_request("ok/after", TOKEN + "Connection: close\r\n"))
            said = await again.rest()
        assert said.startswith(b"HTTP/1.1 200 ")
        assert said.endswith(b"ok")


async def test_answers_follow_each_other_on_one_connection() -> None:
    async with open_hypercorn_testbed() as served, await served.client() as client:
        for turn in range(3):
            client.said = b""
            await client.send(get_request(f"ok/{turn}"))
            await client.until(b"ok")
            client.said = b""
            await client.send(chat_request(f"ok.{turn}"))
            await client.until(b'"attempts":[{')
            client.said = b""
            await client.send(chat_request(f"ok.s{turn}", stream=True))
            await client.until(b"0\r\n\r\n")
            assert b'"type":"done"' in client.said
