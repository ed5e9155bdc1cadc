"""The sizes of a request that llhttp does not bound: of its head, and of what a chunked body spends beside its data."""

from __future__ import annotations

from lakehouse.net.http1.fields import Headers
from lakehouse.server.http1.request_head import ProtocolError, RequestHead
from lakehouse.server.limits import ServerLimits


class SizeGuard:
    """Counts the bytes that are fed to a request parser. Every `check_` method raises `ProtocolError`.

    Where in the bytes of one feed a message ended is not known, so the bytes that may belong to the message before are
    counted apart.
    """

    __slots__ = ("_fed", "_limits", "_overhead", "_shared", "_spent")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._fed = 0  # bytes of the present feed
        self._spent = 0  # bytes since the previous message ended, including all of the feed in which it did
        self._shared = 0  # the bytes of that feed, which may belong to the previous message
        self._overhead = 0  # bytes of a chunked body beyond those that its data allows

    def count_feed(self, size: int) -> None:
        """Count bytes that are about to be parsed."""
        self._fed = size
        self._spent += size

    def count_data(self, size: int) -> None:
        """Count data of a body: it allows as much overhead, and 16 bytes for its chunk."""
        self._overhead -= 2 * size + 16

    def end_message(self) -> None:
        """Start to count for the next message."""
        self._spent = self._shared = self._fed

    def check_head(self, head: RequestHead) -> None:
        """Check a complete head. The overhead of its body is counted from the next feed on."""
        limits = self._limits
        self._overhead = -self._fed
        if len(head.target) > limits.target_bytes:
            raise _target_error(limits)
        if len(head.headers) > limits.headers:
            raise ProtocolError(f"the request has more than {limits.headers} headers", 431)
        if self._spent > limits.head_bytes:
            size = len(head.target) + sum(len(name) + len(value) + 4 for name, value in head.headers)
            if size > limits.head_bytes:
                raise ProtocolError(f"the request's head is larger than {limits.head_bytes} bytes", 431)

    def check_partial_head(self, target: bytes, headers: Headers) -> None:
        """Check a head that has not ended with the present feed."""
        limits = self._limits
        if self._spent - self._shared > limits.head_bytes or len(headers) > limits.headers:
            raise ProtocolError("the request's head is too large", 431)
        if len(target) > limits.target_bytes:
            raise _target_error(limits)

    def check_chunked_body(self) -> None:
        """Check a chunked body that has not ended with the present feed."""
        self._overhead = max(0, self._overhead + self._fed)
        if self._overhead > self._limits.chunk_overhead:
            raise ProtocolError("the chunk extensions or trailers are too large")


def _target_error(limits: ServerLimits) -> ProtocolError:
    return ProtocolError(f"the request target is longer than {limits.target_bytes} bytes", 414)
