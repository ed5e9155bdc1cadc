"""The request to the child; its reply is an `ExtractedDocument`. Imports neither trio nor a parser.

A request is a JSON document in one line, and behind it the bytes of the file: the child opens no file.
"""

from __future__ import annotations

import msgspec

from lakehouse.services.contracts.documents import DocumentFormat, PassageSize

UNPROCESSABLE = "unprocessable"
TOO_LARGE = "too large"
BAD_REQUEST = "bad request"
OUT_OF_MEMORY = "out of memory"
NOT_INSTALLED = "not installed"
"""The kinds of failures of a call."""


class ExtractRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is read. `encoding` "" leaves the decision to the file."""

    format: DocumentFormat
    encoding: str
    size: PassageSize
    processor_seconds: int


def encode_request(request: ExtractRequest, content: bytes) -> bytes:
    """The payload of a call."""
    return msgspec.json.encode(request) + b"\n" + content


def decode_request(payload: bytes) -> tuple[ExtractRequest, bytes]:
    """The request of a payload, and the bytes of the file."""
    end = payload.index(b"\n")
    return msgspec.json.decode(payload[:end], type=ExtractRequest), payload[end + 1 :]
