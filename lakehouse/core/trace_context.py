"""W3C trace context: who called us, in the header `traceparent`, and what we send on. Needs no tracing library.

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
    """The trace that a request belongs to: the caller's or one of its own.

    `span_id` is the request's span, `parent_id` the caller's (None: there is none), `call_id` the span of a call made
    for it that is no attempt of its own, 0 while there is none. `sampled` says whether spans are recorded.
    """

    trace_id: int
    span_id: int
    parent_id: int | None = None
    sampled: bool = True
    call_id: int = 0

    def header(self, attempt: AttemptRecord | None = None) -> bytes:
        """`traceparent` for a call made on behalf of the request: its parent is the attempt's span."""
        if attempt is not None:
            span_id = attempt.span_id = attempt.span_id or new_id(64)
        else:
            span_id = self.call_id = self.call_id or new_id(64)
        return b"00-%032x-%016x-%02x" % (self.trace_id, span_id, self.sampled)


def begin_trace(traceparent: bytes | None, *, ratio: float = 1.0) -> Trace:
    """The trace of a request that came with this header; a header that is missing or malformed begins a new trace.

    A caller's decision whether to record is kept. Of traces that begin here, `ratio` (0 to 1) are recorded.
    """
    if traceparent is not None and (match := _HEADER.fullmatch(traceparent.strip())):
        version, trace_id, parent_id, flags = match[1], int(match[2], 16), int(match[3], 16), int(match[4], 16)
        # Version 255 is forbidden, version 0 has nothing behind the flags, and ids of zero are invalid.
        if version != b"ff" and not (version == b"00" and match[5]) and trace_id and parent_id:
            return Trace(trace_id=trace_id, span_id=new_id(64), parent_id=parent_id, sampled=bool(flags & 1))
    trace_id = new_id(128)
    # As OpenTelemetry's TraceIdRatioBased does it: the id decides, so that every service decides alike.
    return Trace(trace_id=trace_id, span_id=new_id(64), sampled=(trace_id & _LOW) < ratio * (_LOW + 1))


_LOW = (1 << 64) - 1


def new_id(bits: int) -> int:
    """A random id that is not zero. Ids are no secrets, so they need no secure randomness."""
    return random.getrandbits(bits) or 1
