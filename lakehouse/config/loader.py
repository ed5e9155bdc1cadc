"""Reads TOML into a `Config`. Everything is checked, and all problems are reported together."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from lakehouse.config import values
from lakehouse.config.files import TextError, expand_home, read_text
from lakehouse.config.tables import ChatTable, Config, GatewayTable


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Table = TypeVar("Table", bound=_Dataclass)

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
    config = _read_table(Config, {k: v for k, v in document.items() if k in known}, "", problems)
    problems += _check_across_fields(config)
    if problems:
        raise ConfigError(problems, readable=config)
    return Loaded(config=config, warnings=tuple(warnings))


def _ignored_keys(document: Mapping[str, object]) -> Iterator[str]:
    """The keys of the document that are known and have no effect, as far as they are set."""
    hints = get_type_hints(Config)
    for name, table in document.items():
        hint = hints.get(name)
        if isinstance(table, dict) and isinstance(hint, type) and is_dataclass(hint):
            ignored = {field.name for field in fields(hint) if field.metadata.get("ignored")}
            yield from (f"{name}.{key}" for key, value in table.items() if key in ignored and value != "")


def _read_table(table: type[Table], document: object, path: str, problems: list[str]) -> Table:
    """Read one table.

    Invalid values are added to `problems` and replaced by their defaults, so that all are checked.
    """
    if not isinstance(document, dict):
        problems.append(f"{path} must be a table (got {values.quoted(document)})")
        return table()
    hints = get_type_hints(table)
    known = {field.name: field for field in fields(table)}
    read: dict[str, object] = {}
    for name, value in document.items():
        key = f"{path}.{name}" if path else name
        if name not in known:
            problems.append(f"{key} is not a known key{_suggest(name, known)}")
            continue
        try:
            read[name] = _read_value(known[name], hints[name], value, key, problems)
        except values.InvalidEntries as error:
            problems += [f"{key}.{entry} {problem}" for entry, problem in error.problems.items()]
            read[name] = error.valid
        except ValueError as error:
            problems.append(f"{key} {error}")
    return table(**read)


def _read_value(field: Field[Any], hint: type, value: object, key: str, problems: list[str]) -> object:
    if is_dataclass(hint):
        return _read_table(hint, value, key, problems)
    if reader := field.metadata.get("reader"):
        return reader(value)
    if isinstance(hint, type) and issubclass(hint, str | bool | int):
        if type(value) is not hint:
            raise ValueError(f"must be {_NAMES[hint]} (got {values.quoted(value)})")
        return value
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise ValueError(f"must be one of {', '.join(map(values.quoted, get_args(hint)))} (got {values.quoted(value)})")
    try:
        converted = msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise ValueError(f"does not fit: {error} (got {values.quoted(value)})") from None
    return converted


_NAMES = {str: "a string", bool: "true or false", int: "a whole number"}


def _suggest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _check_across_fields(config: Config) -> list[str]:
    """Check what depends on several keys."""
    problems = []
    if bool(config.server.certfile) != bool(config.server.keyfile):
        missing = "server.certfile" if config.server.keyfile else "server.keyfile"
        problems.append(f"{missing} must be set as well: TLS needs both a certificate and its key")
    if config.chatd.local.model and config.chatd.local.demo:
        problems.append("chatd.local.demo and chatd.local.model exclude each other")
    gateway: GatewayTable = config.gateway
    chatd: ChatTable = config.chatd
    if chatd.bind is not None and chatd.bind == gateway.bind and chatd.bind.port:
        problems.append(f"chatd.bind must differ from gateway.bind (both are {chatd.bind})")
    for tier, names in config.models.items():
        problems += [
            f"models.{tier} must not name itself"
            if name == tier
            else f"models.{tier} names the tier {name}: a tier holds models"
            for name in names
            if name in config.models
        ]
    return problems
