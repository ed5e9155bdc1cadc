"""The card: what a gateway is put through.

A row passes when the caller gets the complete answer (or what else the row says, such as the provider's reason), and
the provider was treated with manners: no hammering, no second try of a refusal.
"""

from __future__ import annotations

from collections.abc import Iterator

from tools.faults import judging, plays
from tools.faults.cases import Row
from tools.faults.judging import complete, honest

ONE, NONE = (1, 1), (0, 0)
TRIES = (1, 3)
"""What two retries allow."""


def _row(name: str, *chain: str, tries: tuple[tuple[int, int], ...], **more: object) -> Row:
    return Row(name=name, chain=chain, tries=tries, **{"play": plays.once, "judge": complete(), **more})  # type: ignore[arg-type]


def _sixteen() -> Iterator[Row]:
    """The faults of the public crash test."""
    yield _row("429 with Retry-After, once", "429-once", tries=((2, 2),), judge=complete(0))
    yield _row("429 always", "429-always", "ok", tries=(TRIES, ONE), judge=complete(1))
    yield _row("500 once", "500-once", tries=((2, 2),), judge=complete(0))
    yield _row("503 always", "503-always", "ok", tries=(TRIES, ONE), judge=complete(1))
    yield _row("reset before the head, once", "reset-once", tries=((2, 2),), judge=complete(0))
    yield _row("no answer at all", "silent", "ok", tries=(ONE, ONE), judge=complete(1))
    yield _row("slow first token", "slow-first", tries=(ONE,), judge=complete(0))
    yield _row("stream cut", "cut", "ok", tries=((1, 2), ONE))
    yield _row("stream stalled", "stall", "ok", tries=(ONE, ONE))
    yield _row("malformed event", "malformed", "ok", tries=(TRIES, (0, 1)))
    yield _row("no end mark", "no-done", "ok", tries=((1, 2), (0, 1)))
    yield _row("context too long", "context", "ok", tries=(ONE, ONE), judge=complete(1))
    yield _row(
        "content filter", "filter", "ok", tries=(ONE, NONE), judge=judging.refused(status=400, saying="violence")
    )
    yield _row("cut, and a fallback that refuses prefill", "cut", "no-prefill", tries=((1, 2), ONE))
    yield _row(
        "a primary that is down and comes back under twenty requests",
        "down-then-back",
        "ok",
        tries=((0, 3), (0, 1)),
        play=plays.many(20, spread=True),
        judge=judging.back_again,
        wires=(1,),
    )
    yield _row("fail-over accounting", "500-always", "ok", tries=(TRIES, ONE), judge=complete(1))


def _leaving() -> Iterator[Row]:
    """The client leaves in each phase."""
    gone = judging.gone
    yield _row("client leaves while waiting", "silent", tries=(ONE,), play=plays.leaving(0), judge=gone)
    stream = {"modes": ("stream",), "judge": gone}
    yield _row("client leaves the stream", "drip", tries=(ONE,), play=plays.leaving(0), **stream)
    yield _row("client leaves during back-off", "429-patient", tries=(TRIES,), play=plays.leaving(0), judge=gone)
    away = plays.leaving(1)
    yield _row("client leaves the fallback", "500-always", "silent", tries=(TRIES, ONE), play=away, judge=gone)


def _more() -> Iterator[Row]:
    """Ours."""
    yield _row("200 with an error envelope", "error-in-200", "ok", tries=(TRIES, ONE), judge=complete(1))
    yield _row("zero choices", "zero-choices", "ok", tries=(TRIES, ONE), judge=complete(1))
    yield _row("HTML", "html", "ok", tries=(TRIES, ONE), judge=complete(1))
    yield _row("HTML with 502", "html-502", "ok", tries=(TRIES, ONE), judge=complete(1))
    yield _row("keep-alives for ever", "keepalives", "ok", tries=(ONE, ONE), judge=complete(1))
    quota = complete(1, within="first_token_timeout")
    yield _row("quota 429 with a Retry-After of days", "quota-days", "ok", tries=(ONE, ONE), judge=quota)
    yield _row("401 at the primary", "401", "ok", tries=(ONE, ONE), judge=complete(1))
    yield _row("402 at the primary", "402", "ok", tries=(ONE, ONE), judge=complete(1))
    yield _row("404 at the primary", "404", "ok", tries=(ONE, ONE), judge=complete(1))
    silence = ("silent", "silent", "silent")
    some = ((0, 1),) * 3
    hurry = plays.in_a_hurry
    yield _row("the caller's deadline, silent routes", *silence, tries=some, play=hurry, judge=judging.in_time)
    yield _row("a 64 MB line", "64mb-line", "ok", tries=(ONE, ONE), judge=complete(1), heavy=True)
    thirty = {"play": plays.many(30), "wires": (0,)}
    yield _row("an open circuit under thirty requests", "500-always", tries=((0, 3),), judge=judging.shut(5), **thirty)
    fifteen = {"play": plays.many(15), "wires": (2,)}
    yield _row("an open circuit and a fallback", "500-always", "ok", tries=((0, 3), ONE), judge=_spared, **fifteen)
    yield _row("garbage instead of HTTP", "garbage", "ok", tries=(TRIES, ONE), judge=complete(1))
    yield _row("redirect", "redirect", "ok", tries=(ONE, ONE), judge=complete(1))
    stream = {"modes": ("stream",)}
    yield _row("a healthy stream beyond every limit", "drip", tries=(ONE,), judge=complete(0), **stream)
    yield _row("no finish reason and no end mark", "no-finish", "ok", tries=((1, 2), ONE))
    yield _row("an error after half of the stream", "error-midway", "ok", tries=(TRIES, ONE))
    yield _row("an answer that is whole and does not end", "hang", tries=(ONE,), judge=complete(0))
    yield _row("noise between the events", "chatter", tries=(ONE,), judge=complete(0))
    filtered = complete(0, finish="content_filter")
    yield _row("an answer that the filter stopped", "filtered", "ok", tries=(ONE, NONE), judge=filtered, wires=(1, 2))
    yield _row("stream cut, and nobody else to ask", "cut", tries=((1, 2),), judge=honest)
    yield _row("stream stalled, and nobody else to ask", "stall", tries=(ONE,), judge=honest)


def _spared(*args: object) -> list[str]:
    return [*complete(1)(*args), *judging.spared(5)(*args)]  # type: ignore[arg-type]


def _hedged() -> Iterator[Row]:
    """For a gateway that hedges."""
    hedged = {"gateway": "hedged"}
    yield _row("hedge", "silent", "ok", tries=(ONE, ONE), judge=complete(1, within="first_token_timeout"), **hedged)
    yield _row(
        "hedge won by no error frame", "slow-first", "error-in-200", tries=(ONE, ONE), judge=complete(0), **hedged
    )
    away = plays.leaving(1)
    pair = (ONE, ONE)
    yield _row("client leaves the hedge", "silent", "silent", tries=pair, play=away, judge=judging.gone, **hedged)


ROWS = (*_sixteen(), *_leaving(), *_more(), *_hedged())
