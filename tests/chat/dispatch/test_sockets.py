"""The dispatcher over our own transport and real sockets: connections come back, and end when the call does."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from lakehouse.chat.dispatch import open_dispatcher as dispatcher_module
from lakehouse.chat.dispatch.attempts import attempt
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.chat.model.pieces import ContentPiece, Done, Piece
from lakehouse.config import OpenRouterTable
from lakehouse.core.errors import ErrUnavailable, ErrUpstream, LakehouseError
from lakehouse.net.reactor import Reactor
from lakehouse.testing.upstreams import (
    ReceivedRequest,
    ScriptedUpstream,
    answer_with,
    never_answer,
    open_upstream,
    respond,
)
from tools.kit.dispatcher_over_sockets import HEAD, chunked, ollama_body, open_dispatcher_over_sockets
from tools.kit.fake_providers import OLLAMA_END, ask, completion_event, context, ollama_line, read, settings


async def gone(ollama: ScriptedUpstream, connections: int) -> None:
    """Wait until so many connections have ended there."""
    while ollama.closed < connections:
        await trio.sleep(0.005)


async def test_answers_and_streams_that_were_read_to_their_end_share_one_connection() -> None:
    async with open_dispatcher_over_sockets(
        answer_with(
            respond(ollama_body()), chunked(ollama_line("a"), ollama_line("b"), OLLAMA_END), respond(ollama_body())
        )
    ) as (
        dispatcher,
        ollama,
    ):
        await dispatcher(ask())
        async with dispatcher.stream(ask()) as pieces:
            assert [type(piece) async for piece in pieces][-1] is Done
        await dispatcher(ask())
        assert ollama.opened == 1
        assert dispatcher.pools[0].idle == 1
    assert ollama.requests[0].headers["host"] == ollama.url.removeprefix("http://")


@pytest.mark.parametrize("mode", ["whole", "stream"])
async def test_a_call_that_is_cancelled_closes_its_connection(mode: str) -> None:
    async with open_dispatcher_over_sockets(never_answer) as (dispatcher, ollama):
        with trio.move_on_after(0.05):
            if mode == "whole":
                await dispatcher(ask())
            else:
                async with dispatcher.stream(ask()):
                    pass
        await gone(ollama, 1)


async def test_a_stream_that_is_left_closes_its_connection() -> None:
    async def endless(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(chunked(ollama_line("a"), end=False))
        await stream.receive_some()

    async with open_dispatcher_over_sockets(endless) as (dispatcher, ollama):
        async with dispatcher.stream(ask()) as pieces:
            await anext(pieces)
        await gone(ollama, 1)


FAULTS = {
    "refused": (b"", ErrUpstream),
    "garbage": (b"SSH-2.0-OpenSSH\r\n\r\n", ErrUpstream),
    "a body that is cut": (respond(ollama_body())[:-5], ErrUpstream),
    "html": (respond(b"<html>Bad gateway</html>", 502, content_type="text/html"), ErrUpstream),
}


@pytest.mark.parametrize(("answer", "error"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("mode", ["whole", "stream"])
async def test_what_goes_wrong_on_a_real_connection_is_retried(
    answer: bytes, error: type[LakehouseError], mode: str
) -> None:
    good = respond(ollama_body()) if mode == "whole" else chunked(ollama_line("Hello."), OLLAMA_END)
    asked = 0

    async def once(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        nonlocal asked
        asked += 1
        await stream.send_all(answer if asked == 1 else good)
        if asked == 1:
            await stream.aclose()
            raise trio.BrokenResourceError

    async with open_dispatcher_over_sockets(once, policy={"backoff": 0.01}) as (dispatcher, ollama):
        if mode == "whole":
            answers = await dispatcher(ask())
            assert answers.content == "Hello."
            attempts = answers.attempts
        else:
            async with dispatcher.stream(ask()) as pieces:
                *_, done = [piece async for piece in pieces]
            assert isinstance(done, Done)
            attempts = done.attempts
        assert [attempt.error is None for attempt in attempts] == [False, True]
        assert len(ollama.requests) == 2
    assert issubclass(error, LakehouseError)


async def test_a_cut_stream_ends_in_an_error() -> None:
    async def cut(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(chunked(ollama_line("Hel"), end=False))
        await stream.aclose()
        raise trio.BrokenResourceError

    async with open_dispatcher_over_sockets(cut) as (dispatcher, _):
        _, error = await read(dispatcher)
    assert isinstance(error, ErrUpstream)
    assert error.error_class == "incomplete_stream"


async def test_a_line_of_64_mb_is_an_error() -> None:
    async def flood(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD)
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        await stream.send_all(b"12\r\n" + b'{"message":{"conte' + b"\r\n")
        for _number in range(1024):
            await stream.send_all(chunk)

    async with open_dispatcher_over_sockets(flood, policy={"retries": 0}) as (dispatcher, _):
        with pytest.raises(ErrUpstream, match="bound"):
            async with dispatcher.stream(ask()):
                pass


async def test_a_full_queue_is_503_at_once() -> None:
    async with (
        open_dispatcher_over_sockets(never_answer, max_connections=1, max_waiting=0) as (dispatcher, _),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(dispatcher, ask())
        while not dispatcher.pools[0].in_use:
            await trio.sleep(0.005)
        with pytest.raises(ErrUnavailable) as raised:
            await dispatcher(ask())
        assert raised.value.retry_after == 1
        nursery.cancel_scope.cancel()


async def test_a_queued_request_leaves_the_queue_when_cancelled_and_its_phase_says_so() -> None:
    async with (
        open_dispatcher_over_sockets(never_answer, max_connections=1) as (dispatcher, ollama),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(dispatcher, ask())
        while not ollama.requests:
            await trio.sleep(0.005)
        here = context()
        with trio.move_on_after(0.05) as scope:
            await dispatcher(ask(), context=here)
        assert scope.cancelled_caught
        assert here.phase == "queued"
        assert (dispatcher.pools[0].waiting, dispatcher.pools[0].in_use) == (0, 1)
        assert len(ollama.requests) == 1
        nursery.cancel_scope.cancel()


async def test_a_hedge_over_real_connections_closes_the_loser() -> None:
    async def theirs(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        chunks = completion_event({"content": "Hello."}, finish_reason="stop") + b"data: [DONE]\n\n"
        await stream.send_all(respond(chunks, content_type="text/event-stream"))

    with trio.fail_after(20):
        async with open_upstream(never_answer) as slow, open_upstream(theirs) as fast:
            config = settings(
                ollama_url=slow.url, openrouter=OpenRouterTable(base_url=fast.url), policy={"hedge_after": 0.05}
            )
            async with open_service_dispatcher(config, env={"OPENROUTER_API_KEY": "k"}) as dispatcher:
                async with dispatcher.stream(ask("ollama/m", "openrouter/v/m")) as pieces:
                    assert pieces.provider == "openrouter"
                    assert dispatcher.pools[0].in_use == 0
                    await gone(slow, 1)
                assert [pool.in_use for pool in dispatcher.pools] == [0, 0]


async def test_a_thousand_calls_that_are_cancelled_leave_nothing() -> None:
    async def slowly(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await trio.sleep(0.002)
        await stream.send_all(respond(ollama_body()))

    async with open_dispatcher_over_sockets(slowly, max_connections=5) as (dispatcher, ollama):
        for number in range(40):
            async with trio.open_nursery() as nursery:
                for _ in range(25):
                    nursery.start_soon(dispatcher, ask())
                await trio.sleep(number % 7 / 1000)
                nursery.cancel_scope.cancel()
        pool = dispatcher.pools[0]
        assert (pool.in_use, pool.waiting) == (0, 0)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(dispatcher, ask())
        await gone(ollama, ollama.opened - pool.idle)


async def test_a_whole_answer_may_arrive_in_parts_after_white_space() -> None:
    async def slowly(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        for part in (
            chunked(b"\n \n", end=False),
            b"%x\r\n" % len(ollama_body()),
            ollama_body()[:9],
            ollama_body()[9:],
            b"\r\n0\r\n\r\n",
        ):
            await stream.send_all(part)
            await trio.sleep(0.01)

    async with open_dispatcher_over_sockets(slowly) as (dispatcher, _):
        assert (await dispatcher(ask())).content == "Hello."
        assert dispatcher.pools[0].idle == 1


@pytest.mark.parametrize("parts", [1, 2])
async def test_a_whole_answer_over_its_bound_is_an_error_and_closes_its_connection(
    parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "MAX_ANSWER", 20)
    async with open_dispatcher_over_sockets(answer_with(chunked(*[b"x" * (30 // parts)] * parts))) as (
        dispatcher,
        ollama,
    ):
        with pytest.raises(ErrUpstream, match="over the bound of 20 bytes") as raised:
            await dispatcher(ask())
        assert (raised.value.upstream_status, len(raised.value.attempts)) == (200, 1)
        assert ollama.opened == 1


async def test_retry_after_of_an_error_response_is_read() -> None:
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 77\r\ncontent-length: 0\r\n\r\n"
    async with open_dispatcher_over_sockets(answer_with(refusal)) as (dispatcher, _):
        with pytest.raises(LakehouseError) as raised:
            await dispatcher(ask())
        assert (raised.value.upstream_status, raised.value.retry_after) == (429, 77)


# Pieces that are handed on while the iterator waits


async def wait_until_read() -> None:
    """Wait until no other task has anything to do: what was sent has been read."""
    await trio.testing.wait_all_tasks_blocked(0.001)


@asynccontextmanager
async def slowly(
    *chunks: bytes, end: bytes = b"", wait: Callable[[], Awaitable[None]] = wait_until_read, **chatd: Any
) -> AsyncIterator[tuple[ServiceDispatcher, ScriptedUpstream]]:
    """A dispatcher whose sockets are looked after, before an Ollama that waits before each chunk."""

    async def script(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD)
        for chunk in chunks:
            await wait()
            await stream.send_all(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await wait()
        await (stream.send_all(end) if end else never_answer(asked, stream))

    reactor = Reactor()
    with trio.fail_after(20):
        async with open_upstream(script) as ollama, trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            async with open_service_dispatcher(
                settings(ollama_url=ollama.url, **chatd), env={}, reactor=reactor
            ) as dispatcher:
                yield dispatcher, ollama
                assert [pool.in_use for pool in dispatcher.pools] == [0]
            nursery.cancel_scope.cancel()


WORDS = [ollama_line("a"), ollama_line("b"), ollama_line("c"), ollama_line("d")]


def said(batches: Iterable[Sequence[Piece]]) -> list[str]:
    return [piece.text if isinstance(piece, ContentPiece) else piece.__class__.__name__ for b in batches for piece in b]


async def test_the_sink_gets_the_pieces_and_the_iterator_the_end() -> None:
    async with slowly(*WORDS, OLLAMA_END, end=b"0\r\n\r\n") as (dispatcher, _):
        handed: list[Sequence[Piece]] = []
        async with dispatcher.stream(ask()) as pieces:
            given = [batch async for batch in pieces.batches(handed.append)]
        assert (said(given), said(handed)) == (["a", "Done"], ["b", "c", "d"])


async def test_a_sink_that_blocks_is_waited_for() -> None:
    async with slowly(*WORDS, OLLAMA_END, end=b"0\r\n\r\n") as (dispatcher, _):
        told: list[str] = []

        def hand(batch: Sequence[Piece]) -> Awaitable[None]:
            async def tell() -> None:
                await trio.sleep(0.03)  # the next has come by then
                told.extend(said([batch]))

            return tell()

        async with dispatcher.stream(ask()) as pieces:
            async for batch in pieces.batches(hand):
                told.extend(said([batch]))
        assert told == ["a", "b", "c", "d", "Done"]


async def test_a_fast_stream_lets_other_tasks_run() -> None:
    burst = ollama_line("x" * 900) * 2_000
    pause = partial(trio.sleep, 0.01)  # one of the other tasks is always busy
    async with slowly(ollama_line("a"), burst, OLLAMA_END, end=b"0\r\n\r\n", wait=pause) as (dispatcher, _):
        turns = 0
        handed: Counter[int] = Counter()  # pieces by the turn in which they came

        async def other() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        def hand(batch: Sequence[Piece]) -> None:
            handed[turns] += len(batch)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            async with dispatcher.stream(ask()) as pieces:
                async for batch in pieces.batches(hand):
                    hand(batch)
            nursery.cancel_scope.cancel()
        assert handed.total() == 2_002
        # One turn may follow another directly, for trio shuffles the tasks of each round.
        assert max(handed.values()) <= 2 * dispatcher_module.READ_BUDGET // 900


async def test_an_exception_of_the_sink_is_raised_by_the_iterator() -> None:
    async with slowly(*WORDS) as (dispatcher, ollama):

        def hand(_: Sequence[Piece]) -> None:
            raise ValueError("no room")

        with pytest.raises(ValueError, match="no room"):
            async with dispatcher.stream(ask()) as pieces:
                _ = [batch async for batch in pieces.batches(hand)]
        await gone(ollama, 1)


async def test_a_cut_while_the_sink_is_used_raises() -> None:
    async with slowly(*WORDS, end=b"nonsense") as (dispatcher, _):
        handed: list[Sequence[Piece]] = []
        with pytest.raises(LakehouseError, match="cut") as caught:
            async with dispatcher.stream(ask()) as pieces:
                _ = [batch async for batch in pieces.batches(handed.append)]
        assert caught.value.error_class == "incomplete_stream"
        assert isinstance(caught.value.__cause__, LakehouseError)
        assert said(handed) == ["b", "c", "d"]


async def test_an_error_right_after_a_piece_of_the_sink_is_raised_at_once() -> None:
    async with slowly(ollama_line("a"), ollama_line("b"), ollama_line("c") + b'{"error":"boom"}\n') as (
        dispatcher,
        ollama,
    ):
        handed: list[Sequence[Piece]] = []
        with pytest.raises(LakehouseError, match="boom") as caught, trio.fail_after(20):
            async with dispatcher.stream(ask()) as pieces:
                _ = [batch async for batch in pieces.batches(handed.append)]
        assert caught.value.error_class == "upstream_error"
        assert said(handed) == ["b", "c"]
        await gone(ollama, 1)


async def test_silence_while_the_sink_is_used_raises() -> None:
    async with slowly(*WORDS, idle_timeout=0.1) as (dispatcher, ollama):
        handed: list[Sequence[Piece]] = []
        with pytest.raises(LakehouseError, match=r"was silent for 0\.1 s"):
            async with dispatcher.stream(ask()) as pieces:
                _ = [batch async for batch in pieces.batches(handed.append)]
        assert said(handed) == ["b", "c", "d"]
        await gone(ollama, 1)


async def test_leaving_a_stream_with_a_sink_closes_its_connection() -> None:
    async with slowly(*WORDS) as (dispatcher, ollama):
        handed: list[Sequence[Piece]] = []
        with trio.CancelScope() as leaving:

            def hand(batch: Sequence[Piece]) -> None:
                handed.append(batch)
                if len(handed) == 3:
                    leaving.cancel()

            async with dispatcher.stream(ask()) as pieces:
                _ = [batch async for batch in pieces.batches(hand)]
        assert leaving.cancelled_caught
        assert said(handed) == ["b", "c", "d"]
        await gone(ollama, 1)
