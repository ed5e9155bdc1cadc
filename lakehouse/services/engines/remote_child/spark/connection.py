"""A connection to a server of Spark Connect."""

from __future__ import annotations

import re
from dataclasses import dataclass

import grpc

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.query_messages import UNREACHABLE
from lakehouse.services.engines.remote_child.loopback import is_loopback

CONNECT_TIMEOUT = 5.0
"""Seconds in which a connection has to be established."""
MAX_MESSAGE = 128 * 1024 * 1024
"""Bytes of one message: a batch of rows has 4 MiB, or one row that is larger."""
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel connects at once, whatever another one has met
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_TIMEOUT * 1000)),  # this is also how long connecting may take
    ("grpc.max_reconnect_backoff_ms", int(CONNECT_TIMEOUT * 1000)),
)
_URL = re.compile(r"sc://(?P<host>\[[0-9a-fA-F:]+\]|[^/:;?#]+)(:(?P<port>\d+))?/?(;use_ssl=(?P<ssl>true|false))?/?")
_DEFAULT_PORT = "15002"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, as gRPC writes it, and whether the connection is encrypted."""

    target: str
    encrypted: bool


def read_address(url: str, *, token: bool) -> Address:
    """Read `sc://host:port/;use_ssl=true`. A `token` leaves this machine over TLS only. Raises CallError."""
    found = _URL.fullmatch(url)
    if found is None:
        raise CallError(UNREACHABLE, "queryd.spark.url must be sc://host:port, with /;use_ssl=true for TLS")
    host, encrypted = found["host"], found["ssl"] == "true"
    if token and not encrypted and not is_loopback(host):
        raise CallError(
            UNREACHABLE,
            "SPARK_TOKEN is not sent without TLS to another machine: add /;use_ssl=true to queryd.spark.url",
        )
    return Address(f"{host}:{found['port'] or _DEFAULT_PORT}", encrypted)


def open_channel(address: Address) -> grpc.Channel:
    """Make a channel, which connects with the first call."""
    if address.encrypted:
        return grpc.secure_channel(address.target, grpc.ssl_channel_credentials(), options=_OPTIONS)
    return grpc.insecure_channel(address.target, options=_OPTIONS)
