"""The work of `lakehouse check`: validates the configuration and shows what would run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import trio

from lakehouse.chat.providers.registry import register
from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.input import replace_undecodable
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.cli.style import Style
from lakehouse.config import Config, ConfigError, Loaded
from lakehouse.runtime.data_services import describe_unavailable
from lakehouse.runtime.dependency_status import ProviderStatus, describe_ready, list_providers, list_routes
from lakehouse.runtime.lake_status import LakeStatus, read_lake_status
from lakehouse.runtime.preflight import Preflight, find_problems, preflight
from lakehouse.services.engines.remote.status import EngineStatus, read_engine_statuses
from lakehouse.services.host.store_checks import describe_stores
from lakehouse.upstream.connections.forward_proxy import ForwardProxies


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a tier, its provider, and the name that the provider would be sent."""

    name: str
    model: str
    provider: str
    asked_as: str
    registered: bool


def run(arguments: argparse.Namespace) -> int:
    """Print what would run. Raises ConfigError with every problem."""
    try:
        loaded = load_configuration(arguments)
    except ConfigError as error:
        further = [] if error.readable is None else find_problems(error.readable, os.environ)
        raise ConfigError(error.problems + further) from None
    if problems := find_problems(loaded.config, os.environ):
        raise ConfigError(problems)
    checked = preflight(loaded.config, os.environ)
    for warning in register(loaded.config, os.environ).warnings:
        write_diagnostic(f"warning: {warning}")
    providers = list_providers(loaded.config, os.environ)
    tiers = list(_tiers(loaded.config, os.environ))
    lake = read_lake_status(loaded.config, os.environ)
    if lake.stores and not lake.missing:
        found = trio.run(describe_stores, loaded.config, os.environ)
        lake = msgspec.structs.replace(lake, stores=found)
    engines = trio.run(read_engine_statuses, loaded.config, os.environ) if lake.wanted else ()
    if arguments.json:
        document = _document(loaded, checked, providers, tiers, lake, engines)
        write_output(msgspec.json.format(msgspec.json.encode(document)).decode())
    else:
        for line in _format(loaded, checked, providers, tiers, lake, engines, Style(sys.stdout)):
            write_output(line)
    return 0


def _tiers(config: Config, env: Mapping[str, str]) -> Iterator[Tier]:
    registry = register(config, env)
    router, registered = registry.make_router(config), registry.providers
    for tier, models in config.models.items():
        for model in models:
            target = router.target(model)
            is_registered = target.provider in registered or (
                target.provider == "local" and config.chatd.local.configured
            )
            yield Tier(
                name=tier, model=model, provider=target.provider, asked_as=target.model, registered=is_registered
            )


def _document(
    loaded: Loaded,
    checked: Preflight,
    providers: list[ProviderStatus],
    tiers: list[Tier],
    lake: LakeStatus,
    engines: Sequence[EngineStatus],
) -> dict[str, object]:
    config = loaded.config
    return {
        "configuration": None if loaded.path is None else replace_undecodable(str(loaded.path)),
        "listeners": {
            "gateway": str(config.gateway.bind),
            "chat": None if config.chatd.bind is None else str(config.chatd.bind),
            "ollama": None if config.ollama.bind is None else str(config.ollama.bind),
            "tls": checked.tls is not None,
            "tokens": len(checked.tokens),
            "origins": config.auth.origins,
        },
        "routes": [{"prefix": prefix, "upstream": name, "url": url} for prefix, name, url in list_routes(config)],
        "providers": [
            {"name": p.name, "registered": p.registered, "where": p.where}
            | ({"replica": p.replica} if p.replica else {})
            for p in providers
        ],
        "proxies": {"set": ForwardProxies(os.environ).variables, "used": config.chatd.proxy_from_env},
        "tiers": tiers,
        "lake": lake,
        "sql_engines": engines,
    }


def _format(
    loaded: Loaded,
    checked: Preflight,
    providers: list[ProviderStatus],
    tiers: list[Tier],
    lake: LakeStatus,
    engines: Sequence[EngineStatus],
    style: Style,
) -> Iterator[str]:
    yield f"configuration  {loaded.path or 'built-in defaults'}"
    yield from _format_listeners(loaded.config, checked)
    yield ""
    yield style.title("routes")
    yield from _format_routes(loaded.config)
    yield ""
    if lake.wanted:
        yield style.title("lake")
        yield from _format_lake(lake)
        yield from (_format_engine(engine, style) for engine in engines)
        yield ""
    yield style.title("providers")
    for provider in providers:
        yield f"  {style.mark(provider.registered)} {provider.name:<13} {provider.where}"
    if ready := describe_ready(loaded.config, os.environ):
        yield style.dim(f"    {ready}")
    if proxies := ForwardProxies(os.environ).variables:
        yield _describe_proxies(proxies, used=loaded.config.chatd.proxy_from_env)
    if tiers:
        yield ""
        yield style.title("tiers")
    for tier in tiers:
        note = "" if tier.registered else "  (not registered: a request for it is a 404)"
        where = f"{tier.model} -> {tier.provider} as {tier.asked_as}"
        yield f"  {style.mark(tier.registered)} {tier.name:<13} {where}{note}"


def _format_listeners(config: Config, checked: Preflight) -> Iterator[str]:
    scheme = "http" if checked.tls is None else "https"
    access = f"{len(checked.tokens)} tokens" if checked.tokens else "open: no token is set"
    yield f"listens on     {scheme}://{config.gateway.bind}  ({access})"
    if config.chatd.bind is not None:
        yield f"               {scheme}://{config.chatd.bind}  (chat alone, at /chat)"
    if config.ollama.bind is not None:
        networks = ", ".join(map(str, config.ollama.allow or config.auth.allow)) or "any network"
        yield f"               {scheme}://{config.ollama.bind}  (Ollama's clients, without a token, from {networks})"
    for number, origin in enumerate(config.auth.origins):
        yield f"{'pages of' if number == 0 else '':<14} {origin}"


def _format_routes(config: Config) -> Iterator[str]:
    unavailable = describe_unavailable(config)
    for prefix, name, url in list_routes(config):
        where = f"501: {unavailable[name]}" if name in unavailable else url
        yield f"  {prefix:<14} {name:<10} {where}"
    if not config.gateway.chatd_url:
        for prefix in ("/v1/chat", "/v1/models"):
            yield f"  {prefix:<14} {'chat':<10} in this process"


def _format_lake(lake: LakeStatus) -> Iterator[str]:
    if lake.missing:
        yield f"  {lake.missing}"
        return
    use = "" if lake.holder is None else f" (in use by process {lake.holder})"
    yield f"  folder         {replace_undecodable(lake.folder)}{use}"
    if lake.warehouse:
        yield f"  warehouse      {lake.warehouse}"
    for name, store in lake.stores.items():
        yield f"  {name:<14} {store}"
    yield f"  start          {'with the first request' if lake.start == 'lazy' else 'with the service'}"
    yield f"  engines        SQL: {_format_share(*lake.query_engines)}; uploads: {_format_share(*lake.write_engines)}"
    yield f"  sandbox        files: {lake.sandbox['files']}; network: {lake.sandbox['network']}"
    for number, model in enumerate(lake.embedding_models):
        use = model.missing or ("default" if model.default else "")
        yield f"  {'' if number else 'embeddings':<14} {model.name}{f' ({use})' if use else ''}"
    yield f"  packages       {', '.join(f'{name} {version}' for name, version in lake.versions.items())}"


def _format_engine(engine: EngineStatus, style: Style) -> str:
    if engine.problem:
        found = engine.problem
    else:
        found = f"version {engine.version}" + (
            "" if engine.fits else f", which does not fit: {engine.needed} is needed"
        )
    use = " (default)" if engine.default else ""
    return f"  {style.mark(engine.fits)} {engine.name + use:<20} {engine.url}: {found}"


def _format_share(processes: int, memory: int) -> str:
    return f"{processes} of {memory / 2**30:.1f} GiB"


def _describe_proxies(variables: Sequence[str], *, used: bool) -> str:
    use = "used (NO_PROXY excepted)" if used else "set and not used"
    verb = "are" if len(variables) > 1 else "is"
    return f"    {', '.join(variables)} {verb} {use}: chatd.proxy_from_env = {str(used).lower()}"
