"""Runs the application for one request, and answers when it ends without a whole response."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

import trio

from lakehouse.asgi.middleware.receive_forwarder import ReceiveForwarder
from lakehouse.asgi.middleware.standard_headers import (
    ATTEMPTS,
    add_request_id,
    add_server_timing,
    parse_timeout_header,
)
from lakehouse.asgi.request_scope import EncodeError
from lakehouse.asgi.responses import Response, error_response
from lakehouse.asgi.server_control import FULL_RESPONSE, SERVER_KEY, HttpServerControl
from lakehouse.asgi.types import App, Message, Receive, ResponseError, Scope, Send
from lakehouse.core.context import CLIENT_CLOSED_REQUEST, Outcome, RequestContext
from lakehouse.core.errors import ErrTimeout, LakehouseError
from lakehouse.core.groups import single_failure

logger = logging.getLogger("lakehouse.server")

ErrorRenderer = Callable[[RequestContext, LakehouseError], Response]
"""Builds the response to a request that failed before its response had begun."""

FINAL_SEND_TIMEOUT = 30.0
"""Seconds that a foreign server has for the last message, during which it must not be cancelled. Our own server gives
a client that reads nothing as much time."""


def native_error_response(context: RequestContext, failure: LakehouseError) -> Response:
    """A failure as the contract's error document."""
    return error_response(failure, context.id)


class DisconnectedClient:
    """A client that has left, where the server cannot tell."""

    disconnected = True


class RequestLifecycle(ABC):
    """One request; the part that both types of scope share. Implements `RequestScope`.

    `run` or `run_watched` may be called once. Either raises only what should end the connection: a `LakehouseError`
    when the response that has begun must not look complete, and cancellation from outside, by the server or because
    the client has disconnected.
    """

    __slots__ = (
        "_client_left",
        "_deadline_scope",
        "_encode_error",
        "_render_error",
        "_send",
        "_stopped_by",
        "context",
        "server",
    )

    # The scope is not kept: it refers to this object, and reference counting does not free a cycle.

    def __init__(self, scope: Scope, send: Send, context: RequestContext, render_error: ErrorRenderer) -> None:
        self.context = context
        self.server = cast("HttpServerControl | None", scope.get(SERVER_KEY))
        context.watch_client(self.server)
        self._send = send
        self._render_error = render_error
        self._client_left = False
        self._deadline_scope: trio.CancelScope | None = None
        self._stopped_by: tuple[LakehouseError, Outcome] | None = None
        self._encode_error: EncodeError | None = None

    @property
    def disconnected(self) -> bool:
        """Whether the client left before its response was complete."""
        return self._client_left if self.server is None else self.server.disconnected

    def begin_stream(self, encode_error: EncodeError) -> None:
        """Remove the client's deadline. `encode_error` encodes what ends the stream early, as its final piece."""
        self._encode_error = encode_error
        self.context.lift_deadline()
        if self._deadline_scope is not None:
            self._deadline_scope.deadline = self.context.deadline

    def stop(self, error: LakehouseError, outcome: Outcome) -> None:
        """Cancel the application. The client is sent `error` where it can still be sent anything."""
        if self._stopped_by is None:
            self._stopped_by = error, outcome
            if self._deadline_scope is not None:
                self._deadline_scope.cancel()
            elif self.server is not None:
                self.server.interrupt(self._send_final_error)

    async def run_watched(self, app: App, scope: Scope, receive: Receive, timeout: bytes | None) -> None:
        """`run` under a server that does not cancel: a task reads `receive` to detect a disconnected client."""
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
        def on_disconnect() -> None:
            self._client_left = True
            self.context.watch_client(DisconnectedClient())
            scope.cancel()

        return ReceiveForwarder(receive, on_disconnect)

    async def run(self, app: App, scope: Scope, receive: Receive, timeout: bytes | None) -> None:
        """Run the application to its end or its deadline; `timeout` is the value of `X-Request-Timeout-Ms`, if sent."""
        try:
            if timeout is None and self.server_can_interrupt and self.server is not None:
                await app(scope, receive, self.send)
            else:
                if timeout is not None:
                    self.context.set_timeout(parse_timeout_header(timeout))
                self._deadline_scope = trio.CancelScope(deadline=self.context.deadline)
                with self._deadline_scope:
                    await app(scope, receive, self.send)
        except Exception as error:  # noqa: BLE001  # any failure becomes the response to this request
            failure, outcome = self._explain(error)
        else:
            if self.may_return:
                self.context.finish("answered")
                return
            if self._deadline_scope is not None and self._deadline_scope.cancelled_caught:
                failure, outcome = self._stop_cause()
            else:
                failure, outcome = self._unexpected(RuntimeError("the application returned without a whole response"))
        self.context.fail(failure, outcome)
        if not self.complete:
            await self._send_error(failure)

    def finish_cancelled(self) -> None:
        """Record the outcome of a request whose cancellation passes through: by `stop`, the client, or the server."""
        context = self.context
        if self._stopped_by is not None and not self.disconnected:
            failure, outcome = self._stop_cause()
            context.fail(failure, outcome)
            if not self.head_out:
                context.record_response_status(failure.status)
        elif self.disconnected:
            context.finish("client left")
            context.record_response_status(CLIENT_CLOSED_REQUEST)
        else:
            context.finish("cancelled")

    async def _send_final_error(self) -> None:
        if not self.complete:
            await self._send_error(self._stop_cause()[0])

    def _stop_cause(self) -> tuple[LakehouseError, Outcome]:
        """Why the application was cancelled: by `stop`, otherwise by the client's deadline."""
        context = self.context
        if self._stopped_by is not None:
            error, outcome = self._stopped_by
            error.attempts = context.list_attempts()
            return error, outcome
        seconds = context.deadline - context.started
        doing = context.phase + (f", {context.upstream}" if context.upstream else "")
        message = f"the {seconds:g} s that X-Request-Timeout-Ms allows have passed ({doing})"
        attempts = context.list_attempts(abandoned_as="timeout")
        return ErrTimeout(message, error_class="timeout", retryable=True, attempts=attempts), "deadline"

    def _explain(self, error: Exception) -> tuple[LakehouseError, Outcome]:
        known = single_failure(error, LakehouseError)
        if known is not None:
            return known, "failed" if self.head_out else "answered"
        scope = self._deadline_scope
        if self._stopped_by is not None or (scope is not None and scope.cancel_called):
            # An application may turn its cancellation into an exception of any kind.
            logger.debug("request %s failed while it was cancelled", self.context.id, exc_info=error)
            return self._stop_cause()
        return self._unexpected(error)

    def _unexpected(self, error: Exception) -> tuple[LakehouseError, Outcome]:
        context = self.context
        logger.error("request %s failed: %s %s", context.id, context.method, context.path, exc_info=error)
        return LakehouseError("internal error; the log has it under this request_id"), "failed"

    @property
    def may_return(self) -> bool:
        """Whether the application may return now."""
        return self.complete

    server_can_interrupt = False
    """Whether `ServerControl.interrupt` awaits a final response for this type of scope, so that no cancel scope is
    needed around the application: one costs a relayed GET a tenth."""

    head_out: bool  # whether any part of the response may have reached the client
    complete: bool  # whether the whole response was handed to the server

    @abstractmethod
    async def send(self, message: Message) -> None:
        """The application's `send`."""

    @abstractmethod
    async def _send_error(self, failure: LakehouseError) -> None:
        """Send the failure as the response, or raise it when the response has begun and cannot carry it."""


class HttpRequestLifecycle(RequestLifecycle):
    """The lifecycle of a request of type `http`.

    The head of the response is held until the first piece of the body: until then a failure can still become the
    response.
    """

    server_can_interrupt = True
    __slots__ = ("_forwarder", "_head", "_trailers", "complete", "head_out")

    def __init__(self, scope: Scope, send: Send, context: RequestContext, render_error: ErrorRenderer) -> None:
        super().__init__(scope, send, context, render_error)
        self.head_out = False
        self.complete = False
        self._head: Message | None = None
        self._trailers = False
        self._forwarder: ReceiveForwarder | None = None

    def _make_forwarder(self, receive: Receive, scope: trio.CancelScope) -> ReceiveForwarder:
        self._forwarder = forwarder = super()._make_forwarder(receive, scope)
        return forwarder

    async def send(self, message: Message) -> None:
        """The application's `send`: adds `X-Request-Id`, and records the status and what has been sent."""
        kind = message["type"]
        if kind == FULL_RESPONSE:
            await self._send_full(message)
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
            self.context.record_response_status(head["status"])
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

    async def _send_full(self, message: Message) -> None:
        message["headers"].append((b"x-request-id", self.context.id.encode()))
        if self.server is None:
            await self.send({**message, "type": "http.response.start"})
            await self.send({"type": "http.response.body", "body": message["body"], "more_body": False})
            return
        self._head, self.head_out = None, True
        self.context.record_response_status(message["status"])
        try:
            await self._send(message)
        except ResponseError:
            self.head_out = False  # nothing of the message was sent
            raise
        self.complete = True

    async def _send_last(self, message: Message, forwarder: ReceiveForwarder) -> None:
        """Send the last message under a foreign server, which may leave the connection open if it is cancelled here."""
        forwarder.finish()
        with trio.CancelScope(shield=True, relative_deadline=FINAL_SEND_TIMEOUT):
            await self._send(message)
            self.complete = True

    async def _send_error(self, failure: LakehouseError) -> None:
        if self.head_out:
            if self._encode_error is None:
                raise failure
            await self.send({"type": "http.response.body", "body": self._encode_error(failure), "more_body": False})
            return
        self._head = None
        response = self._render_error(self.context, failure)
        if failure.attempts:
            attempts = (ATTEMPTS, b"%d" % len(failure.attempts))
            response = response._replace(headers=(*response.headers, attempts))
        await response.send_to(self.send)
