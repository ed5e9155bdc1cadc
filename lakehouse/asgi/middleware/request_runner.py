"""Runs the application for one request, and sends the error when it ends without a whole response."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from enum import Enum

import trio

from lakehouse.asgi.middleware.disconnect_watcher import DisconnectWatcher
from lakehouse.asgi.middleware.disconnected_request import DisconnectedClient, record_disconnect
from lakehouse.asgi.middleware.request_deadline import lift_deadline, make_timeout_error, open_deadline_scope
from lakehouse.asgi.request_scope import EncodeError, RenderError
from lakehouse.asgi.responses import Response, error_response
from lakehouse.asgi.server_control import SERVER_KEY, HttpServerControl
from lakehouse.asgi.types import App, Message, Receive, Scope, Send
from lakehouse.core.context import Outcome, RequestContext
from lakehouse.core.errors import LakehouseError
from lakehouse.core.groups import single_failure

logger = logging.getLogger("lakehouse.server")

ErrorRenderer = Callable[[RequestContext, LakehouseError], Response]
"""Builds the response to a request that failed before its response had begun."""


def native_error_response(context: RequestContext, failure: LakehouseError) -> Response:
    """A failure as the contract's error document."""
    return error_response(failure, context.id)


class ResponseState(Enum):
    """How much of the response has been sent. It only goes forward, but for a whole response that was refused.

    What happens when the request fails in each state:

    | state | `http` | `websocket` |
    |---|---|---|
    | `NOT_STARTED` | an error response | a denial of the handshake |
    | `STARTED` | the final event of a stream; otherwise the response is cut | a close frame |
    | `COMPLETE` | the client is sent nothing more | the same |
    """

    NOT_STARTED = "nothing of the response can have reached the client"
    STARTED = "some of the response may have reached the client"
    COMPLETE = "the whole response was handed to the server"


NOT_STARTED, STARTED, COMPLETE = ResponseState  # in Python 3.11 `ResponseState.COMPLETE` takes as long as a call


class RequestRunner(ABC):
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
        "state",
    )

    # The scope is not kept: it refers to this object, and reference counting does not free a cycle.

    def __init__(self, scope: Scope, send: Send, context: RequestContext, render_error: ErrorRenderer) -> None:
        self.context = context
        self.server: HttpServerControl | None = scope.get(SERVER_KEY)
        self._send = send
        self._render_error = render_error
        self._client_left = False
        self._deadline_scope: trio.CancelScope | None = None
        self._stopped_by: tuple[LakehouseError, Outcome] | None = None
        self._encode_error: EncodeError | None = None
        self.state = NOT_STARTED

    @property
    def disconnected(self) -> bool:
        """Whether the client left before its response was complete."""
        return self._client_left if self.server is None else self.server.disconnected

    def render_errors_with(self, render_error: RenderError) -> None:
        """Build the response with `render_error` if the request fails before its response has begun."""
        self._render_error = lambda _, failure: render_error(failure)

    def begin_stream(self, encode_error: EncodeError) -> None:
        """Remove the client's deadline. `encode_error` encodes what ends the stream early, as its final piece."""
        self._encode_error = encode_error
        lift_deadline(self.context, self._deadline_scope)

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
            watcher = self._make_watcher(receive, nursery.cancel_scope)
            nursery.start_soon(watcher.run)
            try:
                await self.run(app, scope, watcher.receive, timeout)
            except LakehouseError as error:
                cut = error
            nursery.cancel_scope.cancel()
        if cut is not None:
            raise cut

    def _make_watcher(self, receive: Receive, scope: trio.CancelScope) -> DisconnectWatcher:
        def on_disconnect() -> None:
            self._client_left = True
            self.context.watch_client(DisconnectedClient())
            scope.cancel()

        return DisconnectWatcher(receive, on_disconnect)

    async def run(self, app: App, scope: Scope, receive: Receive, timeout: bytes | None) -> None:
        """Run the application to its end or its deadline; `timeout` is the value of `X-Request-Timeout-Ms`, if sent."""
        try:
            if timeout is None and self.server_can_interrupt and self.server is not None:
                await app(scope, receive, self.send)
            else:
                self._deadline_scope = open_deadline_scope(self.context, timeout)
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
        if self.state is not COMPLETE:
            await self._send_error(failure)

    def finish_cancelled(self) -> None:
        """Record the outcome of a request whose cancellation passes through: by `stop`, the client, or the server."""
        context = self.context
        if self._stopped_by is not None and not self.disconnected:
            failure, outcome = self._stop_cause()
            context.fail(failure, outcome)
            if self.state is NOT_STARTED:
                context.record_response_status(failure.status)
        elif self.disconnected:
            record_disconnect(context)
        else:
            context.finish("cancelled")

    async def _send_final_error(self) -> None:
        if self.state is not COMPLETE:
            await self._send_error(self._stop_cause()[0])

    def _stop_cause(self) -> tuple[LakehouseError, Outcome]:
        """Why the application was cancelled: by `stop`, otherwise by the client's deadline."""
        if self._stopped_by is None:
            return make_timeout_error(self.context), "deadline"
        error, outcome = self._stopped_by
        error.attempts = self.context.list_attempts()
        return error, outcome

    def _explain(self, error: Exception) -> tuple[LakehouseError, Outcome]:
        known = single_failure(error, LakehouseError)
        if known is not None:
            return known, "answered" if self.state is NOT_STARTED else "failed"
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
        return self.state is COMPLETE

    server_can_interrupt = False
    """Whether `ServerControl.interrupt` awaits a final response for this type of scope, so that no cancel scope is
    needed around the application: one costs a relayed GET a tenth."""

    @abstractmethod
    def send(self, message: Message) -> Awaitable[None]:
        """The application's `send`."""

    @abstractmethod
    async def _send_error(self, failure: LakehouseError) -> None:
        """Send the failure as the response, or raise it when the response has begun and cannot carry it."""
