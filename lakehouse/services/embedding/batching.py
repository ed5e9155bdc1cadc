"""Batches of texts for one model: each text is asked for once, however many requests wait for it.

    request ──texts──> Lane ──waiting texts──> Backend.embed, at most `concurrency` at a time
            <─outcomes─     <────outcomes────

There is no timer: a text is sent at once while a call is free, and what arrives while all calls are under way goes with
the next one. Requests take turns, text by text: a question does not wait for the whole of a long batch. A text that no
request waits for any more is taken out of the queue, and a call is cancelled when that holds for all of its texts.

A call fails as a whole, also through one of its texts. So that no request fails through the text of another one, the
texts of each request are then asked for by themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy

import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.services.embedding.backends import Backend, Outcome

MAY_BE_OF_ONE_TEXT = frozenset({None, "bad_request", "content_policy", "context_overflow", "server_error"})
"""Classes of failures that one text of a batch may cause: it is refused, or its vector has NaN. An answer that is not
understood has no class."""


class Request:
    """One request that waits for the outcomes of several texts."""

    __slots__ = ("done", "failure", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.failure: Exception | None = None
        self.done = trio.Event()

    def settle(self, failure: Exception | None) -> None:
        """One of its texts has an outcome, or has failed, which ends the request."""
        self.left -= 1
        self.failure = self.failure or failure
        if self.left == 0 or failure is not None:
            self.done.set()


class Wanted:
    """One text that is waited for, and its call once it is under way. `first` is the request that brought it."""

    __slots__ = ("call", "first", "outcome", "requests", "text")

    def __init__(self, text: str, first: Request) -> None:
        self.text = text
        self.first = first
        self.requests: list[Request] = []
        self.outcome: Outcome | None = None
        self.call: Call | None = None

    def settle(self, outcome: Outcome | None, failure: Exception | None = None) -> None:
        """Give the outcome to every request that waits for the text."""
        self.outcome = outcome
        for request in self.requests:
            request.settle(failure)


class Call:
    """One call to the backend, with the texts of it that are still waited for."""

    def __init__(self, members: list[Wanted]) -> None:
        self.members = members
        self.scope = trio.CancelScope()
        self._wanted = len(members)
        for member in members:
            member.call = self

    def abandon_one(self) -> None:
        """One of the texts is not waited for any more."""
        self._wanted -= 1
        if self._wanted == 0:
            self.scope.cancel(reason="no request waits for the texts")


class Lane:
    """The texts of one model that are waited for.

    `nursery` runs the calls; `on_call` is told the size of each. `on_idle` is called when the last call has ended and
    no text is waited for, so that the lane can be dropped.
    """

    def __init__(
        self,
        backend: Backend,
        nursery: trio.Nursery,
        *,
        truncate: bool,
        on_call: Callable[[int], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._nursery = nursery
        self._truncate = truncate
        self._on_call = on_call
        self._on_idle = on_idle
        self._wanted: dict[str, Wanted] = {}
        """By text: what waits, and what is under way."""
        self._queue: OrderedDict[Request, dict[str, Wanted]] = OrderedDict()
        """What has no call yet, by the request that brought it; the next one in turn first."""
        self._running = 0

    @property
    def waiting(self) -> int:
        """The texts that no call has yet."""
        return sum(map(len, self._queue.values()))

    async def embed(self, texts: Iterable[str]) -> Mapping[str, Outcome]:
        """The outcome of each text. Raises what the backend raises."""
        unique = list(dict.fromkeys(texts))
        request = Request(len(unique))
        members = [self._enqueue(text, request) for text in unique]
        self._start_calls()
        try:
            await request.done.wait()
        finally:
            for member in members:
                self._leave(member, request)
        if request.failure is not None:
            raise copy(request.failure)  # several requests may raise it
        return {member.text: member.outcome for member in members if member.outcome is not None}

    def _enqueue(self, text: str, request: Request) -> Wanted:
        member = self._wanted.get(text)
        if member is None:
            member = self._wanted[text] = Wanted(text, request)
            self._queue.setdefault(request, {})[text] = member
        member.requests.append(request)
        return member

    def _leave(self, member: Wanted, request: Request) -> None:
        member.requests.remove(request)
        if member.requests or self._wanted.get(member.text) is not member:
            return
        del self._wanted[member.text]
        if member.call is not None:
            member.call.abandon_one()
        else:
            self._dequeue(member)

    def _start_calls(self) -> None:
        while self._queue and self._running < self._backend.concurrency:
            self._running += 1
            self._nursery.start_soon(self._run_call, Call(self._take_batch()))

    def _take_batch(self) -> list[Wanted]:
        members: list[Wanted] = []
        size = 0
        while self._queue and len(members) < self._backend.max_batch:
            request, texts = next(iter(self._queue.items()))
            member = next(iter(texts.values()))
            size += len(member.text)
            if members and size > self._backend.max_size:
                break
            members.append(member)
            self._queue.move_to_end(request)
            self._dequeue(member)
        return members

    def _dequeue(self, member: Wanted) -> None:
        texts = self._queue[member.first]
        del texts[member.text]
        if not texts:
            del self._queue[member.first]

    async def _run_call(self, call: Call) -> None:
        try:
            with call.scope:
                await self._ask(call.members)
        finally:
            self._running -= 1
            self._start_calls()
            if not self._wanted and not self._running:
                self._on_idle()

    async def _ask(self, members: Sequence[Wanted]) -> None:
        self._on_call(len(members))
        try:
            texts = [member.text for member in members]
            outcomes = await self._backend.embed(texts, truncate=self._truncate)
            settled = list(zip(members, outcomes, strict=True))
        except Exception as failure:  # noqa: BLE001  # the requests raise it
            if len(parts := self._split(members, failure)) > 1:
                for part in parts:
                    await self._ask(part)
                return
            self._finish(members)
            for member in members:
                member.settle(None, failure)
            return
        self._finish(members)
        for member, outcome in settled:
            member.settle(outcome)

    def _split(self, members: Sequence[Wanted], failure: Exception) -> Sequence[Sequence[Wanted]]:
        """The texts of a failed call by the request that brought them, without those that nobody waits for any more."""
        if not isinstance(failure, LakehouseError) or failure.error_class not in MAY_BE_OF_ONE_TEXT:
            return ()
        if failure.status in (503, 504):  # the model itself cannot be reached
            return ()
        parts: dict[Request, list[Wanted]] = {}
        for member in members:
            if self._wanted.get(member.text) is member:
                parts.setdefault(member.first, []).append(member)
        return tuple(parts.values())

    def _finish(self, members: Sequence[Wanted]) -> None:
        for member in members:
            if self._wanted.get(member.text) is member:
                del self._wanted[member.text]
