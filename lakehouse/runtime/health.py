"""`/healthz` and `/readyz`: alive, and ready to take requests; readiness is the result of the registered checks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

import trio

from lakehouse.asgi.responses import send_json
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.errors import ErrUnavailable
from lakehouse.core.health import Health, HealthStatus

logger = logging.getLogger("lakehouse.health")

Check = Callable[[], Awaitable[Health]]

CHECK_TIMEOUT = 1.0
"""Seconds that a check may take; a slower one counts as unavailable. An orchestrator polls every few seconds."""


class HealthRegistry:
    """The health checks of one process, by the names of the checked parts."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def register(self, name: str, check: Check) -> None:
        """Add a check. Raises ValueError for a name that is taken."""
        if name in self._checks:
            raise ValueError(f"a health check {name} is registered already")
        self._checks[name] = check

    async def check(self) -> Mapping[str, Health]:
        """The result of every check; all run at once, each for at most `CHECK_TIMEOUT` seconds."""
        answers: dict[str, Health] = {}

        async def run_check(name: str, check: Check) -> None:
            answers[name] = Health(
                status=HealthStatus.UNAVAILABLE, reason=f"{name} did not answer within {CHECK_TIMEOUT:g} s"
            )
            with trio.move_on_after(CHECK_TIMEOUT):
                try:
                    answers[name] = await check()
                except Exception:
                    logger.exception("the health check %s failed", name)
                    answers[name] = Health(status=HealthStatus.UNAVAILABLE, reason=f"{name}'s health check failed")

        async with trio.open_nursery() as nursery:
            for name, check in self._checks.items():
                nursery.start_soon(run_check, name, check)
        return {name: answers[name] for name in self._checks}


class HealthEndpoints:
    """The ASGI application for GET on both paths. Raises ErrUnavailable while a check reports so."""

    def __init__(self, registry: HealthRegistry) -> None:
        self._registry = registry

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        ready = scope["path"] == "/readyz"
        if ready:
            for health in (await self._registry.check()).values():
                if health.status is HealthStatus.UNAVAILABLE:
                    raise ErrUnavailable(health.reason, retry_after=health.retry_after)
        await send_json(send, 200, {"status": "ready" if ready else "alive"})
