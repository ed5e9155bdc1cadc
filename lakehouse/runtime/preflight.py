"""Checks that need the machine: tokens, certificates, reachable addresses, installed packages."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lakehouse.asgi.middleware.tokens import Tokens
from lakehouse.chat.providers.registry import register
from lakehouse.config import Address, AuthTable, Config, ConfigError, ServerTable, values
from lakehouse.config.files import other_encoding
from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.extras import LAKE, OTEL, install_hint, missing_modules
from lakehouse.server.listening import tls_context
from lakehouse.upstream.connections.forward_proxy import ForwardProxies


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """Results of the checks: the accepted tokens, and the TLS context, None for plain HTTP."""

    tokens: Tokens
    tls: ssl.SSLContext | None


def preflight(config: Config, env: Mapping[str, str]) -> Preflight:
    """Check everything that needs neither a socket nor a process. Raises ConfigError with all problems."""
    problems: list[str] = []
    if config.chatd.default == "local" and not config.chatd.local.configured:
        problems.append('chatd.default is "local", but no embedded model is named: set chatd.local.model')
    if config.observe.traces_url and (absent := missing_modules(*OTEL)):
        problems.append(f"observe.traces_url {install_hint('otel', absent)}")
    if config.chatd.proxy_from_env:
        problems += [f"chatd.proxy_from_env: {problem}" for problem in ForwardProxies(env).problems()]
    problems += _check_tiers(config, env)
    problems += _check_ollama_listener(config)
    problems += _check_trino_certificates(config.queryd.trino.ca_file)
    return _check_access(config, {"gateway.bind": config.gateway.bind, "chatd.bind": config.chatd.bind}, env, problems)


def _check_trino_certificates(ca_file: str) -> Iterator[str]:
    try:
        if ca_file:
            ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        yield f"queryd.trino.ca_file {ca_file} cannot be used: {error}"


def find_problems(config: Config, env: Mapping[str, str]) -> list[str]:
    """Everything for which `preflight` or the start of the embedded model would fail, with no process started."""
    problems: list[str] = []
    try:
        preflight(config, env)
    except ConfigError as error:
        problems += error.problems
    local = config.chatd.local
    if local.configured:
        from lakehouse.local_model import LocalModelError, check_model  # what supervises a process, for few services

        try:
            check_model(Path(local.model) if local.model else None)
        except LocalModelError as error:
            problems.append(f"chatd.local.{'model' if local.model else 'demo'}: {error}")
    return problems


def preflight_daemons(config: Config, binds: Mapping[str, Address], env: Mapping[str, str]) -> Preflight:
    """`preflight` for data services with listeners of their own; `binds` are their addresses by key."""
    absent = missing_modules(*LAKE)
    return _check_access(config, binds, env, [f"lakehouse run {install_hint('lake', absent)}"] if absent else [])


def _check_access(
    config: Config, binds: Mapping[str, Address | None], env: Mapping[str, str], others: Sequence[str]
) -> Preflight:
    """Load tokens and certificates, and check that no open service is exposed. Raises ConfigError, with `others`."""
    problems: list[str] = []
    tokens = _load_tokens(config.auth, env, problems)
    tls = _load_tls(config.server, problems)
    if tokens is not None and not tokens and not config.auth.insecure:
        problems += _check_exposure(config, binds)
    problems += others
    if problems or tokens is None:
        raise ConfigError(problems)
    return Preflight(tokens=tokens, tls=tls)


def _load_tokens(auth: AuthTable, env: Mapping[str, str], problems: list[str]) -> Tokens | None:
    try:
        return Tokens.load(auth, env)
    except ConfigError as error:
        problems += error.problems
        return None


def _load_tls(server: ServerTable, problems: list[str]) -> ssl.SSLContext | None:
    if not server.certfile:
        return None
    try:
        for name, path in (("certfile", server.certfile), ("keyfile", server.keyfile)):
            with Path(path).open("rb") as file:
                if (encoding := other_encoding(file.read(4))) is not None:
                    problems.append(f"server.{name} cannot be used: {path} is {encoding} text, and PEM is ASCII")
                    return None
        return tls_context(server.certfile, server.keyfile)
    except (OSError, ssl.SSLError) as error:
        problems.append(f"server.certfile, server.keyfile cannot be used: {error}")
        return None


def _check_tiers(config: Config, env: Mapping[str, str]) -> Iterator[str]:
    router = register(config, env).make_router(config)
    for tier, models in config.models.items():
        for model in models:
            try:
                router.target(model)
            except ErrBadRequest:
                yield f"models.{tier} must name a model behind the provider (got {values.quoted(model)})"


def _check_ollama_listener(config: Config) -> Iterator[str]:
    """The listener for Ollama's clients has no token, whatever the others have."""
    bind = config.ollama.bind
    if bind is not None and not bind.is_loopback and not config.ollama.allow and not config.auth.insecure:
        yield (
            f"ollama.bind {bind} can be reached from other machines, and Ollama's clients send no token: name the "
            "networks that may connect in ollama.allow, or set auth.insecure = true"
        )


def _check_exposure(config: Config, binds: Mapping[str, Address | None]) -> Iterator[str]:
    for key, address in binds.items():
        if address is not None and not address.is_loopback:
            yield (
                f"{key} {address} can be reached from other machines and no token is set: put one into "
                f"${config.auth.token_env or 'LAKEHOUSE_TOKEN'} or auth.token_file, or set auth.insecure = true"
            )
