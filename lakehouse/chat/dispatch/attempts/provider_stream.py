"""The stream of one attempt, from its first pieces to its end."""

from __future__ import annotations

from collections.abc import Callable

from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.dispatch.calls.attempt_log import ActiveAttempt
from lakehouse.chat.dispatch.calls.call import ChatCall
from lakehouse.chat.dispatch.calls.call_time import IdleTimer
from lakehouse.chat.dispatch.transport.interface import ProviderResponse
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.providers.registry import ModelRoute
from lakehouse.config import ChatTable
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure

TRAILING_USAGE_TIMEOUT = 2.0
"""Seconds after the end mark for the rest of the body: OpenCode sends the cost after the mark, and only a body that was
read to its end leaves its connection reusable."""


def timeout_error(route: ModelRoute, settings: ChatTable, *, has_data: bool) -> LakehouseError:
    """The failure of a route that was silent for too long, at first, or after some data of its answer."""
    if has_data:
        message = f"idle_timeout: {route} stopped in its answer and was silent for {settings.idle_timeout:g} s"
    else:
        message = f"first_token_timeout: {route} sent no piece of an answer within {settings.first_token_timeout:g} s"
    return make_failure("timeout", message, provider=route.provider.name)


class ProviderStream:
    """The pieces of one provider's stream. `try_read` returns them without blocking; after the last, `reply` is set.

    The stream ends its attempt. It must be closed.
    """

    def __init__(
        self,
        call: ChatCall,
        route: ModelRoute,
        attempt: ActiveAttempt,
        response: ProviderResponse,
        parser: StreamParser,
        timer: IdleTimer,
    ) -> None:
        self.route = route
        self.closed = False
        self.ended = False  # the answer is complete
        self._call = call
        self._attempt = attempt
        self._response = response
        self._body = response.body
        self._parser = parser
        self._timer = timer
        self._stopped_reading = False
        self._first: list[Delta] = []
        self._reply: ProviderAnswer | None = None

    @property
    def reply(self) -> ProviderAnswer:
        """The complete answer. Raises RuntimeError before the stream has ended."""
        if self._reply is None:
            raise RuntimeError("the stream has not ended: `reply` is set after the last piece")
        return self._reply

    @property
    def has_pending_error(self) -> bool:
        """Whether the next `try_read` raises without further data: an error arrived together with the last pieces."""
        return self._parser.has_pending_error

    async def receive_first(self) -> None:
        """Wait for the first pieces, which `try_read` returns then. Closes the response if this fails."""
        try:
            self._first = await self.receive()
        except BaseException:
            await self._response.aclose()
            raise
        self._attempt.mark_first_piece()
        self._parser = self._parser.active_parser

    async def receive(self) -> list[Delta]:
        """The next pieces, none at the end of the stream. Raises like `try_read` and `wait_readable`."""
        while (deltas := self.try_read()) is None:
            await self.wait_readable()
        return deltas

    def try_read(self) -> list[Delta] | None:
        """The pieces that have arrived; none at the end of the stream; None: wait with `wait_readable` first.

        Raises a `LakehouseError` when the stream breaks; the attempt has failed then.
        """
        if self._first:
            first, self._first = self._first, []
            return first
        parser = self._parser
        try:
            while not self.ended:
                try:
                    data = b"" if parser.has_pending_error or self._stopped_reading else self._body.try_read()
                except LakehouseError as error:
                    if not parser.complete:
                        cut = self._cut_error(error)
                        raise cut from cut.__cause__
                    data = b""
                if data is None:
                    return None
                if deltas := parser.feed(data) if data else self._end():
                    self._timer.mark_progress()
                    return deltas
                if data and parser.made_progress:
                    self._timer.mark_progress()
                    self._attempt.mark_progress()
                    self._call.lift_deadline()
        except LakehouseError as error:
            self._attempt.fail(error)
            raise
        return []

    async def wait_readable(self, callback: Callable[[], float | None] | None = None) -> None:
        """Wait until `try_read` may return pieces.

        Raises `ErrTimeout` after `idle_timeout` seconds without progress. A part of a tool call is progress, although
        it is a piece only when the call is complete; a comment is not. After a complete answer nothing is raised: the
        rest of the body is not needed.

        `callback` is called meanwhile as `Body.subscribe` describes, and returns `next_deadline()` or None.
        """
        due, body, subscribed = self.next_deadline(), self._body, None
        try:
            if callback is not None:
                subscribed = body.subscribe(callback, due)
            if await (subscribed or body.wait_readable(due)):
                return
            failed = timeout_error(self.route, self._call.settings, has_data=self._attempt.has_data)
        except LakehouseError as error:
            failed = self._cut_error(error)
        if not self._parser.complete:
            self._attempt.fail(failed)
            raise failed
        self._stopped_reading = True

    def next_deadline(self) -> float:
        """Until when to wait for more data."""
        if self._parser.finished:
            return self._timer.end_deadline(TRAILING_USAGE_TIMEOUT)
        return self._timer.next_deadline()

    async def drain(self) -> None:
        """Read to the end, to learn the usage, and close."""
        try:
            while await self.receive():
                pass
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the response; a running attempt is abandoned. Closing again does nothing."""
        if self.closed:
            return
        self.closed = True
        if not self.ended:
            self._call.context.record_usage(self._parser.usage)
        self._attempt.abandon()
        await self._response.aclose()

    def _cut_error(self, error: LakehouseError) -> LakehouseError:
        """The failure of a stream that broke: `error` itself before any data, and for a timeout."""
        if not self._attempt.has_data or error.error_class == "timeout":
            return error
        message = f"the stream of {self.route} was cut: {error.message}"
        cut = make_failure("incomplete_stream", message, upstream_status=200)
        cut.__cause__ = error
        return cut

    def _end(self) -> list[Delta]:
        deltas = self._parser.flush()
        self._reply = self.route.add_cost(self._parser.end())
        self.ended = True
        self._attempt.succeed()
        self._call.context.record_usage(self._reply.usage)
        return deltas
