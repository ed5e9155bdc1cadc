"""The limits of a whole session: its rate of calls, its tokens, its cost and its time, checked before each call.

Calls in flight are not counted until they have ended, so that calls at the same time may exceed a limit together.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from lakehouse.core.context import Usage
from lakehouse.sessions.violations import Violation

MINUTE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """The most that a session may use. `wall_time` is in seconds from its first call."""

    calls_per_minute: float = inf
    tokens: float = inf
    cost_usd: float = inf
    wall_time: float = inf

    def find_excess(self, calls_in_minute: int, tokens: int, cost_usd: float, seconds: float) -> Violation | None:
        """The first limit that a session has reached, whose first call began so many seconds ago."""
        if calls_in_minute >= self.calls_per_minute:
            reason = f"{calls_in_minute} calls began within a minute, and the limit is {self.calls_per_minute}"
            return _make_violation("calls_per_minute", self.calls_per_minute, calls_in_minute, reason)
        if tokens >= self.tokens:
            return _make_violation("tokens", self.tokens, tokens, f"it used {tokens} tokens of {self.tokens}")
        if cost_usd >= self.cost_usd:
            reason = f"it cost ${cost_usd:g} of ${self.cost_usd:g}"
            return _make_violation("cost_usd", self.cost_usd, round(cost_usd, 6), reason)
        if seconds >= self.wall_time:
            reason = f"it began {seconds:.0f} s ago, and may last {self.wall_time:g} s"
            return _make_violation("wall_time", self.wall_time, round(seconds, 3), reason)
        return None


def _make_violation(rule: str, limit: float, observed: float, reason: str) -> Violation:
    return Violation(rule, reason, {"limit": limit, "observed": observed})


class SessionUse:
    """What a session has used: the calls of the last minute, counted in seconds, and tokens and dollars of those ended.

    Times are in seconds since 1970.
    """

    __slots__ = ("_calls", "_counts", "_second", "cost_usd", "tokens")

    def __init__(self) -> None:
        self.tokens = 0
        self.cost_usd = 0.0
        self._counts = [0] * MINUTE
        self._calls = 0
        self._second = 0

    def begin_call(self) -> None:
        """Count a call that begins in the second of the last `count_calls`."""
        self._counts[self._second % MINUTE] += 1
        self._calls += 1

    def end_call(self, usage: Usage | None) -> None:
        """Count what a call has used that has ended."""
        if usage is not None:
            self.tokens += (usage.input_tokens or 0) + (usage.output_tokens or 0)
            self.cost_usd += usage.cost_usd or 0.0

    def count_calls(self, now: float) -> int:
        """The calls since the same second of the minute before."""
        if now >= self._second + 1:  # a clock that was set back stays in the latest second
            self._begin_second(int(now))
        return self._calls

    def _begin_second(self, second: int) -> None:
        """Forget the calls of the seconds that have passed, but for those of the last minute."""
        for passed in range(self._second + 1, min(second, self._second + MINUTE) + 1):
            self._calls -= self._counts[passed % MINUTE]
            self._counts[passed % MINUTE] = 0
        self._second = second
