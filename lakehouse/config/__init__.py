"""The configuration: its tables (`tables`), the readers of their values (`values`), and the file (`loader`)."""

from lakehouse.config.loader import ConfigError, Loaded, find_file, load_config, parse_config
from lakehouse.config.tables import (
    AuthTable,
    ChatTable,
    Config,
    GatewayTable,
    KimiTable,
    LocalTable,
    ObserveTable,
    OllamaCloudTable,
    OpenCodeTable,
    OpenRouterTable,
    PolicyTable,
    ProviderTable,
    ServerTable,
)
from lakehouse.config.values import Address

__all__ = [
    "Address",
    "AuthTable",
    "ChatTable",
    "Config",
    "ConfigError",
    "GatewayTable",
    "KimiTable",
    "Loaded",
    "LocalTable",
    "ObserveTable",
    "OllamaCloudTable",
    "OpenCodeTable",
    "OpenRouterTable",
    "PolicyTable",
    "ProviderTable",
    "ServerTable",
    "find_file",
    "load_config",
    "parse_config",
]
