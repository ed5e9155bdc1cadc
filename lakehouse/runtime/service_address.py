"""Where the service of a configuration is found."""

from __future__ import annotations

from lakehouse.config import Address, Config


def service_address(config: Config) -> str:
    """The URL of the service that this configuration starts, for a client on the same machine."""
    host, port = config.gateway.bind
    here = Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - what it listens on
    return f"{'https' if config.server.certfile else 'http'}://{here}"
