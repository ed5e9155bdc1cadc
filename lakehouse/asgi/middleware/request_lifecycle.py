"""One request's line: the scope around the application, and what is said when it ends before its answer does."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import trio

from lakehouse.asgi.middleware.receive_forwarder import ReceiveForwarder
from lakehouse.asgi.middleware.standard_headers import add_request_id, add_server_timing, parse_timeout_header
from lakehouse.asgi.types import (
    FULL_RESPONSE_MESSAGE,
    SERVER_CONTROL_EXTENSION,
    App,
    LastEvent,
    Message,
    Receive,
    ResponseError,
    Scope,
    Send,
    send_json,
)
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrTimeout, LakehouseError

logger = logging.getLogger("lakehouse.server")

ErrorRenderer = Callable[[RequestContext, LakehouseError], tuple[int, object, list[tuple[str, str]]]]
"""How a failure is told when there is no answer yet: its status, its document, its headers."""

FINAL_SEND_TIMEOUT = 30.0
"""Seconds that a foreign server has for the last message, in which it must not be cancelled; as many as our own
connection gives a stalled client."""


ATTEMPTS = "x-lakehouse-attempts"
"""The response header with the number of tries that were made, where any were."""


def native_error_response(
    context: RequestContext, failure: LakehouseError
) -> tuple[int, object, list[tuple[str, str]]]:
    """A failure in the service's own form."""
    return failure.status, failure.document(context.id), failure.headers()


class DisconnectedClient:
    """A client that has left."""

    gone = True


class RequestLifecycle(ABC):
    """What the lines of both kinds of requests have in common.

    `cancelled_by_server` says whether the server cancels when the client leaves.

    `run`, or `run_watched`, may be called once. It raises only what should end the connection: a `LakehouseError` when
    the response that has begun must not look complete, and cancellation from outside, for the client having left
    (`gone`) or the server.
    """

    __slots__ = (
        "_ended_by",
        "_last_event",
        "_left",
        "_limit",
        "_refusal",
        "_send",
        "_server",
        "cancelled_by_server",
        "context",
    )

    # The scope is not kept: it refers to the line, and a circle would have to wait for the garbage collector.

    def __init__(
        self, extensions: Mapping[str, Any], send: Send, context: RequestContext, refusal: ErrorRenderer
    ) -> None:
        self.context = context
        self._send = send
        self._refusal = refusal
        self._server = context.caller = extensions.get(SERVER_CONTROL_EXTENSION)
        self.cancelled_by_server = self._server is not None
        self._left = False
        self._limit: trio.CancelScope | None = None
        self._ended_by: tuple[LakehouseError, str] | None = None
        self._last_event: LastEvent | None = None

    @property
    def gone(self) -> bool:
        """Whether the client left before its answer was complete."""
        return self._left if self._server is None else bool(self._server.gone)

    def stream_begins(self, last_event: LastEvent) -> None:
        """The caller's deadline holds no longer, and what ends the stream early is told in it, by `last_event`'s
        bytes."""
        self._last_event = last_event
        self.context.deadline = inf
        if self._limit is not None:
            self._limit.deadline = inf

    def end(self, error: LakehouseError, outcome: str) -> None:
        """Stop the application; `error` is what the client gets, where it can get anything."""
        if self._ended_by is None:
            self._ended_by = error, outcome
            if self._limit is not None:
                self._limit.cancel()
            elif self._server is not None:
                self._server.interrupt(self._send_final_error)

    async def run_watched(self, app: App, scope: Scope, receive: Receive, timeout: bytes | None) -> None:
        """`run` under a server that does not cancel: find out by `receive` that the client leaves."""
        cut = None
        async with trio.open_nursery() as nursery:
            forwarder = self._make_forwarder(receive, nursery.cancel_scope)
            nursery.start_soon(forwarder.run)
            try:
                await self.run(app, scope, forwarder.receive, timeout)
            except LakehouseError as error:
                cut = error
            nursery.cancel_scope.cancel()
        if cut is not None:
            raise cut

    def _make_forwarder(self, receive: Receive, scope: trio.CancelScope) -> ReceiveForwarder:
        def leave() -> None:
            self._left = True
            self.context.caller = DisconnectedClient()
            scope.cancel()

        return ReceiveForwarder(receive, leave)

    async def run(self, app: App, scope: Scope, receive: Receive, timeout: bytes | None) -> None:
        """Run the application to its end or to that of its time; `timeout` is what the caller allows, if it does."""
        try:
            if timeout is None and self.server_can_interrupt and self.cancelled_by_server:
                await app(scope, receive, self.send)
            else:
                if timeout is not None:
                    self.context.deadline = self.context.started + parse_timeout_header(timeout)
                self._limit = trio.CancelScope(deadline=self.context.deadline)
                with self._limit:
                    await app(scope, receive, self.send)
        except Exception as error:  # noqa: BLE001  # whatever it is, it becomes this request's answer
            failure, outcome = self._explain(error)
        else:
            if self.may_return:
                self.context.outcome = "answered"
                return
            if self._limit is not None and self._limit.cancelled_caught:
                failure, outcome = self._timeout()
            else:
                failure, outcome = self._unexpected(RuntimeError("the application left without a whole answer"))
        self._record_outcome(failure, outcome)
        if not self.complete:
            await self._send_error(failure)

    def _record_outcome(self, failure: LakehouseError, outcome: str) -> None:
        self.context.outcome = outcome
        self.context.error = self.context.error or failure.error_class or failure.code

    def ended_from_outside(self) -> bool:
        """Whether a cancellation that passes is `end`'s work; the flight knows then how it ended."""
        if self._ended_by is None or self.gone:
            return False
        failure, outcome = self._timeout()
        self._record_outcome(failure, outcome)
        if not self.head_out:
            self.context.status = failure.status
        return True

    async def _send_final_error(self) -> None:
        if not self.complete:
            await self._send_error(self._timeout()[0])

    def _timeout(self) -> tuple[LakehouseError, str]:
        context = self.context
        if self._ended_by is not None:
            error, outcome = self._ended_by
            error.attempts = context.trail()
            return error, outcome
        seconds = context.deadline - context.started
        doing = context.phase + (f", {context.upstream}" if context.upstream else "")
        message = f"the {seconds:g} s that X-Request-Timeout-Ms allows have passed ({doing})"
        attempts = context.trail(left="timeout")
        return ErrTimeout(message, error_class="timeout", retryable=True, attempts=attempts), "deadline"

    def _explain(self, error: Exception) -> tuple[LakehouseError, str]:
        known = _known(error)
        if known is not None:
            return known, "failed" if self.head_out else "answered"
        ended = self._ended_by is not None or (self._limit is not None and self._limit.cancel_called)
        if ended:  # what an application makes of being cancelled is not news
            logger.debug("request %s failed while it was cancelled", self.context.id, exc_info=error)
            return self._timeout()
        return self._unexpected(error)

    def _unexpected(self, error: Exception) -> tuple[LakehouseError, str]:
        context = self.context
        logger.error("request %s failed: %s %s", context.id, context.method, context.path, exc_info=error)
        return LakehouseError("internal error; the log has it under this request_id"), "failed"

    @property
    def may_return(self) -> bool:
        """Whether the application may leave now."""
        return self.complete

    server_can_interrupt = False
    """Whether the server can end the application and let us speak afterwards, so that no scope of ours is needed around
    it: a scope costs a request of the gateway a tenth."""

    head_out: bool  # whether anything of the answer may have reached the client
    complete: bool  # whether all of it was handed to the server

    @abstractmethod
    async def send(self, message: Message) -> None:
        """The application's `send`."""

    @abstractmethod
    async def _send_error(self, failure: LakehouseError) -> None:
        """Answer with it, or raise it when it is too late for that."""


class HttpRequestLifecycle(RequestLifecycle):
    """The line of an `http` scope.

    The head is held until something of the body follows: until then a failure can still become an answer.
    """

    server_can_interrupt = True
    __slots__ = ("_forwarder", "_head", "_trailers", "complete", "head_out")

    def __init__(
        self, extensions: Mapping[str, Any], send: Send, context: RequestContext, refusal: ErrorRenderer
    ) -> None:
        super().__init__(extensions, send, context, refusal)
        self.head_out = False
        self.complete = False
        self._head: Message | None = None
        self._trailers = False
        self._forwarder: ReceiveForwarder | None = None

    def _make_forwarder(self, receive: Receive, scope: trio.CancelScope) -> ReceiveForwarder:
        self._forwarder = forwarder = super()._make_forwarder(receive, scope)
        return forwarder

    async def send(self, message: Message) -> None:
        """The application's `send`: adds `X-Request-Id`, and knows what is out."""
        kind = message["type"]
        if kind == FULL_RESPONSE_MESSAGE:
            await self._send_whole(message)
            return
        if kind == "http.response.start":
            self._head = {**message, "headers": add_request_id(message, self.context)}
            return
        head = self._head
        if head is not None:
            if not message.get("more_body", False):
                head = add_server_timing(head, self.context)
            await self._send(head)
            self._head = None
            self.head_out = True
            self.context.status = head["status"]
            self._trailers = head.get("trailers", False)
        if kind == "http.response.body":
            last = not message.get("more_body", False) and not self._trailers
        else:
            last = kind == "http.response.trailers" and not message.get("more_trailers", False)
        if not last:
            await self._send(message)
        elif self._forwarder is None:
            await self._send(message)
            self.complete = True
        else:
            await self._send_last(message, self._forwarder)

    async def _send_whole(self, message: Message) -> None:
        message["headers"].append((b"x-request-id", self.context.id.encode()))
        if self._server is None:
            await self.send({**message, "type": "http.response.start"})
            await self.send({"type": "http.response.body", "body": message["body"], "more_body": False})
            return
        self._head, self.head_out = None, True
        self.context.status = message["status"]
        try:
            await self._send(message)
        except ResponseError:
            self.head_out = False  # nothing of it was sent
            raise
        self.complete = True

    async def _send_last(self, message: Message, forwarder: ReceiveForwarder) -> None:
        """The safe ending: a foreign server that is cancelled here may keep the connection for ever unattended."""
        forwarder.finish()
        with trio.CancelScope(shield=True, relative_deadline=FINAL_SEND_TIMEOUT):
            await self._send(message)
            self.complete = True

    async def _send_error(self, failure: LakehouseError) -> None:
        if self.head_out:
            if self._last_event is None:
                raise failure
            await self.send({"type": "http.response.body", "body": self._last_event(failure), "more_body": False})
            return
        self._head = None
        status, document, headers = self._refusal(self.context, failure)
        if failure.attempts:
            headers = [*headers, (ATTEMPTS, str(len(failure.attempts)))]
        await send_json(self.send, status, document, [(name.encode(), value.encode()) for name, value in headers])


def _known(error: Exception) -> LakehouseError | None:
    """The failure that an application raised, also from within nurseries; None when anything else is with it."""
    if isinstance(error, LakehouseError):
        return error
    if isinstance(error, ExceptionGroup):
        known = [_known(inner) for inner in error.exceptions]
        return known[0] if all(known) else None
    return None
