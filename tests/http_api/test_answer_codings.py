"""Answers that come compressed although nobody asked for that: in every coding, whole, streamed and as errors, over our
own pool and over a transport of somebody else's."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache

import httpx
import pytest
import trio
import trio.lowlevel

import lakehouse
from lakehouse.chat.dispatch.open_dispatcher import open_dispatcher
from lakehouse.core.errors import LakehouseError
from lakehouse.testing.upstreams import ReceivedRequest, UpstreamScript
from lakehouse.upstream.http1.content_codings import (
    CHUNK_SIZE,
    MAX_CODINGS,
    Corrupt,
    Decoder,
    TooLarge,
    Truncated,
    UnknownCoding,
    codings_of,
)
from tools.kit.in_process_service import make_config
from tools.kit.matrices import spread
from tools.kit.service_with_providers import (
    HELLO,
    KEYS,
    MODELS,
    STREAMS,
    WHOLE,
    ServiceWithProviders,
    chunk,
    completion,
    events,
    format_of,
    open_service_with_providers,
)
from tools.kit.sse import sse_documents


def deflated(data: bytes, window: int = zlib.MAX_WBITS) -> bytes:
    packer = zlib.compressobj(wbits=window)
    return packer.compress(data) + packer.flush()


def raw(data: bytes) -> bytes:
    return deflated(data, -zlib.MAX_WBITS)


def members(data: bytes) -> bytes:
    middle = len(data) // 2
    return gzip.compress(data[:middle]) + gzip.compress(b"") + gzip.compress(data[middle:]) + bytes(7)


def flushed(data: bytes) -> bytes:
    """gzip with a flush after each byte."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    parts = [packer.compress(data[at : at + 1]) + packer.flush(zlib.Z_SYNC_FLUSH) for at in range(len(data))]
    return b"".join(parts) + packer.flush()


CODINGS: dict[str, tuple[list[str], Callable[[bytes], bytes]]] = {
    "gzip": (["gzip"], gzip.compress),
    "x-gzip": (["x-gzip"], gzip.compress),
    "gzip in odd case": ([" GZip "], gzip.compress),
    "gzip in several members": (["gzip"], members),
    "gzip, flushed": (["gzip"], flushed),
    "gzip, stored": (["gzip"], lambda data: gzip.compress(data, 0)),
    "deflate": (["deflate"], deflated),
    "deflate with a small window": (["deflate"], lambda data: deflated(data, 9)),
    "deflate without zlib's header": (["deflate"], raw),
    "deflate, stored": (["deflate"], lambda data: zlib.compress(data, 0)),
    "two codings": (["deflate, gzip"], lambda data: gzip.compress(raw(data))),
    "two codings in two lines": (["gzip", "deflate"], lambda data: deflated(gzip.compress(data))),
    "identity": (["identity"], bytes),
    "identity and gzip": (["identity, gzip"], gzip.compress),
    "nothing": ([""], bytes),
    "empty elements": (["gzip, ,"], gzip.compress),
}


def answer(body: bytes, codings: list[str], *, status: int = 200, kind: str = "application/json") -> bytes:
    """A response that ends with its connection."""
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n"
    return (head + "".join(f"content-encoding: {value}\r\n" for value in codings) + "\r\n").encode() + body


def speaks(codings: list[str], pack: Callable[[bytes], bytes], *, step: int = 0) -> UpstreamScript:
    """Says hello in the form and the mode that it is asked in, packed, in pieces of `step` bytes."""

    async def script(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        form = format_of(asked)
        body = STREAMS[form] if asked.json.get("stream") else json.dumps(WHOLE[form]).encode()
        sent = answer(pack(body), codings)
        for at in range(0, len(sent), step or len(sent)):
            await stream.send_all(sent[at : at + (step or len(sent))])
            if step:
                await trio.lowlevel.checkpoint()
        await stream.aclose()

    return script


def said(response: httpx.Response) -> str:
    """The text of an answer in either form and mode."""
    assert response.status_code == 200, response.text
    if not response.headers["content-type"].startswith("text/event-stream"):
        document = response.json()
        return str(document["choices"][0]["message"]["content"] if "choices" in document else document["content"])
    told = sse_documents(response.text)
    if "choices" in told[0]:
        return "".join(choice["delta"].get("content") or "" for event in told for choice in event["choices"])
    assert told[-1]["type"] == "done", told
    return "".join(event.get("text", "") for event in told)


async def ask(there: ServiceWithProviders, model: str) -> AsyncIterator[httpx.Response]:
    """The question in both forms and modes."""
    for stream in (False, True):
        yield await there.chat(model, stream=stream)
        yield await there.complete(model, stream=stream)


@pytest.mark.parametrize(("codings", "pack"), spread(CODINGS.values(), 2), ids=CODINGS)
async def test_every_coding_is_taken_off(codings: list[str], pack: Callable[[bytes], bytes]) -> None:
    scripts = dict.fromkeys(MODELS, speaks(codings, pack))
    async with open_service_with_providers(scripts=scripts) as there:
        for model in ("ollama/m", "openrouter/v/m", "kimi/m", "opencode/gpt-5.4"):
            assert [said(response) async for response in ask(there, model)] == ["Hello."] * 4
        assert {asked.headers["accept-encoding"] for asked in there.requests["openrouter"]} == {"identity"}


async def test_it_may_be_cut_anywhere() -> None:
    async with open_service_with_providers(scripts={"openrouter": speaks(["gzip"], gzip.compress, step=1)}) as there:
        assert [said(response) async for response in ask(there, "openrouter/v/m")] == ["Hello."] * 4


@pytest.mark.parametrize("window", [zlib.MAX_WBITS, -zlib.MAX_WBITS, 16 + zlib.MAX_WBITS])
async def test_each_piece_leaves_as_it_arrives(window: int) -> None:
    go_on = trio.Event()

    async def script(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        packer = zlib.compressobj(wbits=window)
        await stream.send_all(answer(b"", ["gzip" if window > 16 else "deflate"]))
        first = packer.compress(events(chunk(content="Hel"), end=b"")) + packer.flush(zlib.Z_SYNC_FLUSH)
        await stream.send_all(first)
        await go_on.wait()
        await stream.send_all(packer.compress(events(chunk("stop", content="lo."))) + packer.flush())
        await stream.aclose()

    with trio.fail_after(10):
        async with open_service_with_providers(scripts={"openrouter": script}) as there:
            request = there.client.build_request(
                "POST", "/v1/chat", json={"model": "openrouter/v/m", "messages": HELLO, "stream": True}
            )
            response = await there.client.send(request, stream=True)
            lines = response.aiter_lines()
            assert json.loads((await anext(lines)).removeprefix("data: ")) == {"type": "content", "text": "Hel"}
            go_on.set()
            rest = [json.loads(line.removeprefix("data: ")) async for line in lines if line.startswith("data:")]
            assert [event["type"] for event in rest] == ["content", "done"]


FAILS: dict[str, tuple[list[str], Callable[[bytes], bytes], str, str]] = {
    "cut": (["gzip"], lambda data: gzip.compress(data)[:-9], "incomplete_stream", "gzip data ends early"),
    "cut in the header": (["gzip"], lambda data: gzip.compress(data)[:5], "incomplete_stream", "ends early"),
    "cut, deflate": (["deflate"], lambda data: deflated(data)[:-9], "incomplete_stream", "deflate data ends early"),
    "cut, raw": (["deflate"], lambda data: raw(data)[:-3], "incomplete_stream", "deflate data ends early"),
    "one byte of deflate": (["deflate"], lambda _: b"x", "incomplete_stream", "ends early"),
    "cut inside": (["deflate, gzip"], lambda data: gzip.compress(raw(data)[:-3]), "incomplete_stream", "deflate"),
    "not packed at all": (["gzip"], bytes, "upstream_error", "gzip data is corrupt"),
    "the other coding": (["gzip"], deflated, "upstream_error", "gzip data is corrupt"),
    "in the wrong order": (["gzip, deflate"], lambda data: gzip.compress(raw(data)), "upstream_error", "corrupt"),
    "damaged": (["gzip"], lambda data: gzip.compress(data)[:20] + b"\xff" * 30, "upstream_error", "corrupt"),
    "brotli": (["br"], bytes, "upstream_error", "Content-Encoding br, which is not supported"),
    "zstandard": (["zstd"], bytes, "upstream_error", "Content-Encoding zstd, which is not supported"),
    "compress": (["compress"], bytes, "upstream_error", "not supported"),
    "one unknown of two": (["br, gzip"], gzip.compress, "upstream_error", "unknown: br"),
    "too many": (["gzip"] * (MAX_CODINGS + 1), bytes, "upstream_error", "5 codings"),
}


@pytest.mark.parametrize(("codings", "pack", "kind", "says"), FAILS.values(), ids=FAILS)
async def test_what_cannot_be_decoded_is_an_error(
    codings: list[str], pack: Callable[[bytes], bytes], kind: str, says: str
) -> None:
    async with open_service_with_providers(scripts={"openrouter": speaks(codings, pack)}) as there:
        for stream in (False, True):
            response = await there.chat("openrouter/v/m", stream=stream)
            if response.status_code == 200:  # it broke behind its first pieces
                *told, last = sse_documents(response.text)
                assert last["type"] == "error" or (kind == "incomplete_stream" and told), last
                continue
            error = response.json()["error"]
            assert (response.status_code, error["class"], error["upstream_status"]) == (502, kind, 200)
            assert says in error["message"]


async def test_an_error_is_read_through_its_coding() -> None:
    refused = json.dumps({"error": {"message": "maximum context length is 8192 tokens", "code": 400}}).encode()
    for codings, pack in CODINGS.values():
        body = answer(pack(refused), codings, status=400)

        async def script(_: ReceivedRequest, stream: trio.SocketStream, body: bytes = body) -> None:
            await stream.send_all(body)
            await stream.aclose()

        async with open_service_with_providers(scripts={"openrouter": script}) as there:
            async for response in ask(there, "openrouter/v/m"):
                assert response.status_code == 400
                assert "8192" in response.json()["error"]["message"]


BOMBS: dict[str, tuple[bool, bytes]] = {
    "white space": (False, b" "),
    "a text": (False, b"a"),
    "comments": (True, b": " + b"-" * 100 + b"\n"),
    "empty events": (True, b"data: \n: " + b"-" * 100 + b"\n\n"),
}


@cache
def pack_bomb(fill: bytes) -> bytes:
    """128 MiB, four times what an answer may have, in gzip."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    block = fill * (2**20 // len(fill))
    return b"".join(packer.compress(block) for _ in range(128)) + packer.flush()


@pytest.mark.parametrize(("layers", "kind"), spread([*((1, kind) for kind in BOMBS), (2, "comments")], 2))
async def test_a_bomb_fails(layers: int, kind: str) -> None:
    stream, fill = BOMBS[kind]
    packed = pack_bomb(fill)
    bomb = answer(gzip.compress(packed) if layers == 2 else packed, ["gzip"] * layers)

    async def script(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(bomb)
        await stream.aclose()

    async with open_service_with_providers(scripts={"openrouter": script}) as there:
        with trio.fail_after(60):
            response = await there.chat("openrouter/v/m", stream=stream)
        error = response.json()["error"]
        assert (response.status_code, error["class"], error["retryable"]) == (502, "upstream_error", False)
        assert "bound" in error["message"]


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_is_decoded_a_part_at_a_time(layers: int) -> None:
    packed = pack_bomb(b"\0")
    packed = gzip.compress(packed) if layers == 2 else packed
    decoder, size = Decoder(("gzip",) * layers, max_output=2**25), 0

    def explode() -> None:
        nonlocal size
        for part in decoder.feed(packed):
            size += len(part)

    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            explode()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 2**25 <= size + CHUNK_SIZE < 2**26
    assert peak < 8 * CHUNK_SIZE


async def test_a_long_answer_that_compresses_well_is_no_bomb() -> None:
    text = "All work and no play makes Jack a dull boy. " * 20_000
    body = gzip.compress(json.dumps(completion(text)).encode())

    async def script(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(answer(body, ["gzip"]))
        await stream.aclose()

    async with open_service_with_providers(scripts={"openrouter": script}) as there:
        assert (await there.chat("openrouter/v/m")).json()["content"] == text


class Packed(httpx.AsyncByteStream):
    """A body in small pieces."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._body), 7):
            await trio.lowlevel.checkpoint()
            yield self._body[at : at + 7]


class Elsewhere(httpx.AsyncBaseTransport):
    """Somebody else's transport: gives the same to every request."""

    def __init__(self, body: bytes, codings: list[str], status: int = 200) -> None:
        self._given = (body, [("Content-Encoding", value) for value in codings], status)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body, headers, status = self._given
        return httpx.Response(status, headers=headers, stream=Packed(body))


@pytest.mark.parametrize(("codings", "pack"), CODINGS.values(), ids=CODINGS)
async def test_a_foreign_transport_is_decoded_as_well(codings: list[str], pack: Callable[[bytes], bytes]) -> None:
    request = lakehouse.Request(model="openrouter/v/m", messages=[{"role": "user", "content": "?"}])
    whole = json.dumps(completion()).encode()
    for body in (whole, STREAMS["/chat/completions"]):
        transports: Mapping[str, httpx.AsyncBaseTransport] = {"openrouter": Elsewhere(pack(body), codings)}
        async with open_dispatcher(make_config(), env=KEYS, transports=transports) as chat:
            assert (await chat(request)).content == "Hello."
            async with chat.stream(request) as told:
                assert "".join([getattr(piece, "text", "") async for piece in told]) == "Hello."


@pytest.mark.parametrize(("codings", "pack", "kind", "says"), FAILS.values(), ids=FAILS)
async def test_a_foreign_transport_fails_as_well(
    codings: list[str], pack: Callable[[bytes], bytes], kind: str, says: str
) -> None:
    request = lakehouse.Request(model="openrouter/v/m", messages=[{"role": "user", "content": "?"}])
    config = make_config(chatd={"policy": {"retries": 0}})
    transports = {"openrouter": Elsewhere(pack(json.dumps(completion()).encode()), codings)}
    async with open_dispatcher(config, env=KEYS, transports=transports) as chat:
        with pytest.raises(LakehouseError, match=says) as failed:
            await chat(request)
        assert failed.value.error_class == kind


def test_the_names_of_codings() -> None:
    assert codings_of([]) == codings_of(["", " , identity"]) == ()
    assert codings_of(["GZip , identity", "deflate"]) == ("gzip", "deflate")
    with pytest.raises(UnknownCoding, match="snappy"):
        Decoder(("gzip", "snappy"), max_output=1)


@pytest.mark.parametrize(("codings", "pack"), CODINGS.values(), ids=CODINGS)
def test_any_split_decodes_to_the_same(codings: list[str], pack: Callable[[bytes], bytes]) -> None:
    data = random.Random(7).randbytes(3000) + b"abc" * 3000
    packed = pack(data)
    for step in (1, 2, 3, 1000, len(packed)):
        decoder = Decoder(codings_of(codings), max_output=0 if step == 1 else len(data))
        assert (
            b"".join(part for at in range(0, len(packed), step) for part in decoder.feed(packed[at : at + step]))
            == data
        )
        decoder.end()


def test_the_bound_is_exact() -> None:
    packed = gzip.compress(bytes(10**6))
    for allowance, fits in ((10**6 - 100 * len(packed), True), (10**6 - 100 * len(packed) - 1, False)):
        decoder = Decoder(("gzip",), max_output=allowance)
        if fits:
            assert sum(map(len, decoder.feed(packed))) == 10**6
        else:
            with pytest.raises(TooLarge):
                list(decoder.feed(packed))


def test_an_empty_body_is_not_cut() -> None:
    for coding in ("gzip", "deflate"):
        Decoder((coding,), max_output=9).end()
        decoder = Decoder((coding,), max_output=9)
        list(decoder.feed(b"\x1f" if coding == "gzip" else b"x"))
        with pytest.raises(Truncated):
            decoder.end()
    with pytest.raises(Corrupt):
        list(Decoder(("gzip",), max_output=9).feed(gzip.compress(b"a") + b"rubbish"))
