"""The providers that are there by default, from `ready_providers.toml`: a key or a table switches one on."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lakehouse.config.provider_tables import ProviderTable
from lakehouse.config.table_reader import read_table

FILE = Path(__file__).with_name("ready_providers.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyProvider(ProviderTable):
    """An entry of the file: a table as users write it, and where its facts come from.

    `sources` are the pages, read in the month `checked`. `own_url`: the user has to give the base URL.
    """

    about: str = ""
    sources: tuple[str, ...] = ()
    checked: str = ""
    own_url: bool = False


@cache
def load_ready_providers() -> Mapping[str, ReadyProvider]:
    """The entries by name, in the order of the file, which is read once. Raises ValueError for an invalid file."""
    problems: list[str] = []
    document = tomllib.loads(FILE.read_text(encoding="utf-8"))
    entries = {name: read_table(ReadyProvider, table, name, problems) for name, table in document.items()}
    if problems:
        raise ValueError(f"{FILE.name}: {'; '.join(problems)}")
    return entries
