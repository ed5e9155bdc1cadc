"""Every bound of a connection, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """The bounds of one listener's connections. Sizes are bytes, times are seconds."""

    head_bytes: int = 32 * KIB
    """Request line and headers together, beyond it 431. nginx takes 4 x 8 KiB, Node.js 16 KiB, Apache 8 KiB a line."""

    headers: int = 100
    """Fields of one head, beyond it 431; Apache's `LimitRequestFields`."""

    target_bytes: int = 8 * KIB
    """The request target, beyond it 414. RFC 9112 section 3 demands at least 8,000."""

    chunk_overhead: int = 16 * KIB
    """Bytes that a chunked body may spend on extensions and trailers, besides 16 bytes a chunk and as many as its data;
    beyond it 400. llhttp reads both without end and reports neither (compare CVE-2023-39326 in Go)."""

    keep_alive_timeout: float = 75.0
    """Between two requests of a connection; nginx's `keepalive_timeout`. A load balancer in front of this server needs
    a shorter one, or it will send requests into closing connections."""

    header_timeout: float = 20.0
    """From a head's first byte to its last, however fast it arrives; Apache's `RequestReadTimeout header=20`. A new
    connection has as long for its first byte, TLS handshake included."""

    body_timeout: float = 60.0
    """Between two pieces of a request's body while the application waits for one, where it sets no `idle_limit`;
    nginx's `client_body_timeout`."""

    send_timeout: float = 30.0
    """Between two bytes of a response that the client takes, where the application sets no `idle_limit`; half of
    nginx's `send_timeout`."""

    max_discarded_body: int = 256 * KIB
    """Bytes of an unread body that are read and discarded to keep the connection. For more, a new connection is
    cheaper."""

    linger_bytes: int = 16 * MIB
    """Bytes read and discarded before a connection is closed on a client that still sends: closing at once would reset
    it, and the reset would overtake the response. Twice the largest chat body by default."""

    linger_timeout: float = 10.0
    """For all of that reading; nginx takes 30 s, which is too long for a drain."""

    max_websocket_message: int = 16 * MIB
    """One WebSocket message, beyond it close code 1009; 16 times the default of the `websockets` library."""

    websocket_window: int = 256 * KIB
    """Bytes of WebSocket messages that the application has not taken; beyond it, reading from the client pauses."""

    websocket_close_timeout: float = 5.0
    """Wait for the client's close frame after the server has sent its own."""
