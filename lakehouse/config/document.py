"""A `Config` as a JSON document and back: how it is handed to another process of ours.

The document has the form of the TOML that the configuration is read from, without what is at its default, and is read
in the same way. A URL with credentials is an object of its parts, for its text does not hold them.
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
    """The document as bytes. It holds the credentials of URLs: for a pipe to a child of ours, never for a log."""
    return msgspec.json.encode(_table(config))


def decode_config(data: bytes) -> Config:
    """And back. Raises msgspec.DecodeError, or ConfigError for what no configuration can say."""
    document = _restore(msgspec.json.decode(data, type=dict[str, object]))
    assert isinstance(document, dict)  # noqa: S101 - an object stays one
    return parse_config(document)[0]


def _document(value: object) -> object:
    if isinstance(value, BaseURL) and value.authorization:
        return {"url": str(value), "authorization": value.authorization, "secrets": value.secrets}
    if isinstance(value, Address | IPv4Network | IPv6Network | BaseURL):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _document(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_document(item) for item in value]
    return value


def _table(table: DataclassInstance) -> dict[str, object]:
    """A table without the keys that are at their defaults, and without the tables that are empty then."""
    defaults = type(table)()
    document: dict[str, object] = {}
    for field in fields(table):
        value = getattr(table, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            if rest := _table(value):
                document[field.name] = rest
        elif value != getattr(defaults, field.name) or (isinstance(value, BaseURL) and value.authorization):
            document[field.name] = _document(value)  # credentials are no part of a URL's text
    return document


def _restore(value: object) -> object:
    if isinstance(value, dict):
        if set(value) == _URL_PARTS:
            return BaseURL(value["url"], value["authorization"], tuple(value["secrets"]))
        return {key: _restore(item) for key, item in value.items()}
    return value
