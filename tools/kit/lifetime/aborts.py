"""Requests that are aborted at random instants, many at a time, and requests that are not."""

from __future__ import annotations

import random
import socket
import struct
from pathlib import Path

import trio

from tools.kit.lifetime.phases import chat_request, get_request, post_request
from tools.kit.lifetime.testbed import Client, ServiceTestbed

AT_ONCE = 8
"""Clients."""

DEEP = 0.03
"""Seconds in which half of the clients wait until their request has arrived upstream; the others do not wait for it."""

INSTANT = 0.003
"""Seconds, from there, in which a client leaves at an instant that is drawn."""


def _unanswered(tag: str) -> tuple[bytes, str]:
    return get_request(f"silent/{tag}"), f"silent/{tag}"


def _pipelined(tag: str) -> tuple[bytes, str]:
    return get_request(f"silent/{tag}") * 2, f"silent/{tag}"


def _endless(tag: str) -> tuple[bytes, str]:
    return get_request(f"endless/{tag}"), f"endless/{tag}"


def _flood(tag: str) -> tuple[bytes, str]:
    return get_request(f"flood/{tag}"), f"flood/{tag}"


def _upload(tag: str) -> tuple[bytes, str]:
    return post_request(f"/v1/storage/silent/{tag}", 100_000) + bytes(1000), f"silent/{tag}"


def _both_ways(tag: str) -> tuple[bytes, str]:
    return post_request(f"/v1/storage/endless/{tag}", 100_000) + bytes(1000), f"endless/{tag}"


def _chat(tag: str) -> tuple[bytes, str]:
    return chat_request(f"silent.{tag}"), f"silent.{tag}"


def _stream(tag: str) -> tuple[bytes, str]:
    return chat_request(f"stall.{tag}", stream=True), f"stall.{tag}"


def _fallback(tag: str) -> tuple[bytes, str]:
    return chat_request(f"500-always.{tag}", fallbacks=[f"429-patient.{tag}"]), f"429-patient.{tag}"


def _hedge(tag: str) -> tuple[bytes, str]:
    path = "/v1/chat/completions"
    return chat_request(f"silent.1.{tag}", stream=True, fallbacks=[f"silent.2.{tag}"], path=path), f"silent.1.{tag}"


KINDS = (
    _unanswered,
    _unanswered,
    _pipelined,
    _endless,
    _endless,
    _flood,
    _upload,
    _both_ways,
    _chat,
    _stream,
    _fallback,
    _hedge,
)
"""Requests that do not end by themselves, and what they arrive as."""


async def aborts(testbed: ServiceTestbed, number: int, *, seed: int) -> None:
    """So many requests, each given up at an instant of its own."""
    draw = random.Random(seed)
    left = number

    async def clients() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            data, key = draw.choice(KINDS)(testbed.tag())
            cut = draw.randrange(len(data)) if draw.random() < 0.1 else len(data)
            await _abort(testbed, data[:cut], key if draw.random() < 0.5 else None, draw)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(clients)


async def _abort(testbed: ServiceTestbed, data: bytes, key: str | None, draw: random.Random) -> None:
    sock = socket.create_connection(("127.0.0.1", testbed.port))  # the kernel answers for the service: no waiting
    try:
        sock.setblocking(False)
        sock.send(data)
        with trio.move_on_after(DEEP):
            while key is not None and not testbed.recorded(key):
                await trio.sleep(0.002)
        await trio.sleep(INSTANT * draw.random())
        if draw.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        sock.close()


async def successes(testbed: ServiceTestbed, number: int, *, clients: int) -> int:
    """So many requests over as many connections as there are clients; how many of them were answered."""
    good = 0

    async def ask(share: int) -> None:
        nonlocal good
        async with await testbed.client() as client:
            for turn in range(share):
                tag = testbed.tag()
                await client.send(chat_request(f"ok.{tag}") if turn % 5 == 0 else get_request(f"ok/{tag}"))
                answered = await _is_answered(client)
                good += answered

    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(ask, number // clients)
    return good


async def _is_answered(client: Client) -> bool:
    client.said = b""
    await client.until(b"\r\n\r\n")
    head, _, body = client.said.partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < size:
        body += await client.stream.receive_some(65536)
    return head.startswith(b"HTTP/1.1 200") and len(body) == size


def resident() -> float:
    """Megabytes of memory that this process occupies."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6
