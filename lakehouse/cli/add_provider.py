"""The work of `lakehouse providers add`: asks an endpoint what it speaks, and prints the lines that declare it.

The lines are on standard output, what was asked is on standard error. Nothing is changed: the operator adds the lines
to the configuration, so that the wire is declared from then on. Exit status 0 with lines, 1 if nothing is spoken.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib

import trio

from lakehouse.chat.dispatch.open_dispatcher import find_proxies
from lakehouse.chat.providers.keys import find_key
from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.discovery.endpoint_client import EndpointClient
from lakehouse.cli.discovery.provider_lines import choose_name, write_provider
from lakehouse.cli.discovery.wires import DiscoveredProvider, discover, split_base_url
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.cli.style import escape_control_chars
from lakehouse.config import Config, ConfigError, list_entries, parse_config, values
from lakehouse.config.provider_entries import BUILT_IN, LOCAL
from lakehouse.config.provider_values import is_provider_name, key_variables
from lakehouse.config.ready_providers import load_ready_providers
from lakehouse.upstream.pool import Upstream


def run(arguments: argparse.Namespace) -> int:
    """Ask the endpoint and print the lines. Raises ConfigError for invalid arguments."""
    config = load_configuration(arguments).config
    url = _read_url(arguments.url)
    key_env, key = _find_key(arguments.key_env)
    origin, path = split_base_url(url)
    if name := _find_ready(origin + path):
        variable = (load_ready_providers()[name].key_env or ("",))[0]
        write_diagnostic(f"{name} is there by default, with its key in ${variable}: see docs/providers.md")
    name = _check_name(arguments.name, config) or choose_name(
        url, {*list_entries(config), *load_ready_providers(), LOCAL}
    )
    found = trio.run(_discover, config, origin, path, key)
    if not found.wires:
        _explain_nothing(found, key_env)
        return 1
    lines = write_provider(name, found, key_env=key_env)
    parse_config(tomllib.loads(lines))  # a line that the configuration refuses must not be printed
    write_output(escape_control_chars(lines, sys.stdout), end="")
    models = f"{len(found.models)} models" if len(found.models) != 1 else "one model"
    write_diagnostic(f"{name} speaks {', '.join(found.wires)} and lists {models}: add these lines to the configuration")
    return 0


def _read_url(text: str) -> str:
    try:
        url = values.url(text)
    except ValueError as error:
        raise ConfigError([f"URL {error}"]) from None
    if url.authorization:
        raise ConfigError(["URL must be given without a user and a password"])
    return url


def _find_key(variable: str | None) -> tuple[str, str]:
    """The name of the variable with the key, and the key. Raises ConfigError if there is none in it."""
    if variable is None:
        return "", ""
    try:
        key_variables(variable)
    except ValueError as error:
        raise ConfigError([f"--key-env {error}"]) from None
    found = find_key(key_env=variable, key_file="", env=os.environ)
    if found.key is None:
        raise ConfigError([found.warning or f"--key-env {variable} is not set"])
    return variable, found.key.value


def _check_name(name: str | None, config: Config) -> str | None:
    if name is not None and not is_provider_name(name):
        raise ConfigError(
            [f"--name must be of lower-case letters, digits, `.`, `_` and `-` (got {values.quoted(name)})"]
        )
    if name is not None and (name in (*BUILT_IN, LOCAL) or name in config.providers):
        raise ConfigError([f"--name {name} is the name of a provider already"])
    return name


def _find_ready(url: str) -> str:
    return next((name for name, entry in load_ready_providers().items() if url in entry.base_url), "")


async def _discover(config: Config, origin: str, path: str, key: str) -> DiscoveredProvider:
    proxies = find_proxies(config.chatd, os.environ)
    pool = Upstream(origin, name=origin, max_connections=1, proxy=None if proxies is None else proxies.find(origin))
    try:
        return await discover(EndpointClient(pool, key, write_diagnostic), origin, path)
    finally:
        pool.close()


def _explain_nothing(found: DiscoveredProvider, key_env: str) -> None:
    if found.refused and key_env:
        write_diagnostic(f"the endpoint refuses the key in ${key_env}")
    elif found.refused:
        write_diagnostic("the endpoint refuses requests without a key: name the variable with it, --key-env NAME")
    else:
        write_diagnostic("the endpoint answers none of chat_completions, responses, messages and ollama")
