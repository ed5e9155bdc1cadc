"""The client's deadline for a request: `X-Request-Timeout-Ms`, from the value of the header to the 504.

    open_deadline_scope   the cancel scope around the application; 400 for a value that is no number of milliseconds
    lift_deadline         a stream of events that has begun has no deadline any more
    make_timeout_error    the 504, or the final event, after the application was cancelled

The gateway passes the remaining time on to the upstream (`gateway.headers`), and a chat is limited by the earlier one
of this deadline and its own (`chat.dispatch.calls.call_time`), which applies also without the header.
"""

from __future__ import annotations

import trio

from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest, ErrTimeout

TIMEOUT_HEADER = b"x-request-timeout-ms"


def open_deadline_scope(context: RequestContext, timeout: bytes | None) -> trio.CancelScope:
    """A cancel scope, not yet entered, with the request's deadline; the context has the same deadline.

    `timeout` is the value of the header, None without one. Raises ErrBadRequest.
    """
    if timeout is not None:
        context.set_timeout(parse_timeout_header(timeout))
    return trio.CancelScope(deadline=context.deadline)


def lift_deadline(context: RequestContext, scope: trio.CancelScope | None) -> None:
    """Remove the deadline from the context and from its scope, if it has one."""
    context.lift_deadline()
    if scope is not None:
        scope.deadline = context.deadline


def make_timeout_error(context: RequestContext) -> ErrTimeout:
    """The error of a request whose deadline has passed, with what the request was waiting for."""
    seconds = context.deadline - context.started
    doing = context.phase + (f", {context.upstream}" if context.upstream else "")
    message = f"the {seconds:g} s that X-Request-Timeout-Ms allows have passed ({doing})"
    attempts = context.list_attempts(abandoned_as="timeout")
    return ErrTimeout(message, error_class="timeout", retryable=True, attempts=attempts)


def parse_timeout_header(timeout: bytes) -> float:
    """The value of `X-Request-Timeout-Ms` in seconds. Raises ErrBadRequest."""
    milliseconds = float(timeout) if timeout.isdigit() else 0.0  # a float takes any number of digits
    if not milliseconds:
        shown = timeout.decode("latin-1")[:40]
        raise ErrBadRequest(f"X-Request-Timeout-Ms must be a positive whole number of milliseconds, not {shown!r}")
    return milliseconds / 1000
