"""A stream as its caller sees it: pieces as they arrive, then exactly one `Done`, or an exception."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Self

import trio

from lakehouse.chat.dispatch.answer import build_done
from lakehouse.chat.dispatch.attempts.attempt import open_stream
from lakehouse.chat.dispatch.attempts.provider_stream import ProviderStream
from lakehouse.chat.dispatch.calls.call import ChatCall
from lakehouse.chat.dispatch.hedging import try_routes_hedged
from lakehouse.chat.dispatch.policies.failure_rules import rule_for
from lakehouse.chat.dispatch.resume import DeliveredText, PrefixMatcher, PrefixMismatch
from lakehouse.chat.dispatch.try_routes import try_routes, with_deadline
from lakehouse.chat.model.pieces import Delta, Piece
from lakehouse.core.errors import Attempt, LakehouseError
from lakehouse.core.provider_failures import make_failure

PieceSink = Callable[[Sequence[Piece]], Awaitable[None] | None]
"""Takes pieces without blocking. Returns None, or an awaitable to wait for before the next pieces."""


class Stream:
    """An async context manager and iterator, made by `Dispatcher.stream`.

    Entering it waits for the first pieces and raises the failure of the call if no route sends any. Iterating gives the
    pieces, one by one or in `batches`, and raises what breaks the stream. Leaving it closes the provider's connection,
    after `on_disconnect` seconds of reading on if that is configured and the client has disconnected. `provider` and
    `model` (the name that the provider was sent) are those of the route that answers.
    """

    def __init__(self, call: ChatCall) -> None:
        self.provider = self.model = ""
        self._call = call
        self._current: ProviderStream | None = None
        self._delivered = DeliveredText() if call.settings.policy.on_cut == "resume" else None
        self._matcher: PrefixMatcher | None = None  # of a resumed stream
        self._cut: LakehouseError | None = None  # what broke the stream, until it is resumed
        self._sink: PieceSink | None = None
        self._pending_deltas: list[Delta] | None = None  # these three are set by `_deliver_from_poller`
        self._pending_write: Awaitable[None] | None = None
        self._sink_error: Exception | None = None
        self._pieces: Iterator[Piece] = iter(())
        self._over = False

    async def __aenter__(self) -> Self:
        self._serve(await with_deadline(self._call, partial(try_routes_hedged, self._call, open_stream)))
        self._call.context.record_first_piece(trio.current_time())
        self._call.raw = None  # a relayed stream is not resumed, so its request is not needed again
        return self

    async def __aexit__(self, *_: object) -> None:
        stream, grace = self._serving, self._call.disconnect_grace
        if not stream.closed and not stream.ended and grace.applies:
            bounded = trio.CancelScope(shield=True, deadline=grace.deadline)
            with bounded, suppress(LakehouseError):  # the attempt has recorded the failure, and the client is gone
                await stream.drain()
        await stream.aclose()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts so far; the last one is that of the route that answers."""
        return self._call.attempt_log.entries()

    def batches(self, sink: PieceSink | None = None) -> Batches:
        """Iterate over the pieces that arrive together; the very last one is `Done`.

        If given, `sink` may receive batches directly from the poller task while this iterator waits, all but the last
        batch: no task switch is needed for them. The iterator awaits what `sink` returns and does not give them again.
        """
        self._sink = None if self._call.disconnect_grace.enabled else sink
        return Batches(self)

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        while True:
            for piece in self._pieces:
                return piece
            self._pieces = iter(await self.next_batch())

    async def next_batch(self) -> Sequence[Piece]:
        """The next pieces, at least one. Raises StopAsyncIteration after the last, and what breaks the stream."""
        if self._over:
            raise StopAsyncIteration
        grace = self._call.disconnect_grace
        try:
            while (deltas := self._take(self._serving)) is None:
                await grace.run_shielded(self._wait, _discard_nothing)
        except LakehouseError as error:
            self._over = True
            await self._serving.aclose()
            raise self._call.finalize_error(error) from error.__cause__
        stream = self._serving
        if not stream.ended:
            return deltas
        self._over = True
        self._call.record_answer(stream.route, stream.reply)
        return [*deltas, build_done(self._call, stream.route, stream.reply)]

    @property
    def _serving(self) -> ProviderStream:
        if self._current is None:
            raise RuntimeError("the stream has not been entered: use `async with`")
        return self._current

    def _serve(self, stream: ProviderStream) -> None:
        self._current = stream
        self.provider, self.model = stream.route.provider.name, stream.route.model

    def _take(self, stream: ProviderStream) -> list[Delta] | None:
        """The next deltas that the client does not have; none only at the end of the answer; None: `_wait` first."""
        if self._pending_deltas is not None:
            pending, self._pending_deltas = self._pending_deltas, None
            return pending
        while True:
            try:
                deltas = stream.try_read()
            except LakehouseError as cut:
                self._cut = cut
                return None
            if deltas is None:
                return None
            if self._matcher is not None:
                deltas = self._remove_delivered(deltas, self._matcher)
            if deltas or stream.ended:
                if self._delivered is not None:
                    self._delivered.add(deltas)
                return deltas

    async def _wait(self) -> None:
        """Wait until `_take` may return something: more of the answer, or another route's when this one was cut."""
        if self._cut is None:
            try:
                await self._serving.wait_readable(None if self._sink is None else self._deliver_from_poller)
            except LakehouseError as error:
                self._cut = error
        cut, self._cut = self._cut, None
        if cut is not None:
            await self._resume(cut)
        write, self._pending_write = self._pending_write, None
        if write is not None:
            await write
        failed, self._sink_error = self._sink_error, None
        if failed is not None:
            raise failed

    def _deliver_from_poller(self) -> float | None:
        """Give what has arrived to the sink, in the poller task. Returns the deadline of the next data.

        Returns None to wake the waiting task when it is needed: at the end, for a cut stream, for a sink that has to be
        waited for, and for an exception.
        """
        stream = self._serving
        try:
            deltas = self._take(stream)
            if deltas is None:
                needs_task = self._cut is not None
            elif stream.ended or self._sink is None:
                self._pending_deltas = deltas
                needs_task = True
            else:
                self._pending_write = self._sink(deltas)
                needs_task = self._pending_write is not None
        except Exception as error:  # noqa: BLE001 - raised in the waiting task
            self._sink_error = error
            needs_task = True
        return None if needs_task or stream.has_pending_error else stream.next_deadline()

    async def _resume(self, cut: LakehouseError) -> None:
        """Let the next route answer the whole request again. Raises `cut` if that is not possible."""
        call = self._call
        matcher = self._delivered.prefix_matcher() if self._delivered else None
        if matcher is None or not call.routes or not rule_for(cut).try_next_route:
            raise cut
        await self._serving.aclose()
        try:
            self._serve(await with_deadline(call, partial(try_routes, call, open_stream, "resume"), resumed=True))
        except LakehouseError as error:
            raise cut from error
        self._matcher = matcher

    def _remove_delivered(self, deltas: list[Delta], matcher: PrefixMatcher) -> list[Delta]:
        try:
            new = matcher.remove_delivered(deltas)
        except PrefixMismatch:
            pass
        else:
            if not (self._serving.ended and matcher.pending):
                return new
        message = f"the stream broke, and the answer of {self._serving.route} does not begin with what was already sent"
        raise make_failure("incomplete_stream", message, upstream_status=200)


async def _discard_nothing(_: None) -> None:
    """Nothing to discard: what arrived during a cancelled wait is read when the stream is left."""


class Batches:
    """The iterator of `Stream.batches`.

    A class instead of a generator: leaving it early needs no garbage collection.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> Batches:
        return self

    def __anext__(self) -> Awaitable[Sequence[Piece]]:
        return self._stream.next_batch()
