"""What a client that leaves sets going, through the whole service and over real sockets."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, open_upstream
from tools.kit.fake_providers import OLLAMA_END, ollama_line
from tools.kit.in_process_service import make_config, open_service

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Slow:
    """An Ollama that says a piece, and the rest when it is told to; `ended` once it has said all, `left` once it saw
    its caller leave."""

    def __init__(self) -> None:
        self.go_on, self.ended, self.left = trio.Event(), trio.Event(), trio.Event()

    async def __call__(self, asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        streamed = asked.json["stream"]
        await stream.send_all(HEAD + (chunk(ollama_line("a")) if streamed else b""))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deadlines, stream, nursery.cancel_scope)
            await self.go_on.wait()
            await stream.send_all(
                chunk(OLLAMA_END if streamed else OLLAMA_END.replace(b'"content":""', b'"content":"a"')) + b"0\r\n\r\n"
            )
            self.ended.set()
            nursery.cancel_scope.cancel()

    async def _deadlines(self, stream: trio.SocketStream, rest: trio.CancelScope) -> None:
        await trio.lowlevel.wait_readable(stream.socket)
        if not await stream.receive_some():
            self.left.set()
            rest.cancel()


async def post_and_leave(url: str, ollama: ScriptedUpstream, *, streamed: bool) -> None:
    """Ask, wait until the provider is asked (and its first piece is here), and close the connection."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    body = b'{"model":"m","messages":[{"role":"user","content":"?"}],"stream":%b}' % (b"true" if streamed else b"false")
    client = await trio.open_tcp_stream(host, int(port))
    await client.send_all(b"POST /v1/chat HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    while streamed and b'"a"' not in await client.receive_some():
        pass
    while not ollama.requests:
        await trio.sleep(0.005)
    await trio.sleep(0.05)  # a whole answer: until the head of the provider's is read
    await client.aclose()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("lingers", [False, True], ids=["cancel", "drain"])
async def test_on_disconnect_decides_whether_reading_goes_on(*, streamed: bool, lingers: bool) -> None:
    slow = Slow()
    policy: dict[str, Any] = {"on_disconnect": "20s" if lingers else "cancel"}
    with trio.fail_after(20):
        async with open_upstream(slow) as ollama:
            config = make_config(chatd={"ollama_url": ollama.url, "policy": policy})
            async with open_service(config) as service:
                await post_and_leave(service.urls[0], ollama, streamed=streamed)
                if lingers:
                    await trio.sleep(0.1)
                    assert not slow.left.is_set()
                    slow.go_on.set()
                    await slow.ended.wait()
                else:
                    await slow.left.wait()
                    assert not slow.ended.is_set()
