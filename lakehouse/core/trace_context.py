"""W3C trace context: the `traceparent` of a request, and the one that is sent on. Needs no tracing library.

https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakehouse.core.attempts import AttemptRecord

_HEADER = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(slots=True, eq=False, kw_only=True)
class Trace:
    """The trace that a request belongs to, begun by the client or by this service.

    `span_id` is the span of the request, `parent_id` the client's span, None without one. `call_id` is the span of the
    call to a gateway upstream, 0 while there is none. `sampled` is true if spans are exported.
    """

    trace_id: int
    span_id: int
    parent_id: int | None = None
    sampled: bool = True
    call_id: int = 0

    def header(self, attempt: AttemptRecord | None = None) -> bytes:
        """The `traceparent` to send with a call: with the attempt's span as parent, or without an attempt `call_id`."""
        if attempt is not None:
            span_id = attempt.span_id = attempt.span_id or new_id(64)
        else:
            span_id = self.call_id = self.call_id or new_id(64)
        return b"00-%032x-%016x-%02x" % (self.trace_id, span_id, self.sampled)


def begin_trace(traceparent: bytes | None, *, ratio: float = 1.0) -> Trace:
    """The trace of a request with this header; a new trace if the header is missing or malformed.

    The client's sampling decision is kept. Of the traces that begin here, `ratio` (0 to 1) are sampled.
    """
    if traceparent is not None and (match := _HEADER.fullmatch(traceparent.strip())):
        version, trace_id, parent_id, flags = match[1], int(match[2], 16), int(match[3], 16), int(match[4], 16)
        # Version 255 is invalid, version 0 ends with the flags, and ids of zero are invalid.
        if version != b"ff" and not (version == b"00" and match[5]) and trace_id and parent_id:
            return Trace(trace_id=trace_id, span_id=new_id(64), parent_id=parent_id, sampled=bool(flags & 1))
    trace_id = new_id(128)
    # As OpenTelemetry's TraceIdRatioBased: decided by the id, so that all services decide alike.
    return Trace(trace_id=trace_id, span_id=new_id(64), sampled=(trace_id & _LOW) < ratio * (_LOW + 1))


_LOW = (1 << 64) - 1


def new_id(bits: int) -> int:
    """A random id that is not zero. Ids are not secret, so the randomness need not be secure."""
    return random.getrandbits(bits) or 1
