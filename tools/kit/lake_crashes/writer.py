"""A client that writes, and its ledger: what its part of the lake must hold.

Each client has names of its own and sends one request after the other, so it knows the state before and after each. An
acknowledged request has had its effect; one without an answer has had its whole effect or none, and which of the two is
read from the lake; one with an Idempotency-Key is repeated until it is answered, and has had its effect once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

import trio

from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, Reply, Request

State = TypeVar("State")

REPEATED = 20
"""Acknowledged requests with an Idempotency-Key that are repeated by `check`."""


@dataclass(frozen=True, slots=True)
class Step(Generic[State]):
    """A request, and the state after it. `refusals` are the statuses of a request that has no effect;
    with `must_fail` it must end with one of them."""

    kind: str
    request: Request
    after: State
    refusals: frozenset[int] = frozenset()
    must_fail: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether a repetition has no further effect."""
        return "idempotency-key" in self.request.headers


class Writer(ABC, Generic[State]):
    """A client that writes. `state` is its ledger."""

    def __init__(self, name: str, client: LakeClient, report: CrashReport, random: Random, state: State) -> None:
        self.name = name
        self.client = client
        self.report = report
        self.random = random
        self.state = state
        self.sent = 0.0
        """When the current step was sent first, in seconds."""
        self._answered: deque[tuple[Request, Reply]] = deque(maxlen=REPEATED)

    @abstractmethod
    def choose(self) -> Step[State]:
        """The next step."""

    @abstractmethod
    async def observe(self) -> State:
        """Read the state from the lake, in every way in which it can be read."""

    def record(self, step: Step[State], reply: Reply) -> None:
        """Called for each acknowledged step, when `state` is the state after it."""

    def judge(self, reply: Reply) -> Reply:
        """A reply as it counts: a success may report a failure of its parts."""
        return reply

    def forget(self) -> None:
        """Called when a step has had its effect without an answer: nothing is known but `state`."""

    async def work(self, over: trio.Event) -> None:
        """Write until `over` is set; then nothing is in flight, and `state` is certain."""
        while not over.is_set():
            await self.do(self.choose())

    async def do(self, step: Step[State]) -> None:
        """Send a step and write down how it ended."""
        kills = self.report.kills.total()
        self.sent = trio.current_time()
        reply = self.judge(await self.client.send(step.request))
        self.report.steps[step.kind, reply.ending] += 1
        if reply.status == 404 and step.request.method == "DELETE" and self.report.kills.total() > kills:
            await self._settle(step)  # the gateway may repeat a deletion, and the first sending has had its effect
            return
        if reply.ending == "unsent":
            await trio.sleep(0.05)
        elif reply.ending == "unknown" and step.is_repeatable:
            await self._repeat(step)
        elif reply.ending == "unknown":
            await self._settle(step)
        else:
            self._accept(step, reply)

    async def check(self) -> None:
        """Compare the lake with the ledger, and the answers to repeated requests with the first ones."""
        for request, first in self._answered:
            again = await self.client.read(request)
            self.report.checks["repeated idempotency keys"] += 1
            if (again.status, again.body) != (first.status, first.body):
                self.fail(f"a repeated request was answered with {again}, and with {first} before")
        found = await self.observe()
        self.report.checks["states of a client"] += 1
        if found != self.state:
            self.fail(f"the lake is not as acknowledged: {self.describe(found, self.state)}")
            self.state = found

    def describe(self, found: State, expected: State) -> str:
        """How two states differ."""
        return f"{str(found)[:300]} instead of {str(expected)[:300]}"

    def fail(self, message: str) -> None:
        """Report a fault."""
        self.report.wrong.append(f"{self.name}: {message}")

    def _accept(self, step: Step[State], reply: Reply) -> None:
        if reply.ending == "acknowledged" and not step.must_fail:
            self.state = step.after
            if step.is_repeatable:
                self._answered.append((step.request, reply))
            self.record(step, reply)
        elif reply.ending == "acknowledged" or reply.status not in step.refusals:
            self.fail(f"{step.kind} ({step.request.method} {step.request.path}) was answered with {reply}")

    async def _repeat(self, step: Step[State]) -> None:
        """Repeat a request with an Idempotency-Key until it is answered."""
        while True:
            reply = await self.client.read(step.request)
            if reply.status != 409 or b"in progress" not in reply.body:
                break
            await trio.sleep(0.02)
        self.report.steps[step.kind, "repeated"] += 1
        self._accept(step, reply)

    async def _settle(self, step: Step[State]) -> None:
        """Find out whether a request without an answer has had its effect."""
        found = await self.observe()
        if found == step.after and not step.must_fail:
            self.report.steps[step.kind, "found done"] += found != self.state
            self.state = found
            self.forget()
        elif found != self.state:
            self.fail(
                f"{step.kind} without an answer shows neither the state before nor the one after:"
                f" {self.describe(found, self.state)}, or {self.describe(found, step.after)}"
            )
            self.state = found
