"""The configuration of a command: the file, its warnings on standard error, and the options that override it."""

from __future__ import annotations

import argparse
from dataclasses import replace

from lakehouse.cli.output import write_diagnostic
from lakehouse.config import Config, ConfigError, Loaded, load_config, values


def load_configuration(arguments: argparse.Namespace) -> Loaded:
    """Load the configuration of `-c` or the default places, and print its warnings. Raises ConfigError."""
    loaded = load_config(arguments.config)
    for warning in loaded.warnings:
        write_diagnostic(f"warning: {warning}")
    return loaded


def with_bind(config: Config, bind: str | None) -> Config:
    """The configuration with `[gateway] bind` replaced by `--bind`. Raises ConfigError."""
    if bind is None:
        return config
    try:
        return replace(config, gateway=replace(config.gateway, bind=values.address(bind)))
    except ValueError as error:
        raise ConfigError([f"--bind {error}"]) from None


def with_model(config: Config, model: str | None, *, demo: bool) -> Config:
    """The configuration with the embedded model of `--model` or `--demo` as the default provider.

    Raises ConfigError.
    """
    if model is None and not demo:
        return config
    try:
        local = replace(config.chatd.local, model=values.path(model or ""), demo=demo)
    except ValueError as error:
        raise ConfigError([f"--model {error}"]) from None
    return replace(config, chatd=replace(config.chatd, local=local, default="local"))
