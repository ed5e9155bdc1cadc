"""The graceful shutdown (drain) of the service: requests in flight are completed, new connections are refused.

| step | by |
|---|---|
| SIGTERM sets `stopping`; a second signal cancels everything | `cli.until_signal`, in a worker `runtime.worker` |
| `/readyz` answers 503, so that a load balancer sends no more requests | `drain_check` |
| no connection is accepted, idle ones are closed, responses have `Connection: close` | `server.drain` |
| after `[server] drain_timeout`: 503, or the final event of a stream, or a cut | `abort_remaining` |
| after `ABORT_TIMEOUT` more: the connections are cut | `server.drain` |
| pools, telemetry, the services process and the embedded model are closed | `runtime.runtime.open_runtime` |

With several workers the supervisor sends each of them SIGTERM (`process.supervision.supervisor`).
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.core.health import HEALTHY, Health, HealthStatus
from lakehouse.runtime.health import Check


def drain_check(stopping: trio.Event) -> Check:
    """The health check of the service itself: unavailable as soon as it drains."""

    async def check() -> Health:
        if stopping.is_set():
            reason = "draining: the service is about to stop"
            return Health(status=HealthStatus.UNAVAILABLE, reason=reason, retry_after=1)
        return HEALTHY

    return check


def abort_remaining(lifetimes: Iterable[RequestLifetimeMiddleware]) -> None:
    """End every request that is still in flight; its client is sent 503, where its response has not begun."""
    for lifetime in lifetimes:
        lifetime.drain()
