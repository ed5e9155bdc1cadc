"""Quorum: asks several models at the same time and answers when enough of them give the same answer.

Each member is a call of its own over the routes of its name. All run in one nursery under one deadline. As soon as
enough members agree, or cannot agree any more, the others are cancelled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import trio

from lakehouse.chat.dispatch.attempts.attempt import CompleteResult, request_complete
from lakehouse.chat.dispatch.calls.call import ChatCall
from lakehouse.chat.dispatch.try_routes import try_routes
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure

MAX_QUOTE = 100
"""Characters of a member's answer that an error quotes."""


async def ask_quorum(members: Sequence[tuple[str, ChatCall]], agree: int) -> CompleteResult:
    """Ask all `members` (name and call). Returns the answer with which `agree` of them had given the same one.

    Raises `ErrUpstream` with all answers when they do not agree.
    """
    tally = VoteTally(agree, len(members))
    async with trio.open_nursery() as nursery:
        for name, call in members:
            nursery.start_soon(_ask_member, name, call, tally, nursery.cancel_scope)
    if tally.winner is None:
        raise tally.disagreement_error()
    return tally.winner


async def _ask_member(name: str, call: ChatCall, tally: VoteTally, scope: trio.CancelScope) -> None:
    await call.resources.balancer.arrange(call.routes, call.session_name)
    try:
        tally.count(name, await try_routes(call, request_complete))
    except LakehouseError as error:
        tally.count_failure(name, error)
    if tally.decided:
        scope.cancel()


@dataclass(slots=True)
class VoteTally:
    """The answers of the members so far."""

    agree: int
    members: int
    winner: CompleteResult | None = None
    _votes: Counter[str] = field(default_factory=Counter)
    _reports: list[str] = field(default_factory=list)

    def count(self, name: str, result: CompleteResult) -> None:
        """Count an answer. The one that completes the quorum wins: its attempt ended last."""
        self._reports.append(f"{name} said {_quote(result.reply.content)}")
        same = canonical_form(result.reply.content)
        self._votes[same] += 1
        if self.winner is None and self._votes[same] >= self.agree:
            self.winner = result

    def count_failure(self, name: str, error: LakehouseError) -> None:
        """Count a member that failed."""
        self._reports.append(f"{name} failed ({error.error_class or error.code})")

    @property
    def decided(self) -> bool:
        """Whether the members that are still missing cannot change the result."""
        missing = self.members - len(self._reports)
        return self.winner is not None or max(self._votes.values(), default=0) + missing < self.agree

    def disagreement_error(self) -> LakehouseError:
        """The error when too few members agree."""
        votes = "; ".join(self._reports)
        return make_failure(
            "upstream_error", f"quorum: no {self.agree} of {self.members} models agree: {votes}", retryable=True
        )


def canonical_form(text: str) -> str:
    """The same text for answers that are equal as JSON or, if they are not JSON, as text with folded white space."""
    try:
        value = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return "text " + " ".join(text.split())
    return "json " + json.dumps(_normalize_numbers(value), sort_keys=True)


def _normalize_numbers(value: object) -> object:
    """A JSON value in which equal numbers have one form: 1.0 becomes 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_normalize_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _normalize_numbers(item) for key, item in value.items()}
    return value


def _quote(text: str) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= MAX_QUOTE else folded[:MAX_QUOTE] + "…"
