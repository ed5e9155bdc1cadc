"""From arguments to a configuration: the file, what the command line overrides, and warnings on standard error."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from lakehouse.config import Config, ConfigError, Loaded, load_config, values


def settings(arguments: argparse.Namespace) -> Loaded:
    """The configuration that this command line asks for. Raises ConfigError."""
    loaded = load_config(arguments.config)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return loaded


def with_bind(config: Config, bind: str | None) -> Config:
    """`--bind` in the place of `[gateway] bind`."""
    if bind is None:
        return config
    try:
        return replace(config, gateway=replace(config.gateway, bind=values.address(bind)))
    except ValueError as error:
        raise ConfigError([f"--bind {error}"]) from None


def with_model(config: Config, model: str | None, *, demo: bool) -> Config:
    """`--model` or `--demo`: the embedded model, which becomes the provider of bare names."""
    if model is None and not demo:
        return config
    try:
        local = replace(config.chatd.local, model=values.path(model or ""), demo=demo)
    except ValueError as error:
        raise ConfigError([f"--model {error}"]) from None
    return replace(config, chatd=replace(config.chatd, local=local, default="local"))
