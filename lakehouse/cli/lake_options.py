"""The options that all commands of the lake have, and the configuration with them."""

from __future__ import annotations

import argparse
from dataclasses import replace

from lakehouse.cli.registry import add_config_option
from lakehouse.config import Address, Config, ConfigError, values


def add_lake_options(parser: argparse.ArgumentParser) -> None:
    """Add `-c FILE` and `--lake DIR`."""
    add_config_option(parser)
    parser.add_argument("--lake", metavar="DIR", help="the folder of the lake, instead of [lake] path")


def with_lake(config: Config, path: str | None) -> Config:
    """The configuration with `[lake] path` replaced by `--lake`. Raises ConfigError.

    It has no address: a service at that of the file has the lake of the file.
    """
    if path is None:
        return config
    gateway = replace(config.gateway, bind=Address(config.gateway.bind.host, 0))
    try:
        return replace(config, gateway=gateway, lake=replace(config.lake, path=values.path(path)))
    except ValueError as error:
        raise ConfigError([f"--lake {error}"]) from None
