"""Streams tell the truth: pieces as they arrive, then exactly one end; a stream that broke never ends in `Done`."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import httpx
import pytest
import trio
from trio.testing import MockClock

from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.model.pieces import ContentPiece, Done, ReasoningPiece, ToolCallPiece
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrTimeout, ErrUpstream
from tools.kit.fake_providers import (
    OLLAMA_END,
    OVERLOADED,
    FakeProvider,
    Script,
    ask,
    completion_event,
    completion_stream,
    context,
    error_response,
    ollama_answer,
    ollama_line,
    ollama_stream,
    open_fake_dispatcher,
    read,
    settings,
    text_of,
)

CUT = httpx.ReadError("reset by peer")
DONE = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5}}\n\ndata: [DONE]\n\n'


async def test_pieces_that_arrive_together_are_one_batch(
    autojump_clock: MockClock,
) -> None:
    chunks = [(1.0, ollama_line("a") + ollama_line("b")), (1.0, ollama_line("c")), (1.0, ollama_line("d") + OLLAMA_END)]
    ollama = FakeProvider(Script(chunks=chunks))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher, dispatcher.stream(ask()) as pieces:
        assert (pieces.provider, pieces.model, len(pieces.attempts)) == ("ollama", "m", 1)
        seen = [
            (trio.current_time(), [getattr(piece, "text", "done") for piece in batch])
            async for batch in pieces.batches()
        ]
    assert seen == [(1.0, ["a", "b"]), (2.0, ["c"]), (3.0, ["d"]), (3.0, ["done"])]


async def test_a_stream_has_exactly_one_end_and_it_is_the_last(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_stream("Hel", "lo.", gap=0.5))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        pieces, error = await read(dispatcher)
    assert error is None
    assert [isinstance(piece, Done) for piece in pieces] == [False, False, True]
    done = pieces[-1]
    assert isinstance(done, Done)
    assert (done.finish_reason, done.input_tokens, done.output_tokens, done.latency_ms) == ("stop", 7, 3, 1500)
    assert [(attempt.status, attempt.error, attempt.ms) for attempt in done.attempts] == [(200, None, 1500)]


async def test_a_failure_before_the_first_piece_is_raised_on_entering(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(error_response(500, "boom"))
    async with open_fake_dispatcher(settings(policy={"retries": 0}), ollama=ollama) as dispatcher:
        manager = dispatcher.stream(ask())
        with pytest.raises(ErrUpstream, match="boom"):
            await manager.__aenter__()


async def test_before_the_first_piece_another_route_may_answer(autojump_clock: MockClock) -> None:
    for broken in (
        Script(chunks=[(1, CUT)]),
        Script(chunks=[(1, b'{"error":"boom"}\n')]),
        Script(chunks=[(0, ollama_line(""))]),
    ):
        ollama, openrouter = FakeProvider(broken), FakeProvider(completion_stream("From the other."))
        async with open_fake_dispatcher(
            settings(policy={"retries": 0}), ollama=ollama, openrouter=openrouter
        ) as dispatcher:
            pieces, error = await read(dispatcher, "ollama/m", "openrouter/v/m")
        assert (text_of(pieces), error) == ("From the other.", None)


BROKEN = {
    "cut": (Script(chunks=[(0, ollama_line("Hel")), (1, CUT)]), "was cut"),
    "end without an end mark": (Script(chunks=[(0, ollama_line("Hel"))]), "was cut"),
    "error frame": (
        Script(chunks=[(0, ollama_line("Hel")), (1, b'{"error":"model runner has unexpectedly stopped"}\n')]),
        "runner",
    ),
    "malformed event": (
        Script(chunks=[(0, ollama_line("Hel")), (1, b'{"message":{"cont\n'), (0, OLLAMA_END)]),
        "could not be read",
    ),
    "half a line": (Script(chunks=[(0, ollama_line("Hel")), (1, OLLAMA_END[:20])]), "was cut"),
}


@pytest.mark.parametrize(("script", "says"), BROKEN.values(), ids=BROKEN)
async def test_after_the_first_piece_a_broken_stream_is_an_error(
    autojump_clock: MockClock, script: Script, says: str
) -> None:
    ollama, openrouter = FakeProvider(script), FakeProvider(completion_stream("From the other."))
    async with open_fake_dispatcher(ollama=ollama, openrouter=openrouter) as dispatcher:
        pieces, error = await read(dispatcher, "ollama/m", "openrouter/v/m")
    assert pieces == [ContentPiece("Hel")]
    assert isinstance(error, ErrUpstream)
    assert says in error.message
    assert [attempt.error for attempt in error.attempts] == [error.error_class]
    assert (len(ollama.requests), len(openrouter.requests)) == (1, 0)


async def test_an_error_that_arrives_with_the_last_pieces_is_raised_at_once(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(Script(chunks=[(1, ollama_line("Hel") + b'{"error":"boom"}\n'), (inf, b"")]))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        pieces, error = await read(dispatcher)
    assert (text_of(pieces), trio.current_time()) == ("Hel", 1.0)
    assert error is not None
    assert "boom" in error.message


async def test_a_stream_that_broke_stays_over(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_stream("Hel", cut=CUT))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher, dispatcher.stream(ask()) as pieces:
        assert await anext(pieces) == ContentPiece("Hel")
        with pytest.raises(ErrUpstream):
            await anext(pieces)
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)


# ----- ends that are honest although something is missing


HONEST = {
    "no [DONE]": [(0, completion_event({"content": "Hello."}, finish_reason="stop"))],
    "data after [DONE]": [
        (0, completion_event({"content": "Hello."}, finish_reason="stop") + DONE + b'data: {"cost":"0.1"}\n\n')
    ],
    "reset after the finish reason": [(0, completion_event({"content": "Hello."}, finish_reason="stop")), (0, CUT)],
    "open after [DONE]": [(0, completion_event({"content": "Hello."}, finish_reason="stop") + DONE), (inf, b"")],
    "comments for ever after [DONE]": [
        (0, completion_event({"content": "Hello."}, finish_reason="stop") + DONE),
        *[(1, b": hm\n")] * 99,
    ],
    "silent after the finish reason": [(0, completion_event({"content": "Hello."}, finish_reason="stop")), (inf, b"")],
}


@pytest.mark.parametrize("chunks", HONEST.values(), ids=HONEST)
async def test_a_complete_answer_without_an_end_mark_is_done(
    autojump_clock: MockClock, chunks: list[tuple[float, bytes]]
) -> None:
    openrouter = FakeProvider(Script(chunks=chunks))
    async with open_fake_dispatcher(settings(idle_timeout=30.0), openrouter=openrouter) as dispatcher:
        pieces, error = await read(dispatcher, "openrouter/v/m")
    assert (text_of(pieces), error, type(pieces[-1])) == ("Hello.", None, Done)


async def test_what_may_follow_the_end_mark_is_waited_for_two_seconds(autojump_clock: MockClock) -> None:
    end = completion_event({"content": "Hello."}, finish_reason="stop") + DONE
    opencode = FakeProvider(Script(chunks=[(0, end), (1.5, b'data: {"choices":[],"cost":"0.25"}\n\n'), (inf, b"")]))
    async with open_fake_dispatcher(opencode=opencode) as dispatcher:
        pieces, _ = await read(dispatcher, "opencode/glm-5.2")
    done = pieces[-1]
    assert isinstance(done, Done)
    assert done.cost_usd == 0.25
    assert trio.current_time() == 2.0


# ----- time


async def test_no_total_limit_cuts_a_stream_that_has_begun(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_stream(*"abcdefghij", gap=9.0))
    config = settings(timeout=10.0, first_token_timeout=10.0, idle_timeout=10.0)
    async with open_fake_dispatcher(config, ollama=ollama) as dispatcher:
        pieces, error = await read(dispatcher)
    assert (text_of(pieces), error) == ("abcdefghij", None)
    assert trio.current_time() == 99.0


async def test_the_whole_deadline_ends_a_search_for_the_first_piece(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_stream("a", gap=inf))
    async with open_fake_dispatcher(settings(timeout=10.0, first_token_timeout=60.0), ollama=ollama) as dispatcher:
        _, error = await read(dispatcher)
    assert isinstance(error, ErrTimeout)
    assert error.message == "timeout: the first piece of an answer did not come within 10 s"
    assert trio.current_time() == 10.0


async def test_a_stream_that_stalls_ends_at_idle_timeout(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(Script(chunks=[(5, ollama_line("Hel")), (inf, b"")]))
    async with open_fake_dispatcher(settings(idle_timeout=30.0), ollama=ollama) as dispatcher:
        pieces, error = await read(dispatcher)
    assert text_of(pieces) == "Hel"
    assert isinstance(error, ErrTimeout)
    assert error.message == "idle_timeout: ollama/m stopped in its answer and was silent for 30 s"
    assert trio.current_time() == 35.0


async def test_keep_alive_comments_are_no_pieces_before_the_first(autojump_clock: MockClock) -> None:
    processing = Script(chunks=[(3, b": OPENROUTER PROCESSING\n\n")] * 99)
    openrouter, kimi = FakeProvider(processing), FakeProvider(error_response(500))
    async with open_fake_dispatcher(settings(first_token_timeout=20.0), openrouter=openrouter, kimi=kimi) as dispatcher:
        _, error = await read(dispatcher, "openrouter/v/m")
    assert isinstance(error, ErrTimeout)
    assert "first_token_timeout" in error.message
    assert trio.current_time() == 20.0


@pytest.mark.parametrize(
    "nothing",
    [
        b": OPENROUTER PROCESSING\n\n",
        completion_event({"content": None}),
        completion_event({"role": "assistant"}),
        completion_event({"content": ""}),
    ],
)
async def test_keep_alive_comments_and_empty_events_are_no_pieces_after_it(
    autojump_clock: MockClock, nothing: bytes
) -> None:
    openrouter = FakeProvider(Script(chunks=[(0, completion_event({"content": "Hel"})), *[(3, nothing)] * 99]))
    async with open_fake_dispatcher(settings(idle_timeout=20.0), openrouter=openrouter) as dispatcher:
        pieces, error = await read(dispatcher, "openrouter/v/m")
    assert text_of(pieces) == "Hel"
    assert isinstance(error, ErrTimeout)
    assert trio.current_time() == 20.0


async def test_text_held_back_for_its_format_is_progress(autojump_clock: MockClock) -> None:
    some = (8.0, completion_event({"content": "1"}))
    chunks = [some, (0, b": keep-alive\n\n"), *[some] * 20, (0, completion_event({}, finish_reason="stop") + DONE)]
    config = settings(timeout=20.0, first_token_timeout=10.0, idle_timeout=10.0)
    async with open_fake_dispatcher(config, opencode=FakeProvider(Script(chunks=chunks))) as dispatcher:
        pieces, error = await read(dispatcher, "opencode/deepseek-v4-flash", format={"type": "integer"})
    assert error is None
    assert text_of(pieces) == "1" * 21


async def test_parts_of_a_long_tool_call_are_progress(autojump_clock: MockClock) -> None:
    def fragment(arguments: str, **call: object) -> bytes:
        return completion_event(
            {
                "tool_calls": [
                    {"index": 0, **call, "function": {"arguments": arguments, **({"name": "f"} if call else {})}}
                ]
            }
        )

    chunks = [(8.0, fragment('{"a":"', id="c1")), *[(8.0, fragment("x"))] * 20, (8.0, fragment('"}'))]
    openrouter = FakeProvider(Script(chunks=[*chunks, (0, completion_event({}, finish_reason="tool_calls") + DONE)]))
    config = settings(timeout=20.0, first_token_timeout=10.0, idle_timeout=10.0)
    async with open_fake_dispatcher(config, openrouter=openrouter) as dispatcher:
        pieces, error = await read(dispatcher, "openrouter/v/m")
    assert error is None
    assert isinstance(pieces[0], ToolCallPiece)
    assert pieces[0].tool_call.function.arguments == '{"a":"' + "x" * 20 + '"}'
    done = pieces[-1]
    assert isinstance(done, Done)
    assert done.finish_reason == "tool_calls"


async def test_time_that_the_client_takes_is_not_the_upstreams_silence(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_stream("a", "b", gap=1.0))
    async with (
        open_fake_dispatcher(settings(idle_timeout=5.0), ollama=ollama) as dispatcher,
        dispatcher.stream(ask()) as pieces,
    ):
        seen = []
        async for piece in pieces:
            seen.append(type(piece))
            await trio.sleep(60)
    assert seen == [ContentPiece, ContentPiece, Done]


# ----- leaving


async def test_leaving_early_closes_the_connection_at_once(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_stream(*"abc", gap=1.0))
    here = context()
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        async with dispatcher.stream(ask(), context=here) as pieces:
            await anext(pieces)
        assert ollama.open == 0
        assert trio.current_time() == 1.0
    assert [made.error for made in here.attempts] == ["cancelled"]


async def test_an_abandoned_stream_records_the_usage_known_so_far(
    autojump_clock: MockClock,
) -> None:
    counted = completion_event({"content": "Hel"})[:-3] + b',"usage":{"prompt_tokens":11,"completion_tokens":1}}\n\n'
    openrouter = FakeProvider(Script(chunks=[(0, counted), (inf, b"")]))
    here = context()
    async with (
        open_fake_dispatcher(openrouter=openrouter) as dispatcher,
        dispatcher.stream(ask("openrouter/v/m"), context=here) as pieces,
    ):
        await anext(pieces)
    assert here.usage is not None
    assert (here.usage.input_tokens, here.usage.output_tokens) == (11, 1)


@pytest.mark.parametrize("seconds", [0.5, 1.5, 3.5], ids=["before the first piece", "between pieces", "after a stall"])
async def test_cancellation_in_a_stream_leaves_nothing(autojump_clock: MockClock, seconds: float) -> None:
    ollama = FakeProvider(Script(chunks=[(1, ollama_line("a")), (1, ollama_line("b")), (inf, b"")]))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        with trio.move_on_after(seconds):
            await read(dispatcher)
        assert trio.current_time() == seconds
        assert ollama.open == 0


# ----- on_cut = "resume"


RESUME = {"on_cut": "resume", "retries": 0}


async def test_another_route_continues_exactly_after_the_delivered_text(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_stream("Once upon", " a ti", gap=1.0, cut=CUT))
    openrouter = FakeProvider(completion_stream("Once", " upon a", " time", ", there was.", gap=1.0))
    async with open_fake_dispatcher(settings(policy=RESUME), ollama=ollama, openrouter=openrouter) as dispatcher:
        pieces, error = await read(dispatcher, "ollama/m", "openrouter/v/m")
    assert error is None
    assert [piece.text for piece in pieces if isinstance(piece, ContentPiece)] == [
        "Once upon",
        " a ti",
        "me",
        ", there was.",
    ]
    done = pieces[-1]
    assert isinstance(done, Done)
    assert (done.provider, done.model, done.input_tokens) == ("openrouter", "v/m", 11)
    assert [attempt.error for attempt in done.attempts] == ["incomplete_stream", None]
    assert openrouter.requests[0].json["messages"] == [
        {"role": "user", "content": "Hello?"}
    ]  # the whole question, no prefill


async def test_a_stalled_stream_is_resumed_and_the_fallback_has_its_own_retries(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(Script(chunks=[(0, ollama_line("Once")), (inf, b"")]))
    openrouter = FakeProvider(Script(status=503), completion_stream("Once upon a time."))
    config = settings(idle_timeout=10.0, policy={"on_cut": "resume", "backoff": 1.0})
    async with open_fake_dispatcher(config, ollama=ollama, openrouter=openrouter) as dispatcher:
        pieces, error = await read(dispatcher, "ollama/m", "openrouter/v/m")
    assert (text_of(pieces), error) == ("Once upon a time.", None)
    assert openrouter.times == [10.0, 11.0]


DIFFERENT = {
    "another text": ("There was once", None),
    "a shorter text": ("Once up", None),
    "nothing of it": ("", "Let me think."),
}


@pytest.mark.parametrize(("text", "reasoning"), DIFFERENT.values(), ids=DIFFERENT)
async def test_an_answer_that_does_not_begin_with_what_was_sent_ends_in_an_error(
    autojump_clock: MockClock, text: str, reasoning: str | None
) -> None:
    ollama = FakeProvider(ollama_stream("Once upon", cut=CUT))
    chunks = [
        (0.0, completion_event({"content": text, "reasoning": reasoning})),
        (0.0, completion_event({}, finish_reason="stop") + DONE),
    ]
    openrouter = FakeProvider(Script(chunks=chunks))
    kimi = FakeProvider(error_response(500))
    async with open_fake_dispatcher(
        settings(policy=RESUME), ollama=ollama, openrouter=openrouter, kimi=kimi
    ) as dispatcher:
        pieces, error = await read(dispatcher, "ollama/m", "openrouter/v/m", "kimi/k3")
    assert text_of(pieces) == "Once upon"
    assert isinstance(error, ErrUpstream)
    assert error.error_class == "incomplete_stream"
    assert "openrouter/v/m" in error.message
    assert kimi.requests == []


async def test_reasoning_is_compared_as_well(autojump_clock: MockClock) -> None:
    first: list[tuple[float, bytes | Exception]] = [
        (0, completion_event({"reasoning": "Hm, "})),
        (0, completion_event({"content": "On"})),
        (0, CUT),
    ]
    same = [
        (0, completion_event({"reasoning": "Hm, "})),
        (0, completion_event({"content": "Once."}, finish_reason="stop") + DONE),
    ]
    other = [
        (0, completion_event({"reasoning": "Well, "})),
        (0, completion_event({"content": "Once."}, finish_reason="stop") + DONE),
    ]
    none = [(0, completion_event({"content": "Once."}, finish_reason="stop") + DONE)]
    for again, ends_well in ((same, True), (other, False), (none, False)):
        openrouter = FakeProvider(Script(chunks=first), Script(chunks=again))
        async with open_fake_dispatcher(settings(policy=RESUME), openrouter=openrouter) as dispatcher:
            pieces, error = await read(dispatcher, "openrouter/v/a", "openrouter/v/b")
        assert (error is None) is ends_well
        assert text_of(pieces) == ("Once." if ends_well else "On")
        assert pieces[0] == ReasoningPiece("Hm, ")


async def test_a_tool_call_that_was_sent_cannot_be_resumed(autojump_clock: MockClock) -> None:
    call = {"function": {"name": "f", "arguments": {}}}
    sent = ollama_line("", message={"role": "assistant", "content": "", "tool_calls": [call]})
    ollama, openrouter = FakeProvider(Script(chunks=[(0, sent), (0, CUT)])), FakeProvider(completion_stream("Hello."))
    async with open_fake_dispatcher(settings(policy=RESUME), ollama=ollama, openrouter=openrouter) as dispatcher:
        pieces, error = await read(dispatcher, "ollama/m", "openrouter/v/m")
    assert [type(piece) for piece in pieces] == [ToolCallPiece]
    assert isinstance(error, ErrUpstream)
    assert openrouter.requests == []


async def test_when_no_route_can_continue_the_cut_is_raised(autojump_clock: MockClock) -> None:
    ollama, openrouter = FakeProvider(ollama_stream("Once", cut=CUT)), FakeProvider(error_response(500, "boom"))
    async with open_fake_dispatcher(settings(policy=RESUME), ollama=ollama, openrouter=openrouter) as dispatcher:
        _, error = await read(dispatcher, "ollama/m", "openrouter/v/m")
        _, alone = await read(dispatcher, "ollama/m")
    assert error is not None
    assert alone is not None
    assert error.message.startswith("the stream of ollama/m was cut")
    assert [attempt.error for attempt in error.attempts] == ["incomplete_stream", "server_error"]
    assert [attempt.error for attempt in alone.attempts] == ["incomplete_stream"]


async def test_a_stream_can_be_resumed_more_than_once(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(
        ollama_stream("On", cut=CUT),
        ollama_stream("Once up", cut=CUT),
        ollama_stream("O", cut=CUT),
        ollama_stream("Once upon."),
    )
    async with open_fake_dispatcher(settings(policy=RESUME), ollama=ollama) as dispatcher:
        pieces, error = await read(dispatcher, "a", "b", "c", "d")
    assert (text_of(pieces), error) == ("Once upon.", None)


async def test_a_refusal_in_the_middle_is_not_resumed(autojump_clock: MockClock) -> None:
    refused = b'{"error":"the request was rejected because it was considered high risk"}\n'
    ollama, openrouter = (
        FakeProvider(Script(chunks=[(0, ollama_line("Once")), (0, refused)])),
        FakeProvider(completion_stream("Once upon.")),
    )
    async with open_fake_dispatcher(settings(policy=RESUME), ollama=ollama, openrouter=openrouter) as dispatcher:
        _, error = await read(dispatcher, "ollama/m", "openrouter/v/m")
    assert error is not None
    assert error.error_class == "content_policy"
    assert openrouter.requests == []


# ----- on_disconnect


@dataclass
class Client:
    disconnected: bool = False


async def left(dispatcher: ServiceDispatcher, after: float, *, mode: str, gone: bool = True) -> RequestContext:
    """Ask, and be cancelled after so many seconds, because the client is `gone` or not; returns the request context."""
    here = context()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await trio.sleep(after)
                here.watch_client(Client(gone))
                scope.cancel()

            nursery.start_soon(leave)
            if mode == "whole":
                await dispatcher(ask(), context=here)
            else:
                async with dispatcher.stream(ask(), context=here) as pieces:
                    async for _ in pieces:
                        pass
                    await trio.sleep_forever()
    assert scope.cancelled_caught
    return here


class Phased(FakeProvider):
    """Records in the request context, as our transport does, that the request was sent."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["lakehouse.context"].phase = "waiting"
        return await super().handle_async_request(request)


@pytest.mark.parametrize(
    ("mode", "script", "after"),
    [
        ("whole", ollama_answer(after=5), 1.0),
        ("stream", ollama_stream("a", "b", gap=2.5), 1.0),
        ("stream", ollama_stream("a", "b", gap=2.5), 4.0),
    ],
    ids=["whole", "before the first piece", "between pieces"],
)
async def test_an_answer_is_read_on_for_its_usage_after_the_client_left(
    autojump_clock: MockClock, mode: str, script: Script, after: float
) -> None:
    ollama = Phased(script)
    async with open_fake_dispatcher(settings(policy={"on_disconnect": 10.0}), ollama=ollama) as dispatcher:
        here = await left(dispatcher, after, mode=mode)
        assert ollama.open == 0
    assert here.usage is not None
    assert (here.usage.input_tokens, here.usage.output_tokens) == (7, 3)
    assert trio.current_time() == (5.0 if mode == "whole" else 7.5)


@pytest.mark.parametrize("mode", ["whole", "stream"])
async def test_reading_on_has_an_end(autojump_clock: MockClock, mode: str) -> None:
    ollama = Phased(Script(chunks=[(1, ollama_line("a")), *[(1, ollama_line("b"))] * 999]))
    async with open_fake_dispatcher(settings(policy={"on_disconnect": 10.0}), ollama=ollama) as dispatcher:
        await left(dispatcher, 3.5, mode=mode)
        assert ollama.open == 0
    assert trio.current_time() == 13.5


@pytest.mark.parametrize("mode", ["whole", "stream"])
async def test_reading_on_needs_a_disconnected_client(autojump_clock: MockClock, mode: str) -> None:
    ollama = Phased(Script(chunks=[(1, ollama_line("a")), (99, OLLAMA_END)]))
    async with open_fake_dispatcher(settings(policy={"on_disconnect": 10.0}), ollama=ollama) as dispatcher:
        await left(dispatcher, 3.5, mode=mode, gone=False)
        assert ollama.open == 0
    assert trio.current_time() == 3.5


async def test_by_default_a_client_that_left_ends_it_at_once(autojump_clock: MockClock) -> None:
    ollama = Phased(ollama_answer(after=5))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        await left(dispatcher, 1.0, mode="whole")
        assert ollama.open == 0
    assert trio.current_time() == 1.0


async def test_there_is_no_reading_on_before_the_request_is_sent(autojump_clock: MockClock) -> None:
    class Connecting(FakeProvider):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["lakehouse.context"].phase = "connecting"
            return await super().handle_async_request(request)

    config = settings(policy={"on_disconnect": 10.0})
    async with open_fake_dispatcher(config, ollama=Connecting(ollama_answer(after=5))) as dispatcher:
        await left(dispatcher, 1.0, mode="whole")
    assert trio.current_time() == 1.0
    async with open_fake_dispatcher(config, ollama=Phased(OVERLOADED)) as dispatcher:  # in the back-off
        await left(dispatcher, 0.1, mode="whole")
    assert trio.current_time() == 1.1


async def test_reading_on_is_part_of_no_later_attempt(autojump_clock: MockClock) -> None:
    ollama = Phased(error_response(500, after=5), ollama_answer())
    async with open_fake_dispatcher(settings(policy={"on_disconnect": 60.0}), ollama=ollama) as dispatcher:
        await left(dispatcher, 1.0, mode="whole")
    assert len(ollama.requests) == 1
    assert trio.current_time() == 5.0


async def test_reading_on_costs_a_patient_client_nothing(autojump_clock: MockClock) -> None:
    ollama = Phased(OVERLOADED, ollama_stream("a", "b", gap=1.0))
    config = settings(policy={"on_disconnect": 10.0, "retries": 1})
    async with (
        open_fake_dispatcher(config, ollama=ollama) as dispatcher,
        dispatcher.stream(ask(), context=context()) as pieces,
    ):
        assert [type(piece) async for piece in pieces] == [ContentPiece, ContentPiece, Done]
