"""Encodes a `Config` as JSON, for another process of the service, and decodes it there.

The document has the structure of the TOML file, without the values that are at their defaults, and is read by the same
code. A URL with credentials is encoded as an object of its parts, because its text does not contain them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

import msgspec

from lakehouse.config.loader import parse_config
from lakehouse.config.tables import Config
from lakehouse.config.urls import BaseURL
from lakehouse.config.values import Address

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_URL_PARTS = {"url", "authorization", "secrets"}


def encode_config(config: Config) -> bytes:
    """Encode a configuration.

    The bytes contain the credentials of URLs: for a pipe to a child process, never for a log.
    """
    return msgspec.json.encode(_table(config))


def decode_config(data: bytes) -> Config:
    """Decode a configuration. Raises msgspec.DecodeError, or ConfigError for invalid values."""
    document = _restore(msgspec.json.decode(data, type=dict[str, object]))
    assert isinstance(document, dict)  # noqa: S101 - an object is restored as an object
    return parse_config(document).config


def encode_value(value: object) -> object:
    """A value as the document has it, of types of JSON, with the credentials of URLs."""
    if isinstance(value, BaseURL) and value.authorization:
        return {"url": str(value), "authorization": value.authorization, "secrets": value.secrets}
    if isinstance(value, Address | IPv4Network | IPv6Network | BaseURL):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _table(value)
    if isinstance(value, Mapping):
        return {key: encode_value(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [encode_value(item) for item in value]
    return value


def _table(table: DataclassInstance) -> dict[str, object]:
    """A table without the values that are at their defaults, and without the inner tables that become empty by that."""
    defaults = type(table)()
    document: dict[str, object] = {}
    for field in fields(table):
        value = getattr(table, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            if rest := _table(value):
                document[field.name] = rest
        elif value != getattr(defaults, field.name) or (isinstance(value, BaseURL) and value.authorization):
            document[field.name] = encode_value(value)  # the text of a URL does not contain its credentials
    return document


def _restore(value: object) -> object:
    if isinstance(value, dict):
        if set(value) == _URL_PARTS:
            return BaseURL(value["url"], value["authorization"], tuple(value["secrets"]))
        return {key: _restore(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restore(item) for item in value]
    return value
