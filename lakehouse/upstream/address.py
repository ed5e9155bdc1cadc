"""A base URL, taken apart: where an upstream is reached, and what its requests carry of that."""

from __future__ import annotations

from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from lakehouse.config.urls import redact, socket_path


class Address(NamedTuple):
    """The parts of a base URL: `host` is the value of `Host`, `path` has no slash at its end.

    With a `socket_path` the upstream is reached over a Unix socket, and the other fields only serve `Host`.
    """

    scheme: Literal["http", "https"]
    hostname: str
    port: int
    host: bytes
    path: bytes
    socket_path: str = ""


def parse_base_url(base_url: str) -> Address:
    """Take `http(s)://host[:port][/path]` or `unix:/path` apart.

    Raises `ValueError` for anything else; the message holds no password.
    """
    if path := socket_path(base_url):
        return Address("http", "localhost", 80, b"localhost", b"", path)
    try:
        parts = urlsplit(base_url)
        explicit = parts.port
    except ValueError:
        parts, explicit = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{redact(base_url)!r} is not a URL with http:// or https:// and a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{parts.scheme}://{parts.hostname}: a base URL has no user, query or fragment")
    default = 443 if parts.scheme == "https" else 80
    port = explicit or default
    hostname = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    host = f"[{hostname}]" if ":" in hostname else hostname
    if port != default:
        host = f"{host}:{port}"
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return Address(scheme, hostname, port, host.encode(), parts.path.rstrip("/").encode())
