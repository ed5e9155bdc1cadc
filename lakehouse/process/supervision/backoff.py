"""The delays before restarts, by a `RestartPolicy`."""

from __future__ import annotations

from lakehouse.process.spec import RestartPolicy

MAX_EXPONENT = 64
"""The largest exponent of the growth factor: a larger one could overflow a float."""


class Backoff:
    """Counts consecutive failures and computes the delay before the next start."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.failures = 0
        self._policy = policy

    def reset(self) -> None:
        """Forget the failures so far: the next failure has the initial delay."""
        self.failures = 0

    def delay_after(self, served: float | None) -> float:
        """Return the seconds until the next start. `served` is how long the child served, None if it did not start."""
        policy = self._policy
        if served is None or (served < policy.stable_after and policy.short_run_is_failure):
            self.failures += 1
            growth = policy.factor ** min(self.failures - 1, MAX_EXPONENT)
            return min(policy.initial_delay * growth, policy.max_delay)
        self.failures = 0
        return policy.stable_delay if served >= policy.stable_after else policy.initial_delay
