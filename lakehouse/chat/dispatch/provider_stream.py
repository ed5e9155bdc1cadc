"""A stream under way, from its first pieces to its end."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import trio

from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.dispatch.attempts import ActiveAttempt
from lakehouse.chat.dispatch.call import ChatCall
from lakehouse.chat.dispatch.provider_response import ProviderResponse
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.providers.registry import Route
from lakehouse.config import ChatTable
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import failure

TRAILING_USAGE_TIMEOUT = 2.0
"""Seconds after the end mark for what may still follow it: OpenCode sends the cost there, and a body that was read to
its end gives its connection back."""


def timeout_error(route: Route, settings: ChatTable, *, heard: bool) -> LakehouseError:
    """The failure of a route that said nothing for too long; `heard`: after it had begun."""
    if heard:
        message = f"idle_timeout: {route} stopped in its answer and was silent for {settings.idle_timeout:g} s"
    else:
        message = f"first_token_timeout: {route} sent no piece of an answer within {settings.first_token_timeout:g} s"
    return failure("timeout", message, provider=route.provider.name)


class ProviderStream:
    """`take` gives the pieces that are here; when it gives none, the answer is whole and `reply` is there.

    It settles its attempt. Somebody must close it.
    """

    def __init__(
        self, call: ChatCall, route: Route, attempt: ActiveAttempt, incoming: ProviderResponse, parser: StreamParser
    ) -> None:
        self.route = route
        self.closed = False
        self.ended = False  # the answer is whole
        self._call = call
        self._attempt = attempt
        self._incoming = incoming
        self._body = incoming.body
        self._parser = parser
        self._now = trio.lowlevel.current_clock().current_time
        self._timeout = call.settings.idle_timeout
        self._deadline = inf
        self._moved = False  # the answer has gone on, so that the deadline runs anew from the next wait
        self._afterword: float | None = None
        self._cut_off = False  # nothing more is read
        self._first: list[Delta] = []
        self._reply: ProviderAnswer | None = None

    @property
    def reply(self) -> ProviderAnswer:
        """The whole answer."""
        if self._reply is None:
            raise RuntimeError("the stream has not ended")
        return self._reply

    @property
    def has_pending_error(self) -> bool:
        """Whether the next `take` raises, though nothing more arrives: an error came right behind the last pieces."""
        return self._parser.has_pending_error

    async def begin(self, deadline: float) -> None:
        """Wait for the first pieces until `deadline`; `take` gives them then. Closes itself if there are none."""
        self._deadline = deadline
        try:
            self._first = await self.receive()
        except BaseException:
            await self._incoming.aclose()
            raise
        self._attempt.begun()
        self._parser = self._parser.resolved

    async def receive(self) -> list[Delta]:
        """The next pieces, none at the end: `take`, as soon as there is something. Raises the same, and `wait_readable`'s."""
        while (deltas := self.take()) is None:
            await self.wait_readable()
        return deltas

    def take(self) -> list[Delta] | None:
        """The next pieces, those that arrived together; none at the end; None: `wait_readable` is to be awaited first.

        Raises what breaks the stream.
        """
        if self._first:
            first, self._first = self._first, []
            return first
        parser = self._parser
        try:
            while not self.ended:
                try:
                    data = b"" if parser.has_pending_error or self._cut_off else self._body.take()
                except LakehouseError as error:
                    if not parser.complete:
                        cut = self._cut(error)
                        raise cut from cut.__cause__
                    data = b""
                if data is None:
                    return None
                if deltas := parser.feed(data) if data else self._end():
                    self._moved = True
                    return deltas
                if data and parser.made_progress:
                    self._moved = self._attempt.heard = True
                    self._call.lift_deadline()
        except LakehouseError as error:
            self._attempt.failed(error)
            raise
        return []

    async def wait_readable(self, look: Callable[[], float | None] | None = None) -> None:
        """Wait until `take` may have something to give. Raises `ErrTimeout` after `idle_timeout` without a sign of the
        answer, such as a part of a tool call, which is a piece only when it is whole; what says nothing, such as a
        comment, is no sign. What follows a whole answer, or fails to, does not spoil it.

        `look` is called meanwhile where the connection allows that, see `Body.subscribe`; it says what `due` says."""
        due, body, attended = self.next_deadline(), self._body, None
        try:
            if look is not None:
                attended = body.subscribe(look, due)
            if await (attended or body.wait_readable(due)):
                return
            failed = timeout_error(self.route, self._call.settings, heard=self._attempt.heard)
        except LakehouseError as error:
            failed = self._cut(error)
        if not self._parser.complete:
            self._attempt.failed(failed)
            raise failed
        self._cut_off = True

    def next_deadline(self) -> float:
        """Until when to wait for more."""
        if self._moved:
            self._moved = False
            self._deadline = self._now() + self._timeout
        if not self._parser.finished:
            return self._deadline
        self._afterword = self._afterword or self._now() + TRAILING_USAGE_TIMEOUT
        return min(self._deadline, self._afterword)

    async def drain(self) -> None:
        """Read to the end for the sake of the usage, and close."""
        try:
            while await self.receive():
                pass
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connection. An attempt that has not ended is dropped. Twice is harmless."""
        if self.closed:
            return
        self.closed = True
        if not self.ended:
            self._call.record_usage(self._parser.usage)
        self._attempt.abandoned()
        await self._incoming.aclose()

    def _cut(self, error: LakehouseError) -> LakehouseError:
        """Before the first piece it is whatever it is, after that a stream that broke."""
        if not self._attempt.heard or error.error_class == "timeout":
            return error
        message = f"the stream of {self.route} was cut: {error.message}"
        cut = failure("incomplete_stream", message, upstream_status=200)
        cut.__cause__ = error
        return cut

    def _end(self) -> list[Delta]:
        deltas = self._parser.flush()
        self._reply = self._parser.end()
        self.ended = True
        self._attempt.answered()
        self._call.record_usage(self._reply.usage)
        return deltas
