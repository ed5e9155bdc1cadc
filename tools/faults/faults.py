"""The ways to break, by name.

Each is a function of one `Turn`, a request that the model was asked. `-once` fails the first time, `-always` always;
where the form of the question changes what breaks, the docstring says how: whole, and in a stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from tools.faults.turn import Turn
from tools.faults.voices import KINDS, PIECES, packed
from tools.faults.wire import HangUp

HUGE = 64 * 1000 * 1000
"""Characters of the line that is too long."""

DAYS = 3 * 24 * 3600
"""Seconds that a spent quota asks for."""


Fault = Callable[[Turn], Awaitable[None]]


def once(fault: Fault) -> Fault:
    """The first time only."""

    async def behave(turn: Turn) -> None:
        if turn.number == 1:
            await fault(turn)
        else:
            await turn.answer()

    return behave


def refusing(kind: str) -> Fault:
    """An error with its status, and nothing about when to come back."""
    return lambda turn: turn.refuse(kind)


async def ok(turn: Turn) -> None:
    """Nothing breaks."""
    await turn.answer()


async def rate_limited(turn: Turn) -> None:
    """429, with a Retry-After that can be waited for."""
    await turn.refuse("rate", retry_after=turn.profile.retry_after)


async def spent(turn: Turn) -> None:
    """429, with a Retry-After of days."""
    await turn.refuse("rate", retry_after=DAYS)


async def reset(_: Turn) -> None:
    """The connection breaks before there is a head."""
    raise HangUp(reset=True)


async def silent(_: Turn) -> None:
    """Nothing, for ever."""
    await trio.sleep_forever()


async def slow_first(turn: Turn) -> None:
    """A long time before the first piece, none behind it."""
    await trio.sleep(turn.profile.slow)
    await turn.answer()


async def drip(turn: Turn) -> None:
    """A healthy stream that lasts longer than any request may."""
    await turn.answer(pause=turn.profile.pause)


async def cut(turn: Turn) -> None:
    """Half of the answer, then the end of the connection: with FIN, as if that were all."""
    await turn.half()
    raise HangUp


async def stall(turn: Turn) -> None:
    """Half of the answer, then silence."""
    await turn.half()
    await trio.sleep_forever()


async def malformed(turn: Turn) -> None:
    """Whole: half an object, well framed. In a stream: an event of that kind among the good ones."""
    if not turn.streams:
        body = packed(turn.voice.whole(turn.model))
        await turn.wire.whole(body[: len(body) // 2])
        return
    await turn.begin()
    await turn.say(*PIECES[:4])
    await turn.emit(turn.voice.garbled)
    await turn.say(*PIECES[4:])
    await turn.end()


async def chatter(turn: Turn) -> None:
    """In a stream: an event that is no object at all, and pings. Whole: white space around the answer."""
    if not turn.streams:
        await turn.wire.whole(b"\n  \n" + packed(turn.voice.whole(turn.model)) + b"\n")
        return
    await turn.begin()
    for text in PIECES:
        await turn.emit(turn.voice.ping + turn.voice.chatter)
        await turn.say(text)
    await turn.end()


async def no_done(turn: Turn) -> None:
    """A stream without its end mark; a whole answer that ends with the connection."""
    if turn.streams:
        await turn.begin()
        await turn.say(*PIECES)
        await turn.emit(turn.voice.closing(turn.model))
        await turn.wire.end()
    else:
        await turn.wire.begin(headers={"connection": "close"}, kind="application/json")
        await turn.wire.send(packed(turn.voice.whole(turn.model)))
        raise HangUp


async def no_finish(turn: Turn) -> None:
    """A stream that ends neatly after half of its answer, with no word about why. Whole: as `cut`."""
    await turn.half()
    if not turn.streams:
        raise HangUp
    await turn.wire.end()


async def hang(turn: Turn) -> None:
    """An answer that is whole and a body that does not end."""
    if turn.streams:
        await turn.begin()
        await turn.say(*PIECES)
        await turn.emit(turn.voice.closing(turn.model) + turn.voice.mark())
        await trio.sleep_forever()
    await turn.answer()


async def filtered(turn: Turn) -> None:
    """An answer that the provider's filter stopped."""
    await turn.answer(finish="content_filter")


async def no_prefill(turn: Turn) -> None:
    """Answers, but refuses a conversation whose last word is the assistant's."""
    messages = turn.asked.get("messages") or [{}]
    if messages[-1].get("role") == "assistant":
        await turn.refuse("prefill")
    else:
        await turn.answer()


async def down_then_back(turn: Turn) -> None:
    """Breaks connections for a while after it was first asked, then answers."""
    if turn.since < turn.profile.down:
        await reset(turn)
    await turn.answer()


async def error_in_200(turn: Turn) -> None:
    """An error with status 200: as the document, or as the first event."""
    if turn.streams:
        await turn.wire.begin(kind=turn.voice.kind)
        await turn.emit(turn.voice.failure(KINDS["server"]))
        await turn.wire.end()
    else:
        await turn.wire.whole(packed(turn.voice.envelope(KINDS["server"])))


async def error_midway(turn: Turn) -> None:
    """In a stream: an error event behind half of the answer. Whole: as `error-in-200`."""
    if not turn.streams:
        await error_in_200(turn)
        return
    await turn.half()
    await turn.emit(turn.voice.failure(KINDS["busy"]))
    await turn.wire.end()


async def zero_choices(turn: Turn) -> None:
    """An answer with nothing in it."""
    if turn.streams:
        await turn.wire.begin(kind=turn.voice.kind)
        await turn.emit(turn.voice.empty_stream(turn.model))
        await turn.wire.end()
    else:
        await turn.wire.whole(packed(turn.voice.empty(turn.model)))


async def html(turn: Turn) -> None:
    """A page, with status 200."""
    await turn.wire.whole(b"<!doctype html><title>Welcome</title><h1>It works!</h1>", kind="text/html")


async def html_502(turn: Turn) -> None:
    """A proxy's page, with status 502."""
    await turn.wire.whole(b"<html><body><h1>502 Bad Gateway</h1></body></html>", 502, kind="text/html")


async def keepalives(turn: Turn) -> None:
    """Signs of life for ever, and never an answer."""
    await turn.wire.begin(kind=turn.voice.kind if turn.streams else "application/json")
    while True:
        await turn.emit(turn.voice.ping if turn.streams else b" ")
        await trio.sleep(turn.profile.ping)


async def huge_line(turn: Turn) -> None:
    """One line of 64 MB."""
    before, behind = turn.voice.around(turn.model)
    if not turn.streams:
        before, _, behind = packed(turn.voice.whole(turn.model, "@")).partition(b"@")
    await turn.wire.begin(kind=turn.voice.kind if turn.streams else "application/json")
    await turn.emit(before)
    for _ in range(HUGE // 100_000):
        await turn.emit(b"x" * 100_000)
    await turn.emit(behind)
    if turn.streams:
        await turn.end()
    else:
        await turn.wire.end()


async def redirect(turn: Turn) -> None:
    """307 to another place, where a client that follows would send its key."""
    await turn.wire.whole(b"", 307, {"location": "http://127.0.0.1:9/elsewhere"})


async def garbage(turn: Turn) -> None:
    """What is no HTTP."""
    await turn.wire.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    raise HangUp


FAULTS: dict[str, Fault] = {
    "ok": ok,
    "429-once": once(rate_limited),
    "429-always": refusing("rate"),
    "429-patient": rate_limited,
    "quota-days": spent,
    "500-once": once(refusing("server")),
    "500-always": refusing("server"),
    "503-always": refusing("busy"),
    "401": refusing("auth"),
    "402": refusing("billing"),
    "404": refusing("missing"),
    "context": refusing("context"),
    "filter": refusing("filter"),
    "filtered": filtered,
    "reset-once": once(reset),
    "garbage": garbage,
    "silent": silent,
    "slow-first": slow_first,
    "drip": drip,
    "cut": cut,
    "stall": stall,
    "malformed": malformed,
    "chatter": chatter,
    "no-done": no_done,
    "no-finish": no_finish,
    "hang": hang,
    "no-prefill": no_prefill,
    "down-then-back": down_then_back,
    "error-in-200": error_in_200,
    "error-midway": error_midway,
    "zero-choices": zero_choices,
    "html": html,
    "html-502": html_502,
    "keepalives": keepalives,
    "64mb-line": huge_line,
    "redirect": redirect,
}
