"""The report after the start: providers, upstreams, and a command to try."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence

import trio

from lakehouse.chat.dispatch.dispatcher import Dispatcher
from lakehouse.chat.dispatch.open_dispatcher import open_dispatcher
from lakehouse.cli.input import replace_undecodable
from lakehouse.cli.smoke_request import curl_authorization
from lakehouse.cli.until_signal import run_unless_stopping
from lakehouse.config import Config
from lakehouse.runtime.data_services import describe_unavailable
from lakehouse.runtime.dependency_status import (
    ProviderStatus,
    UpstreamStatus,
    find_embedded_model,
    probe_providers,
    probe_upstreams,
)
from lakehouse.services.host.names import embedded_services
from lakehouse.services.lake.directory import locate
from lakehouse.services.lake.errors import LakeError

logger = logging.getLogger("lakehouse.serve")


async def startup_report(config: Config, url: str, stopping: trio.Event, write_line: Callable[[str], None]) -> None:
    """Probe providers and upstreams and report each with `write_line`, unless the service stops before.

    A failure of the report is logged and does not affect the service.
    """

    async def report() -> None:
        try:
            for line in await collect_status(config, url):
                write_line(line)
        except Exception:  # the report must not end the service
            logger.exception("the startup report failed: providers and upstreams could not be probed")

    await run_unless_stopping(report, stopping)


async def collect_status(config: Config, url: str) -> list[str]:
    """The lines of the report: providers, upstreams, a command to try."""
    async with open_dispatcher(config) as dispatcher:
        providers = await probe_providers(config, os.environ, dispatcher)
        upstreams = await probe_upstreams(config)
        return [
            *map(_format_provider, providers),
            *_format_upstreams(upstreams),
            *_format_lake(config),
            *await _next_step(config, url, dispatcher),
        ]


def _format_provider(seen: ProviderStatus) -> str:
    if not seen.registered:
        state = f"not registered: {seen.where}"
    elif seen.probed is None:
        state = seen.where
    else:
        state = f"{'answers' if seen.probed.answers else 'does not answer'} ({seen.where}; {seen.probed.detail})"
    return f"  {seen.name:<13}{state}"


def _format_upstreams(upstreams: Sequence[UpstreamStatus]) -> Iterator[str]:
    if not upstreams:
        return
    answering = [seen.name for seen in upstreams if seen.answers]
    absent = [seen.name for seen in upstreams if not seen.answers]
    parts = [f"{', '.join(answering)} answer"] if answering else []
    parts += [f"{', '.join(absent)} do not answer"] if absent else []
    yield f"  {'upstreams':<13}{'; '.join(parts)}"


def _format_lake(config: Config) -> Iterator[str]:
    if services := embedded_services(config.gateway):
        try:
            where = replace_undecodable(str(locate(config.lake.path, os.environ)))
        except LakeError as error:
            where = f"no folder: {error}"
        yield f"  {'lake':<13}{', '.join(services)} in {where}"
    else:
        reasons = dict.fromkeys(describe_unavailable(config).values())
        yield from (f"  {'lake':<13}{reason}" for reason in list(reasons)[:1])


async def _next_step(config: Config, url: str, dispatcher: Dispatcher) -> list[str]:
    """A command that works now."""
    model = await _find_model(config, dispatcher)
    if model is not None:
        body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "hello"}}]}}'
        token = curl_authorization(config.auth)
        return [f"try:  curl {url}/v1/chat{token} -H 'content-type: application/json' -d '{body}'"]
    return ["no model answers yet; try:  lakehouse serve --demo   (or start Ollama: `ollama pull qwen3:8b`)"]


async def _find_model(config: Config, dispatcher: Dispatcher) -> str | None:
    """The name of a model for a request: the embedded one, a tier, or the first that a provider lists."""
    if embedded := find_embedded_model(config):
        return embedded
    cards = await dispatcher.models()
    listed = [card.id for card in cards if card.owned_by != "lakehouse"]
    return next(iter(config.models), listed[0]) if listed else None
