"""Signed and encrypted reasoning of a provider of another form, as one opaque string.

A form has one field that only the provider reads: a `signature`, or `encrypted_content`. For an answer of a provider of
another form, that field carries the entries of `reasoning_details`. The client sends it back with the conversation, and
the provider gets its entries back unchanged.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2s

import msgspec

from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.raw_request import ENVELOPE_PREFIX as PREFIX

DIGEST_SIZE = 8
"""Bytes. The digest finds strings that were cut or changed on their way."""

_decode_entries = msgspec.json.Decoder(list[JsonObject]).decode


def encode_details(entries: Sequence[JsonObject]) -> str:
    """Return the entries as a string of ASCII characters."""
    data = msgspec.json.encode(entries)
    return PREFIX + base64.urlsafe_b64encode(_digest(data) + data).decode()


def is_envelope(text: object) -> bool:
    """Return whether a string was made by `encode_details`, even if it was changed since."""
    return isinstance(text, str) and text.startswith(PREFIX)


def decode_details(text: str) -> list[JsonObject] | None:
    """Return the entries of an envelope, none of one that was changed. None: the string is no envelope."""
    if not is_envelope(text):
        return None
    try:
        decoded = base64.b64decode(text.removeprefix(PREFIX), altchars=b"-_", validate=True)
        digest, data = decoded[:DIGEST_SIZE], decoded[DIGEST_SIZE:]
        return _decode_entries(data) if digest == _digest(data) else []
    except (binascii.Error, ValueError, RecursionError):
        return []


def _digest(data: bytes) -> bytes:
    return blake2s(data, digest_size=DIGEST_SIZE).digest()
