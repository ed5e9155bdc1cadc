"""The delays before restarts, as a `RestartPolicy` says."""

from __future__ import annotations

from lakehouse.process.spec import RestartPolicy

MAX_EXPONENT = 64
"""Failures that are counted into the delay: beyond, a float would overflow."""


class Backoff:
    """What is remembered of the ends so far: how many failures there were in a row."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.failures = 0
        self._policy = policy

    def reset(self) -> None:
        """The next failure is a first one."""
        self.failures = 0

    def delay_after(self, served: float | None) -> float:
        """Seconds until the next start, after a child that served for so many seconds; None: it did not start."""
        policy = self._policy
        if served is None or (served < policy.stable_after and policy.short_run_is_failure):
            self.failures += 1
            growth = policy.factor ** min(self.failures - 1, MAX_EXPONENT)
            return min(policy.initial_delay * growth, policy.max_delay)
        self.failures = 0
        return policy.stable_delay if served >= policy.stable_after else policy.initial_delay
