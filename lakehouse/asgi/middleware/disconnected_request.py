"""What happens to a request whose client has left: its application is cancelled, and 499 is recorded.

1. Detection. Our own server watches the socket (`server.disconnects`); under any other server a
   `DisconnectWatcher` reads the message. A client that takes nothing of its response for too long counts as having
   left.
2. Cancellation of the application and of everything that it has started. With `on_disconnect` configured, the answer of
   a provider is read on for a limited time (`chat.dispatch.policies.disconnect_grace`).
3. `record_disconnect`: log, metrics and traces show outcome `client left` with status 499. Nothing is sent.
"""

from __future__ import annotations

from lakehouse.core.context import CLIENT_CLOSED_REQUEST, RequestContext


class DisconnectedClient:
    """A client that has left, for the context of a request under a server that does not report it there."""

    disconnected = True


def record_disconnect(context: RequestContext) -> None:
    """Record that the request has ended because its client left."""
    context.finish("client left")
    context.record_response_status(CLIENT_CLOSED_REQUEST)
