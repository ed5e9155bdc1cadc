"""A large file of an embedded service: the service names it in its response, and the gateway sends its bytes.

The bytes then take one way instead of two: from the kernel's memory through the gateway to the client, not through the
services process and its socket before. Proxies know this as X-Sendfile and X-Accel-Redirect.

    gateway -> service   X-Lakehouse-Accept-File: 1
    service -> gateway   the head of the response, Content-Length: 0, X-Lakehouse-File: START-STOP PATH

The gateway offers it to the services process only, removes the offer of a client, and believes no other service. If the
file has been removed by then (the object was replaced), it repeats the request without the offer.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Self
from urllib.parse import quote, unquote

ACCEPT_FILE = b"x-lakehouse-accept-file"
"""The request header of the offer."""

FILE_PART = b"x-lakehouse-file"
"""The response header that names the file."""

MIN_SIZE = 256 * 1024
"""Bytes. A smaller part is sent with its head at less cost."""

_VALUE = re.compile(rb"(\d+)-(\d+) ([!-~]+)")


class FilePart(NamedTuple):
    """The bytes of the file at `path` from `start` to before `stop`."""

    path: str
    start: int
    stop: int

    def encode(self) -> bytes:
        """The value of the response header."""
        return b"%d-%d %b" % (self.start, self.stop, quote(self.path).encode())

    @classmethod
    def parse(cls, value: bytes) -> Self:
        """Read the value of the response header. Raises ValueError."""
        match = _VALUE.fullmatch(value)
        if match is None:
            raise ValueError(f"no part of a file: {value[:100]!r}")
        return cls(unquote(match[3].decode()), int(match[1]), int(match[2]))
