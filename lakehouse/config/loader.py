"""Reads TOML into a `Config`. Everything is checked, and all problems are reported together."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Self, get_type_hints
from urllib.parse import urlsplit

from lakehouse.config.files import TextError, expand_home, read_text
from lakehouse.config.provider_checks import check_providers, check_spellings
from lakehouse.config.provider_entries import list_entries
from lakehouse.config.query_engine_tables import check_engines
from lakehouse.config.table_reader import read_table
from lakehouse.config.tables import ChatTable, Config, GatewayTable

SYSTEM_FILE = Path("/etc/lakehouse/lakehouse.toml")


class ConfigError(Exception):
    """The configuration is invalid. `problems` has one line for each invalid value, which begins with its key.

    `readable` is the configuration with defaults in place of the invalid values, so that further checks can be made.
    """

    def __init__(self, problems: list[str], *, readable: Config | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.readable = readable


class Loaded(tuple[Config, tuple[str, ...]]):  # noqa: SLOT001 - a tuple with a further attribute needs a `__dict__`
    """A configuration and warnings about its document; unpacks into the two. `path` is the file, if it was one."""

    path: Path | None

    def __new__(cls, *, config: Config, warnings: tuple[str, ...] = (), path: Path | None = None) -> Self:
        loaded = super().__new__(cls, (config, warnings))
        loaded.path = path
        return loaded

    @property
    def config(self) -> Config:
        """The configuration."""
        return self[0]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unusual in the document and no error, a sentence each."""
        return self[1]


def find_file(path: str | Path | None, env: Mapping[str, str]) -> Path | None:
    """The configuration file: `path`, ``$LAKEHOUSE_CONFIG``, ``./lakehouse.toml`` or the system's file.

    None if there is none. Raises ConfigError if one of the first two is given and does not exist.
    """
    for name, source in ((path, "-c"), (env.get("LAKEHOUSE_CONFIG"), "$LAKEHOUSE_CONFIG")):
        if name:
            return _named(str(name), source)
    return next((candidate for candidate in (Path("lakehouse.toml"), SYSTEM_FILE) if candidate.is_file()), None)


def _named(name: str, source: str) -> Path:
    try:
        path = Path(expand_home(name))
    except ValueError as error:
        raise ConfigError([f"{source} {error}"]) from None
    if not path.is_file():
        raise ConfigError([f"{source}: there is no file {path}"])
    return path


def load_config(path: str | Path | None = None, *, env: Mapping[str, str] | None = None) -> Loaded:
    """Find and read the configuration file; without one, the defaults. Raises ConfigError with every problem."""
    found = find_file(path, os.environ if env is None else env)
    if found is None:
        return Loaded(config=Config())
    try:
        document = tomllib.loads(read_text(found))
    except OSError as error:
        raise ConfigError([f"{found} cannot be read: {error.strerror}"]) from None
    except TextError as error:
        raise ConfigError([f"{found} {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{found}: {error}"]) from None
    config, warnings = parse_config(document)
    return Loaded(config=config, warnings=warnings, path=found)


def parse_config(document: Mapping[str, object]) -> Loaded:
    """Read a configuration from the document of a TOML file. Raises ConfigError with every problem."""
    known = {field.name for field in fields(Config)}
    foreign = sorted(set(document) - known)
    warnings = [f"tables that are not ours are ignored: {', '.join(foreign)}"] if foreign else []
    if without_effect := list(_ignored_keys(document)):
        warnings.append(f"keys of the former daemons have no effect here: {', '.join(without_effect)}")
    problems: list[str] = []
    config = read_table(Config, {k: v for k, v in document.items() if k in known}, "", problems)
    problems += _drop_followers(problems, _check_across_fields(config))
    problems += check_spellings(document)
    if problems:
        raise ConfigError(problems, readable=config)
    return Loaded(config=config, warnings=tuple(warnings))


def _drop_followers(problems: list[str], later: list[str]) -> list[str]:
    """The later problems without those of keys that seem to be missing, because they or their tables are invalid."""
    invalid = {re.split(" must | is ", problem, maxsplit=1)[0] for problem in problems}
    return [
        problem
        for problem in later
        if (key := problem.partition(" must be set")[0]) not in invalid and key.rpartition(".")[0] not in invalid
    ]


def _ignored_keys(document: Mapping[str, object]) -> Iterator[str]:
    """The keys of the document that are known and have no effect, as far as they are set."""
    hints = get_type_hints(Config)
    for name, table in document.items():
        hint = hints.get(name)
        if isinstance(table, dict) and isinstance(hint, type) and is_dataclass(hint):
            ignored = {field.name for field in fields(hint) if field.metadata.get("ignored")}
            yield from (f"{name}.{key}" for key, value in table.items() if key in ignored and value != "")


def _check_ollama(config: Config) -> Iterator[str]:
    """The problems of `[ollama] bind`."""
    bind = config.ollama.bind
    if bind is None:
        return
    for key, other in (("gateway.bind", config.gateway.bind), ("chatd.bind", config.chatd.bind)):
        if bind == other and bind.port:
            yield f"ollama.bind must differ from {key} (both are {bind})"
    if config.gateway.chatd_url:
        yield "ollama.bind needs the chat group in this process: leave gateway.chatd_url empty"
    for url in map(urlsplit, list_entries(config)["ollama"].base_url):
        if url.port == bind.port and (url.hostname in (bind.host, "localhost") or bind.host == "0.0.0.0"):  # noqa: S104
            key = "providers.ollama.base_url" if "ollama" in config.providers else "chatd.ollama_url"
            yield f"{key} leads to ollama.bind ({bind}): set it to the address of an Ollama, or to an empty string"


def _check_across_fields(config: Config) -> list[str]:
    """Check what depends on several keys."""
    problems = []
    if bool(config.server.certfile) != bool(config.server.keyfile):
        missing = "server.certfile" if config.server.keyfile else "server.keyfile"
        problems.append(f"{missing} must be set as well: TLS needs both a certificate and its key")
    if bool(config.lake.warehouse) != bool(config.lake.catalog):
        missing = "lake.catalog" if config.lake.warehouse else "lake.warehouse"
        problems.append(f"{missing} must be set as well: tables on S3 need a catalog that is not below lake.path")
    if config.pathwayd.store and not config.lake.warehouse:
        problems.append(
            "pathwayd.store needs lake.warehouse: traces name objects and tables that they were derived from, and a"
            " service whose folder lacks these would retire the traces"
        )
    if config.chatd.local.model and config.chatd.local.demo:
        problems.append("chatd.local.demo and chatd.local.model exclude each other")
    gateway: GatewayTable = config.gateway
    chatd: ChatTable = config.chatd
    if chatd.bind is not None and chatd.bind == gateway.bind and chatd.bind.port:
        problems.append(f"chatd.bind must differ from gateway.bind (both are {chatd.bind})")
    problems += _check_ollama(config)
    problems += check_engines(config.queryd)
    problems += check_providers(config)
    for tier, names in config.models.items():
        problems += [
            f"models.{tier} must not name itself"
            if name == tier
            else f"models.{tier} names the tier {name}: a tier holds models"
            for name in names
            if name in config.models
        ]
    return problems
