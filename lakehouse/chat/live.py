"""A stream under way, from its first pieces to its end."""

from __future__ import annotations

import trio

from lakehouse.chat.call import Call
from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.incoming import Incoming
from lakehouse.chat.registry import Route
from lakehouse.chat.request import Delta, Reply
from lakehouse.chat.trail import TrackedAttempt
from lakehouse.config import ChatTable
from lakehouse.errors import LakehouseError, failure

AFTERWORD = 2.0
"""Seconds after the end mark for what may still follow it: OpenCode sends the cost there, and a body that was read to
its end gives its connection back."""


def silent(route: Route, settings: ChatTable, *, heard: bool) -> LakehouseError:
    """The failure of a route that said nothing for too long; `heard`: after it had begun."""
    if heard:
        message = f"idle_timeout: {route} stopped in its answer and was silent for {settings.idle_timeout:g} s"
    else:
        message = f"first_token_timeout: {route} sent no piece of an answer within {settings.first_token_timeout:g} s"
    return failure("timeout", message, provider=route.provider.name)


class Live:
    """`receive` gives the pieces as they arrive; when it gives none, the answer is whole and `reply` is there.

    It settles its attempt. Somebody must close it.
    """

    def __init__(
        self, call: Call, route: Route, attempt: TrackedAttempt, incoming: Incoming, parser: StreamParser
    ) -> None:
        self.route = route
        self._call = call
        self._attempt = attempt
        self._incoming = incoming
        self._parser = parser
        self._first: list[Delta] = []
        self._afterword: float | None = None
        self.closed = False
        self._reply: Reply | None = None

    @property
    def reply(self) -> Reply:
        """The whole answer."""
        if self._reply is None:
            raise RuntimeError("the stream has not ended")
        return self._reply

    @property
    def ended(self) -> bool:
        """Whether the answer is whole."""
        return self._reply is not None

    async def begin(self, deadline: float) -> None:
        """Wait for the first pieces until `deadline`; `receive` gives them then. Closes itself if there are none."""
        try:
            self._first = await self._next(deadline)
        except BaseException:
            await self._incoming.aclose()
            raise
        self._attempt.begun()

    async def receive(self) -> list[Delta]:
        """The next pieces, those that arrived together; none at the end.

        Raises `ErrTimeout` when none come for `idle_timeout`, and what breaks the stream.
        """
        if self._first:
            first, self._first = self._first, []
            return first
        try:
            return await self._next(trio.current_time() + self._call.settings.idle_timeout)
        except LakehouseError as error:
            self._attempt.failed(error)
            raise

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
            self._call.learned(self._parser.usage)
        self._attempt.dropped()
        await self._incoming.aclose()

    async def _next(self, deadline: float) -> list[Delta]:
        """Pieces, or none at the end. The deadline moves with every sign of the answer, such as a part of a tool call,
        which is a piece only when it is whole; what says nothing, such as a comment, does not move it."""
        while self._reply is None:
            said = self._parser.said
            data = b"" if self._parser.broken else await self._data(deadline)
            if deltas := self._parser.feed(data) if data else self._end():
                return deltas
            if self._parser.said > said:
                self._attempt.heard = True
                self._call.lift()
                deadline = trio.current_time() + self._call.settings.idle_timeout
        return []

    async def _data(self, deadline: float) -> bytes:
        """The next bytes, or none at the end. What follows a whole answer, or fails to, does not spoil it."""
        if self._parser.finished:
            self._afterword = self._afterword or trio.current_time() + AFTERWORD
            deadline = min(deadline, self._afterword)
        try:
            data = await self._incoming.receive(deadline)
        except LakehouseError as error:
            if self._parser.complete:
                return b""
            raise self._cut(error) from error
        if data is not None or self._parser.complete:
            return data or b""
        raise silent(self.route, self._call.settings, heard=self._attempt.heard)

    def _cut(self, error: LakehouseError) -> LakehouseError:
        """Before the first piece it is whatever it is, after that a stream that broke."""
        if not self._attempt.heard or error.error_class == "timeout":
            return error
        return failure("incomplete_stream", f"the stream of {self.route} was cut: {error.message}", upstream_status=200)

    def _end(self) -> list[Delta]:
        deltas = self._parser.flush()
        self._reply = self._parser.end()
        self._attempt.answered()
        self._call.learned(self._reply.usage)
        return deltas
