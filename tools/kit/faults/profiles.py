"""How long things take: in earnest, and for a test suite."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """All in seconds. The first group is what the gateway is told, the second what the provider does."""

    name: str

    timeout: float
    first_token_timeout: float
    idle_timeout: float
    backoff: float
    max_retry_after: float
    breaker_cooldown: float
    hedge_after: float

    slow: float
    """Until a slow first token: less than `first_token_timeout`, more than `hedge_after`."""
    pause: float
    """Between two pieces of a slow stream, of which there are enough to outlast `timeout`."""
    ping: float
    """Between two keep-alives."""
    down: float
    """How long a provider is down that comes back."""
    every: float
    """Between two of the requests that meet a provider that is down."""
    retry_after: int
    """What a 429 asks for."""
    caller: float
    """The deadline of a caller who has one."""

    def slowed(self, factor: int) -> Profile:
        """The same, with all times so much longer."""
        times = [field.name for field in fields(self) if field.name != "name"]
        return replace(self, **{name: factor * getattr(self, name) for name in times})

    def chatd(self, *, hedged: bool) -> dict[str, Any]:
        """The `[chatd]` table of a service under test."""
        policy: dict[str, Any] = {
            "retries": 2,
            "backoff": self.backoff,
            "max_retry_after": self.max_retry_after,
            "breaker_failures": 5,
            "breaker_cooldown": self.breaker_cooldown,
            "on_cut": "resume",
        }
        if hedged:
            policy["hedge_after"] = self.hedge_after
        limits = ("timeout", "first_token_timeout", "idle_timeout")
        return {**{name: getattr(self, name) for name in limits}, "policy": policy}


FAST = Profile(
    name="fast",
    timeout=4.0,
    first_token_timeout=0.6,
    idle_timeout=0.6,
    backoff=0.03,
    max_retry_after=3.0,
    breaker_cooldown=0.4,
    hedge_after=0.15,
    slow=0.35,
    pause=0.38,
    ping=0.1,
    down=0.8,
    every=0.08,
    retry_after=1,
    caller=0.9,
)

FULL = Profile(
    name="full",
    timeout=180.0,
    first_token_timeout=60.0,
    idle_timeout=60.0,
    backoff=0.25,
    max_retry_after=30.0,
    breaker_cooldown=15.0,
    hedge_after=2.0,
    slow=20.0,
    pause=17.0,
    ping=5.0,
    down=60.0,
    every=4.0,
    retry_after=3,
    caller=5.0,
)

PROFILES = {profile.name: profile for profile in (FAST, FULL)}
