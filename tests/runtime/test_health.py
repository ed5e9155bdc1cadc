"""`/readyz` is what the registered checks say; `/healthz` is whether anybody answers."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from lakehouse.asgi.types import Message
from lakehouse.core.errors import ErrUnavailable
from lakehouse.core.health import HEALTHY, Health, HealthStatus
from lakehouse.runtime.graceful_shutdown import drain_check
from lakehouse.runtime.health import CHECK_TIMEOUT, HealthEndpoints, HealthRegistry

DEGRADED = Health(status=HealthStatus.DEGRADED, reason="one engine of two")
GONE = Health(status=HealthStatus.UNAVAILABLE, reason="sql: no engine can be started", retry_after=4)


async def ask(registry: HealthRegistry, path: str, *, method: str = "GET") -> bytes:
    """The body of an answer with status 200."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("a health check has no body")

    async def send(message: Message) -> None:
        sent.append(message)

    await HealthEndpoints(registry)({"type": "http", "path": path, "method": method}, receive, send)
    assert sent[0]["status"] == 200
    body: bytes = sent[1]["body"]
    return body


def always(health: Health) -> HealthRegistry:
    async def check() -> Health:
        return health

    registry = HealthRegistry()
    registry.register("sql", check)
    return registry


@pytest.mark.parametrize("registry", [HealthRegistry(), always(HEALTHY), always(DEGRADED)])
async def test_ready_while_no_check_says_otherwise(registry: HealthRegistry) -> None:
    assert await ask(registry, "/readyz") == b'{"status":"ready"}'
    assert await ask(registry, "/healthz") == b'{"status":"alive"}'


async def test_an_unavailable_part_is_named_and_the_service_is_alive() -> None:
    with pytest.raises(ErrUnavailable, match="sql: no engine can be started") as caught:
        await ask(always(GONE), "/readyz")
    assert caught.value.retry_after == 4
    assert await ask(always(GONE), "/healthz") == b'{"status":"alive"}'


async def test_a_drain_is_a_check_like_any_other() -> None:
    stopping, registry = trio.Event(), HealthRegistry()
    registry.register("drain", drain_check(stopping))
    assert await ask(registry, "/readyz")
    stopping.set()
    with pytest.raises(ErrUnavailable, match="draining: the service is about to stop"):
        await ask(registry, "/readyz")


async def test_checks_run_at_once_and_a_silent_one_is_unavailable(autojump_clock: MockClock) -> None:
    registry = always(HEALTHY)
    registry.register("slow", trio.sleep_forever)
    registry.register("slower", trio.sleep_forever)
    answers = await registry.check()
    assert trio.current_time() == CHECK_TIMEOUT
    assert list(answers) == ["sql", "slow", "slower"]
    assert answers["sql"] == HEALTHY
    assert answers["slow"].reason == "slow did not answer within 1 s"


async def test_a_check_that_fails_is_unavailable_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> Health:
        raise RuntimeError("defect")

    registry = HealthRegistry()
    registry.register("sql", broken)
    with caplog.at_level(logging.ERROR):
        answers = await registry.check()
    assert answers["sql"].status is HealthStatus.UNAVAILABLE
    assert caplog.messages == ["the health check sql failed"]


def test_a_name_is_registered_once() -> None:
    registry = always(HEALTHY)
    with pytest.raises(ValueError, match="a health check sql is registered already"):
        registry.register("sql", drain_check(trio.Event()))
