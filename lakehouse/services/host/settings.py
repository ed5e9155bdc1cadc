"""The settings of the services process, which its parent sends to it as JSON."""

from __future__ import annotations

import msgspec

from lakehouse.config import Config
from lakehouse.config.document import decode_config


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration, and the inherited listening socket with its path.

    `reports` is the path of the socket on which the process reports its gauges and phases, `relay` that of the relay to
    providers whose keys the process does not have. `service` is the URL of the service that it belongs to. On `traffic`
    it receives rows of the system tables.
    """

    config: msgspec.Raw
    descriptor: int
    socket: str
    reports: str
    service: str = ""
    relay: str = ""
    traffic: str = ""

    def decode_config(self) -> Config:
        """The configuration. Raises msgspec.DecodeError, ConfigError."""
        return decode_config(bytes(self.config))


def decode_settings(data: bytes) -> HostSettings:
    """Decode the settings. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=HostSettings)
