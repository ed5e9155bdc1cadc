"""The ways to break, by name.

Each is a function of one `ScriptedResponse`, a request that the model was asked. `-once` fails the first time, `-always` always;
where the form of the question changes what breaks, the docstring says how: whole, and in a stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from tools.kit.faults.connection import Disconnect
from tools.kit.faults.formats import ERROR_REPLIES, PIECES, encode_json
from tools.kit.faults.scripted_response import ScriptedResponse

HUGE = 64 * 1000 * 1000
"""Characters of the line that is too long."""

DAYS = 3 * 24 * 3600
"""Seconds that a spent quota asks for."""


Fault = Callable[[ScriptedResponse], Awaitable[None]]


def once(fault: Fault) -> Fault:
    """The first time only."""

    async def behave(turn: ScriptedResponse) -> None:
        if turn.number == 1:
            await fault(turn)
        else:
            await turn.send_answer()

    return behave


def refusing(kind: str) -> Fault:
    """An error with its status, and nothing about when to come back."""
    return lambda turn: turn.send_error(kind)


async def ok(turn: ScriptedResponse) -> None:
    """Nothing breaks."""
    await turn.send_answer()


async def rate_limited(turn: ScriptedResponse) -> None:
    """429, with a Retry-After that can be waited for."""
    await turn.send_error("rate", retry_after=turn.profile.retry_after)


async def spent(turn: ScriptedResponse) -> None:
    """429, with a Retry-After of days."""
    await turn.send_error("rate", retry_after=DAYS)


async def reset(_: ScriptedResponse) -> None:
    """The connection breaks before there is a head."""
    raise Disconnect(reset=True)


async def silent(_: ScriptedResponse) -> None:
    """Nothing, for ever."""
    await trio.sleep_forever()


async def slow_first(turn: ScriptedResponse) -> None:
    """A long time before the first piece, none behind it."""
    await trio.sleep(turn.profile.slow)
    await turn.send_answer()


async def drip(turn: ScriptedResponse) -> None:
    """A healthy stream that lasts longer than any request may."""
    await turn.send_answer(pause=turn.profile.pause)


async def cut(turn: ScriptedResponse) -> None:
    """Half of the answer, then the end of the connection: with FIN, as if that were all."""
    await turn.send_half()
    raise Disconnect


async def stall(turn: ScriptedResponse) -> None:
    """Half of the answer, then silence."""
    await turn.send_half()
    await trio.sleep_forever()


async def malformed(turn: ScriptedResponse) -> None:
    """Whole: half an object, well framed. In a stream: an event of that kind among the good ones."""
    if not turn.streams:
        body = encode_json(turn.format.whole(turn.model))
        await turn.connection.send_response(body[: len(body) // 2])
        return
    await turn.begin()
    await turn.send_text(*PIECES[:4])
    await turn.send_bytes(turn.format.garbled)
    await turn.send_text(*PIECES[4:])
    await turn.end()


async def chatter(turn: ScriptedResponse) -> None:
    """In a stream: an event that is no object at all, and pings. Whole: white space around the answer."""
    if not turn.streams:
        await turn.connection.send_response(b"\n  \n" + encode_json(turn.format.whole(turn.model)) + b"\n")
        return
    await turn.begin()
    for text in PIECES:
        await turn.send_bytes(turn.format.ping + turn.format.chatter)
        await turn.send_text(text)
    await turn.end()


async def no_done(turn: ScriptedResponse) -> None:
    """A stream without its end mark; a whole answer that ends with the connection."""
    if turn.streams:
        await turn.begin()
        await turn.send_text(*PIECES)
        await turn.send_bytes(turn.format.closing(turn.model))
        await turn.connection.end_body()
    else:
        await turn.connection.send_head(headers={"connection": "close"}, kind="application/json")
        await turn.connection.send(encode_json(turn.format.whole(turn.model)))
        raise Disconnect


async def no_finish(turn: ScriptedResponse) -> None:
    """A stream that ends neatly after half of its answer, with no word about why. Whole: as `cut`."""
    await turn.send_half()
    if not turn.streams:
        raise Disconnect
    await turn.connection.end_body()


async def hang(turn: ScriptedResponse) -> None:
    """An answer that is whole and a body that does not end."""
    if turn.streams:
        await turn.begin()
        await turn.send_text(*PIECES)
        await turn.send_bytes(turn.format.closing(turn.model) + turn.format.mark())
        await trio.sleep_forever()
    await turn.send_answer()


async def filtered(turn: ScriptedResponse) -> None:
    """An answer that the provider's filter stopped."""
    await turn.send_answer(finish="content_filter")


async def no_prefill(turn: ScriptedResponse) -> None:
    """Answers, but refuses a conversation whose last word is the assistant's."""
    messages = turn.request.get("messages") or [{}]
    if messages[-1].get("role") == "assistant":
        await turn.send_error("prefill")
    else:
        await turn.send_answer()


async def down_then_back(turn: ScriptedResponse) -> None:
    """Breaks connections for a while after it was first asked, then answers."""
    if turn.since < turn.profile.down:
        await reset(turn)
    await turn.send_answer()


async def error_in_200(turn: ScriptedResponse) -> None:
    """An error with status 200: as the document, or as the first event."""
    if turn.streams:
        await turn.connection.send_head(kind=turn.format.kind)
        await turn.send_bytes(turn.format.failure(ERROR_REPLIES["server"]))
        await turn.connection.end_body()
    else:
        await turn.connection.send_response(encode_json(turn.format.envelope(ERROR_REPLIES["server"])))


async def error_midway(turn: ScriptedResponse) -> None:
    """In a stream: an error event behind half of the answer. Whole: as `error-in-200`."""
    if not turn.streams:
        await error_in_200(turn)
        return
    await turn.send_half()
    await turn.send_bytes(turn.format.failure(ERROR_REPLIES["busy"]))
    await turn.connection.end_body()


async def zero_choices(turn: ScriptedResponse) -> None:
    """An answer with nothing in it."""
    if turn.streams:
        await turn.connection.send_head(kind=turn.format.kind)
        await turn.send_bytes(turn.format.empty_stream(turn.model))
        await turn.connection.end_body()
    else:
        await turn.connection.send_response(encode_json(turn.format.empty(turn.model)))


async def html(turn: ScriptedResponse) -> None:
    """A page, with status 200."""
    await turn.connection.send_response(b"<!doctype html><title>Welcome</title><h1>It works!</h1>", kind="text/html")


async def html_502(turn: ScriptedResponse) -> None:
    """A proxy's page, with status 502."""
    await turn.connection.send_response(b"<html><body><h1>502 Bad Gateway</h1></body></html>", 502, kind="text/html")


async def keepalives(turn: ScriptedResponse) -> None:
    """Signs of life for ever, and never an answer."""
    await turn.connection.send_head(kind=turn.format.kind if turn.streams else "application/json")
    while True:
        await turn.send_bytes(turn.format.ping if turn.streams else b" ")
        await trio.sleep(turn.profile.ping)


async def huge_line(turn: ScriptedResponse) -> None:
    """One line of 64 MB."""
    before, behind = turn.format.around(turn.model)
    if not turn.streams:
        before, _, behind = encode_json(turn.format.whole(turn.model, "@")).partition(b"@")
    await turn.connection.send_head(kind=turn.format.kind if turn.streams else "application/json")
    await turn.send_bytes(before)
    for _ in range(HUGE // 100_000):
        await turn.send_bytes(b"x" * 100_000)
    await turn.send_bytes(behind)
    if turn.streams:
        await turn.end()
    else:
        await turn.connection.end_body()


async def redirect(turn: ScriptedResponse) -> None:
    """307 to another place, where a client that follows would send its key."""
    await turn.connection.send_response(b"", 307, {"location": "http://127.0.0.1:9/elsewhere"})


async def garbage(turn: ScriptedResponse) -> None:
    """What is no HTTP."""
    await turn.connection.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    raise Disconnect


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
