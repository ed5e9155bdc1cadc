"""The database of an engine, in the child. Imports neither trio nor, before `open_database`, duckdb.

The restrictions of the process apply before this module is imported; see `hardened`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import duckdb


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `open_database` needs. `spill` is filled in by `hardened.EngineStarter`."""

    directory: str
    memory_limit: int
    threads: int
    directories: tuple[str, ...]
    max_spill: int
    spill: str = ""
    options: tuple[tuple[str, str], ...] = ()


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an engine's child: those of its database, and those of its target."""

    database: DatabaseSettings
    target: msgspec.Raw = msgspec.Raw(b"null")


def open_database(settings: bytes) -> tuple[duckdb.DuckDBPyConnection, EngineSettings]:
    """Open a database in memory with a locked configuration. Returns its connection and the decoded settings."""
    import duckdb  # here: after the restrictions apply

    document = msgspec.json.decode(settings, type=EngineSettings)
    database = document.database
    os.chdir(database.directory)
    connection = duckdb.connect(":memory:")
    for name, value in _options(database):
        _set(connection, name, value)
    for name, value in _new_options(database):
        try:
            _set(connection, name, value)
        except duckdb.CatalogException:  # the setting does not exist in this version
            continue
    connection.execute(f"SET allowed_directories = {quote_list(database.directories)}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection, document


def _options(database: DatabaseSettings) -> list[tuple[str, str]]:
    return [
        ("threads", str(database.threads)),
        ("memory_limit", f"{database.memory_limit}B"),
        ("temp_directory", database.spill),
        ("max_temp_directory_size", f"{database.max_spill}B"),
        ("home_directory", database.spill),
        ("secret_directory", database.spill),
        ("extension_directory", database.spill),
        ("GLOBAL TimeZone", "UTC"),
        ("GLOBAL errors_as_json", "true"),
        ("autoinstall_known_extensions", "false"),
        ("autoload_known_extensions", "false"),
        ("allow_community_extensions", "false"),
        ("python_enable_replacements", "false"),
        ("enable_progress_bar", "false"),
        *database.options,
    ]


def _new_options(database: DatabaseSettings) -> list[tuple[str, str]]:
    """Settings that not every supported version has. The allowed ones apply to one connection and are set later."""
    allowed = "['enable_profiling', 'streaming_buffer_size']"
    return [("async_threads", str(database.threads)), ("allowed_configs", allowed)]


def _set(connection: duckdb.DuckDBPyConnection, name: str, value: str) -> None:
    connection.execute(f"SET {name} = {quote(value)}")


def hide_directory(message: str) -> str:
    """Make the absolute paths below the working directory in a message relative: some errors have them."""
    return message.replace(f"{os.getcwd()}/", "")  # noqa: PTH109 - a string is needed


def quote(text: str) -> str:
    """Write a string as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def quote_list(texts: Iterable[str]) -> str:
    """Write a list of strings as a literal of SQL."""
    return f"[{', '.join(map(quote, texts))}]"


def quote_name(name: str) -> str:
    """Write a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
