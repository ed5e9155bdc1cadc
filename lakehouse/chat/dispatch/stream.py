"""A stream as its caller sees it: pieces as they arrive, then exactly one `Done`; or an exception."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Self

import trio

from lakehouse.chat.dispatch.answer import build_done
from lakehouse.chat.dispatch.attempt import open_stream
from lakehouse.chat.dispatch.call import ChatCall
from lakehouse.chat.dispatch.hedging import try_routes_hedged
from lakehouse.chat.dispatch.policy import rule_for
from lakehouse.chat.dispatch.provider_stream import ProviderStream
from lakehouse.chat.dispatch.resume import DeliveredText, PrefixMatcher, PrefixMismatch
from lakehouse.chat.dispatch.try_routes import try_routes, with_deadline
from lakehouse.chat.model.pieces import Delta, Piece
from lakehouse.core.errors import Attempt, LakehouseError
from lakehouse.core.provider_failures import failure

NOTHING = (None, None, None, None)
PieceSink = Callable[[Sequence[Piece]], Awaitable[None] | None]


class Stream:
    """Made by `Dispatcher.stream` and used as an async context manager.

    Entering it waits for the first pieces and raises what kept every route from giving one. Then it is iterated, piece
    by piece or in `batches`; what breaks the stream is raised there. Leaving it closes the upstream's connection, or
    reads on when the client has left and `on_disconnect` says so. `provider`, `model` (the name that the provider was
    asked for) and `attempts` are those of the route that serves.
    """

    def __init__(self, call: ChatCall) -> None:
        self._call = call
        self.provider = self.model = ""
        self._live: ProviderStream | None = None
        self._handed = DeliveredText() if call.settings.policy.on_cut == "resume" else None
        self._repetition: PrefixMatcher | None = None
        self._cut: LakehouseError | None = None  # what broke the stream, until it is resumed
        self._meanwhile: PieceSink | None = None
        self._pending_deltas: list[Delta] | None = None  # by `_deliver_from_poller`, as are the next two
        self._pending_write: Awaitable[None] | None = None
        self._failed: Exception | None = None
        self._pieces: Iterator[Piece] = iter(())
        self._over = False

    async def __aenter__(self) -> Self:
        self._serve(
            await with_deadline(self._call, partial(try_routes_hedged, self._call, open_stream), since=self._call.began)
        )
        self._call.context.first_piece = trio.current_time()
        return self

    async def __aexit__(self, *_: object) -> None:
        live = self._serving
        if not live.closed and not live.ended and self._call.disconnect_grace.wanted:
            bounded = trio.CancelScope(shield=True, deadline=self._call.disconnect_grace.until)  # by `on_disconnect`
            with bounded, suppress(LakehouseError):  # a failure is noted in the attempt; nobody is left to be told
                await live.drain()
        await live.aclose()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The trail so far; the last one is the serving route's."""
        return self._call.attempt_log.entries()

    def batches(self, meanwhile: PieceSink | None = None) -> Batches:
        """Pieces that arrived together, as they arrive; the very last piece is `Done`.

        `meanwhile` may be given what arrives while the iterator waits, the end excepted, in place of its being waited
        for: another task calls it then, at no cost to speak of. It returns None, or what the iterator is to await.
        """
        self._meanwhile = meanwhile if self._call.disconnect_grace.disabled else None
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
        linger = self._call.disconnect_grace
        try:
            while (deltas := self._take(self._serving)) is None:
                await linger.run_shielded(self._wait, _nothing)
        except LakehouseError as error:
            self._over = True
            await self._serving.aclose()
            raise self._call.finalize_error(error) from error.__cause__
        live = self._serving
        if not live.ended:
            return deltas
        self._over = True
        self._call.answered(live.route, live.reply)
        return [*deltas, build_done(self._call, live.route, live.reply)]

    @property
    def _serving(self) -> ProviderStream:
        if self._live is None:
            raise RuntimeError("the stream has not been entered: use `async with`")
        return self._live

    def _serve(self, live: ProviderStream) -> None:
        self._live = live
        self.provider, self.model = live.route.provider.name, live.route.model

    def _take(self, live: ProviderStream) -> list[Delta] | None:
        """The next deltas that the client does not have yet; none only if the answer has ended; None: `_wait` first."""
        if self._pending_deltas is not None:
            held, self._pending_deltas = self._pending_deltas, None
            return held
        while True:
            try:
                deltas = live.take()
            except LakehouseError as cut:
                self._cut = cut
                return None
            if deltas is None:
                return None
            if self._repetition is not None:
                deltas = self._new_in(deltas, self._repetition)
            if deltas or live.ended:
                if self._handed is not None:
                    self._handed.add(deltas)
                return deltas

    async def _wait(self) -> None:
        """Until `_take` may have something: more of the answer, or another route's when this one was cut."""
        if self._cut is None:
            try:
                await self._serving.wait_readable(self._deliver_from_poller if self._meanwhile is not None else None)
            except LakehouseError as error:
                self._cut = error
        cut, self._cut = self._cut, None
        if cut is not None:
            await self._resume(cut)
        rest, self._pending_write = self._pending_write, None
        if rest is not None:
            await rest
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def _deliver_from_poller(self) -> float | None:
        """Hand on what has arrived, in the place of the task that waits for it. Says until when that is to wait on, or
        None when it has to do the next thing itself: end, resume, wait until a client takes its pieces, or fail."""
        live = self._serving
        try:
            deltas = self._take(live)
            if deltas is not None and live.ended:
                self._pending_deltas = deltas
            elif deltas is not None and self._meanwhile is not None:
                self._pending_write = self._meanwhile(deltas)
        except Exception as error:  # noqa: BLE001 - raised in the task
            self._failed = error
        left_over = (self._cut, self._pending_deltas, self._pending_write, self._failed)
        return live.next_deadline() if left_over == NOTHING and not live.has_pending_error else None

    async def _resume(self, cut: LakehouseError) -> None:
        """Have the next route answer the question again. Raises `cut` when it may not, or when nobody is left."""
        call, live = self._call, self._serving
        repetition = self._handed.repetition() if self._handed else None
        if repetition is None or not call.routes or not rule_for(cut).onward:
            raise cut
        await live.aclose()
        try:
            self._serve(await with_deadline(call, partial(try_routes, call, open_stream, "resume")))
        except LakehouseError as error:
            raise cut from error
        self._repetition = repetition

    def _new_in(self, deltas: list[Delta], repetition: PrefixMatcher) -> list[Delta]:
        try:
            new = repetition.pass_on(deltas)
        except PrefixMismatch:
            pass
        else:
            if not (self._serving.ended and repetition.pending):
                return new
        message = f"the stream broke, and the answer of {self._serving.route} does not begin with what was already sent"
        raise failure("incomplete_stream", message, upstream_status=200)


async def _nothing(_: None) -> None:
    """What has come meanwhile is read on when the stream is left."""


class Batches:
    """The iterator that `Stream.batches` gives. A class: leaving it early leaves nothing to the garbage collector."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> Batches:
        return self

    def __anext__(self) -> Awaitable[Sequence[Piece]]:
        return self._stream.next_batch()
