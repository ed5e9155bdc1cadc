"""The rows of the score card.

A row passes when the caller gets the complete answer (or another result that the row names, such as the provider's
reason) and the provider received no more requests than the row allows, none before its `Retry-After`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict, Unpack

from tools.kit.faults import behaviours, evaluation
from tools.kit.faults.caller import Mode
from tools.kit.faults.case_model import Behaviour, Case, CaseRun, Evaluation, Gateway, Row
from tools.kit.faults.evaluation import expect_complete, expect_error
from tools.kit.faults.profiles import Profile

ONE, NONE = (1, 1), (0, 0)
TRIES = (1, 3)
"""What two retries allow."""


class RowOptions(TypedDict, total=False):
    """The fields of a `Row` that have defaults here."""

    behave: Behaviour
    evaluate: Evaluation
    modes: tuple[Mode, ...]
    wires: tuple[int, ...]
    gateway: Gateway
    heavy: bool


def _row(name: str, *chain: str, tries: tuple[tuple[int, int], ...], **more: Unpack[RowOptions]) -> Row:
    options: RowOptions = {"behave": behaviours.call_once, "evaluate": expect_complete(), **more}
    return Row(name=name, chain=chain, tries=tries, **options)


def _sixteen() -> Iterator[Row]:
    """The faults of the public crash test."""
    yield _row("429 with Retry-After, once", "429-once", tries=((2, 2),), evaluate=expect_complete(0))
    yield _row("429 always", "429-always", "ok", tries=(TRIES, ONE), evaluate=expect_complete(1))
    yield _row("500 once", "500-once", tries=((2, 2),), evaluate=expect_complete(0))
    yield _row("503 always", "503-always", "ok", tries=(TRIES, ONE), evaluate=expect_complete(1))
    yield _row("reset before the head, once", "reset-once", tries=((2, 2),), evaluate=expect_complete(0))
    yield _row("no answer at all", "silent", "ok", tries=(ONE, ONE), evaluate=expect_complete(1))
    yield _row("slow first token", "slow-first", tries=(ONE,), evaluate=expect_complete(0))
    yield _row("stream cut", "cut", "ok", tries=((1, 2), ONE))
    yield _row("stream stalled", "stall", "ok", tries=(ONE, ONE))
    yield _row("malformed event", "malformed", "ok", tries=(TRIES, (0, 1)))
    yield _row("no end mark", "no-done", "ok", tries=((1, 2), (0, 1)))
    yield _row("context too long", "context", "ok", tries=(ONE, ONE), evaluate=expect_complete(1))
    yield _row(
        "content filter",
        "filter",
        "ok",
        tries=(ONE, NONE),
        evaluate=evaluation.expect_refusal(status=400, saying="violence"),
    )
    yield _row("cut, and a fallback that refuses prefill", "cut", "no-prefill", tries=((1, 2), ONE))
    yield _row(
        "a primary that is down and comes back under twenty requests",
        "down-then-back",
        "ok",
        tries=((0, 3), (0, 1)),
        behave=behaviours.call_repeatedly(20, spread=True),
        evaluate=evaluation.expect_recovery,
        wires=(1,),
    )
    yield _row("fail-over accounting", "500-always", "ok", tries=(TRIES, ONE), evaluate=expect_complete(1))


def _leaving() -> Iterator[Row]:
    """The client leaves in each phase."""
    gone = evaluation.expect_no_answer
    yield _row("client leaves while waiting", "silent", tries=(ONE,), behave=behaviours.leave_during(0), evaluate=gone)
    yield _row(
        "client leaves the stream",
        "drip",
        tries=(ONE,),
        behave=behaviours.leave_during(0),
        modes=("stream",),
        evaluate=gone,
    )
    yield _row(
        "client leaves during back-off", "429-patient", tries=(TRIES,), behave=behaviours.leave_during(0), evaluate=gone
    )
    away = behaviours.leave_during(1)
    yield _row("client leaves the fallback", "500-always", "silent", tries=(TRIES, ONE), behave=away, evaluate=gone)


def _more() -> Iterator[Row]:
    """Ours."""
    yield _row("200 with an error envelope", "error-in-200", "ok", tries=(TRIES, ONE), evaluate=expect_complete(1))
    yield _row("zero choices", "zero-choices", "ok", tries=(TRIES, ONE), evaluate=expect_complete(1))
    yield _row("HTML", "html", "ok", tries=(TRIES, ONE), evaluate=expect_complete(1))
    yield _row("HTML with 502", "html-502", "ok", tries=(TRIES, ONE), evaluate=expect_complete(1))
    yield _row("keep-alives for ever", "keepalives", "ok", tries=(ONE, ONE), evaluate=expect_complete(1))
    quota = expect_complete(1, within="first_token_timeout")
    yield _row("quota 429 with a Retry-After of days", "quota-days", "ok", tries=(ONE, ONE), evaluate=quota)
    yield _row("401 at the primary", "401", "ok", tries=(ONE, ONE), evaluate=expect_complete(1))
    yield _row("402 at the primary", "402", "ok", tries=(ONE, ONE), evaluate=expect_complete(1))
    yield _row("404 at the primary", "404", "ok", tries=(ONE, ONE), evaluate=expect_complete(1))
    silence = ("silent", "silent", "silent")
    some = ((0, 1),) * 3
    hurry = behaviours.call_with_deadline
    yield _row(
        "the caller's deadline, silent routes",
        *silence,
        tries=some,
        behave=hurry,
        evaluate=evaluation.expect_deadline_error,
    )
    yield _row("a 64 MB line", "64mb-line", "ok", tries=(ONE, ONE), evaluate=expect_complete(1), heavy=True)
    yield _row(
        "an open circuit under thirty requests",
        "500-always",
        tries=((0, 3),),
        evaluate=evaluation.expect_open_circuit(5),
        behave=behaviours.call_repeatedly(30),
        wires=(0,),
    )
    yield _row(
        "an open circuit and a fallback",
        "500-always",
        "ok",
        tries=((0, 3), ONE),
        evaluate=_spared,
        behave=behaviours.call_repeatedly(15),
        wires=(2,),
    )
    yield _row("garbage instead of HTTP", "garbage", "ok", tries=(TRIES, ONE), evaluate=expect_complete(1))
    yield _row("redirect", "redirect", "ok", tries=(ONE, ONE), evaluate=expect_complete(1))
    yield _row(
        "a healthy stream beyond every limit", "drip", tries=(ONE,), evaluate=expect_complete(0), modes=("stream",)
    )
    yield _row("no finish reason and no end mark", "no-finish", "ok", tries=((1, 2), ONE))
    yield _row("an error after half of the stream", "error-midway", "ok", tries=(TRIES, ONE))
    yield _row("an answer that is whole and does not end", "hang", tries=(ONE,), evaluate=expect_complete(0))
    yield _row("noise between the events", "chatter", tries=(ONE,), evaluate=expect_complete(0))
    filtered = expect_complete(0, finish="content_filter")
    yield _row(
        "an answer that the filter stopped", "filtered", "ok", tries=(ONE, NONE), evaluate=filtered, wires=(1, 2)
    )
    yield _row("stream cut, and nobody else to ask", "cut", tries=((1, 2),), evaluate=expect_error)
    yield _row("stream stalled, and nobody else to ask", "stall", tries=(ONE,), evaluate=expect_error)


def _spared(profile: Profile, case: Case, run: CaseRun) -> list[str]:
    return [*expect_complete(1)(profile, case, run), *evaluation.expect_spared(5)(profile, case, run)]


def _hedged() -> Iterator[Row]:
    """For a gateway that hedges."""
    yield _row(
        "hedge",
        "silent",
        "ok",
        tries=(ONE, ONE),
        evaluate=expect_complete(1, within="first_token_timeout"),
        gateway="hedged",
    )
    yield _row(
        "hedge won by no error frame",
        "slow-first",
        "error-in-200",
        tries=(ONE, ONE),
        evaluate=expect_complete(0),
        gateway="hedged",
    )
    away = behaviours.leave_during(1)
    pair = (ONE, ONE)
    yield _row(
        "client leaves the hedge",
        "silent",
        "silent",
        tries=pair,
        behave=away,
        evaluate=evaluation.expect_no_answer,
        gateway="hedged",
    )


ROWS = (*_sixteen(), *_leaving(), *_more(), *_hedged())
