"""How much, how many and how long: every bound of a connection, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one listener's connections. Sizes are bytes, times are seconds."""

    head_bytes: int = 32 * KIB
    """Request line and headers together, beyond it 431. nginx takes 4 x 8 KiB, Node.js 16 KiB, Apache 8 KiB a line."""

    headers: int = 100
    """Fields of one head, beyond it 431; Apache's `LimitRequestFields`."""

    target_bytes: int = 8 * KIB
    """The request target, beyond it 414. RFC 9112 section 3 asks for at least 8,000."""

    chunk_overhead: int = 16 * KIB
    """What a chunked body may spend on extensions and trailers beyond 16 bytes a chunk and as much as its data, beyond
    it 400. llhttp reads both without end and says nothing about them (compare CVE-2023-39326 in Go)."""

    idle_timeout: float = 75.0
    """Between two requests of a connection; nginx's `keepalive_timeout`. Whatever balances load in front of us must
    give up earlier than we do, or it will send into a closing connection."""

    head_timeout: float = 20.0
    """From a head's first byte to its last, however steadily it drips; Apache's `RequestReadTimeout header=20`. A new
    connection that says nothing gets as long, its TLS handshake included."""

    body_timeout: float = 60.0
    """Between two pieces of a request's body while the application waits for one, where it names no `idle_limit`;
    nginx's `client_body_timeout`."""

    write_stall: float = 30.0
    """Without the client taking one byte of what we have for it, where the application names no `idle_limit`; half of
    nginx's `send_timeout`."""

    discard_bytes: int = 256 * KIB
    """Of a body that the application did not want, read and thrown away to keep the connection. A new connection is
    cheaper than more."""

    linger_bytes: int = 16 * MIB
    """Read and thrown away before a connection is closed on a client that still sends: closing at once would reset it,
    and the reset overtakes our answer. Twice the largest chat body by default."""

    linger_timeout: float = 10.0
    """For all of that reading; nginx takes 30 s, but a drain must not wait for the rude."""

    websocket_message: int = 16 * MIB
    """One WebSocket message, beyond it close code 1009; what the `websockets` library calls generous."""

    websocket_window: int = 256 * KIB
    """WebSocket messages read but not yet taken by the application; then the client is no longer read."""

    websocket_close: float = 5.0
    """For the client to answer our close frame."""
