"""Asking several models at once, and answering with what enough of them say.

Each member is a call of its own over the routes that its name stands for, all in one nursery, under one deadline. As
soon as enough agree, or cannot agree any more, the others are cancelled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import trio

from lakehouse.chat.dispatch.attempt import CompleteResult, request_complete
from lakehouse.chat.dispatch.call import ChatCall
from lakehouse.chat.dispatch.try_routes import try_routes
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import failure

SHOWN = 100
"""Characters of a vote that an error shows."""


async def ask_quorum(members: Sequence[tuple[str, ChatCall]], agree: int) -> CompleteResult:
    """Ask the `members`, names and their calls; returns the answer that made `agree` of them say the same.

    Raises `ErrUpstream` with the votes when they do not.
    """
    ballot = VoteTally(agree, len(members))
    async with trio.open_nursery() as nursery:
        for name, call in members:
            nursery.start_soon(_vote, name, call, ballot, nursery.cancel_scope)
    if ballot.elected is None:
        raise ballot.failure()
    return ballot.elected


async def _vote(name: str, call: ChatCall, ballot: VoteTally, election: trio.CancelScope) -> None:
    try:
        ballot.count(name, await try_routes(call, request_complete))
    except LakehouseError as error:
        ballot.spoil(name, error)
    if ballot.decided:
        election.cancel()


@dataclass(slots=True)
class VoteTally:
    agree: int
    members: int
    elected: CompleteResult | None = None
    _votes: Counter[str] = field(default_factory=Counter)
    _said: list[str] = field(default_factory=list)

    def count(self, name: str, vote: CompleteResult) -> None:
        """A vote. The one that makes enough is the answer: its attempt ended last."""
        self._said.append(f"{name} said {_shown(vote.reply.content)}")
        same = canonical_form(vote.reply.content)
        self._votes[same] += 1
        if self.elected is None and self._votes[same] >= self.agree:
            self.elected = vote

    def spoil(self, name: str, error: LakehouseError) -> None:
        """A member that has no vote."""
        self._said.append(f"{name} failed ({error.error_class or error.code})")

    @property
    def decided(self) -> bool:
        """Whether the votes that are missing cannot change anything."""
        missing = self.members - len(self._said)
        return self.elected is not None or max(self._votes.values(), default=0) + missing < self.agree

    def failure(self) -> LakehouseError:
        """What the caller gets when too few agree."""
        votes = "; ".join(self._said)
        return failure(
            "upstream_error", f"quorum: no {self.agree} of {self.members} models agree: {votes}", retryable=True
        )


def canonical_form(text: str) -> str:
    """What is the same for answers that are equal as JSON, or if they are none, as text with folded white space."""
    try:
        value = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return "text " + " ".join(text.split())
    return "json " + json.dumps(_plain(value), sort_keys=True)


def _plain(value: object) -> object:
    """A JSON value with its numbers in one form: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _shown(text: str) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= SHOWN else folded[:SHOWN] + "…"
