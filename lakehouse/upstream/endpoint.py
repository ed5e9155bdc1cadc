"""Who is at the other end, how long we wait for it, and what is said when it fails."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from lakehouse.config.urls import redact, socket_path
from lakehouse.core.errors import ErrUnreached, LakehouseError
from lakehouse.core.provider_failures import failure
from lakehouse.upstream.proxy import Proxy, ProxyError

Phase = Literal["connect", "response", "idle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One upstream as its connections see it. The limits are seconds, `inf` for none.

    With a `socket_path` it is connected to over a Unix socket, and `hostname` and `port` are what `Host` says.

    `response_timeout` runs from the moment the request is sent, or from the last piece of its body that the upstream
    took, to the head of the answer; it stands still while we wait for the caller's next piece. `idle_timeout` is for
    the time between two pieces of a body, either way.
    """

    name: str
    scheme: Literal["http", "https"]
    hostname: str
    port: int
    connect_timeout: float
    response_timeout: float
    idle_timeout: float
    proxy: Proxy | None = None
    socket_path: str = ""

    def upstream_error(self, what: str, *, status: int | None = None, retryable: bool | None = None) -> LakehouseError:
        """It failed us; `what` follows its name in the message."""
        return failure(
            "upstream_error",
            f"{self.name} {what}",
            provider=self.name,
            upstream_status=status,
            retryable=retryable,
        )

    def incomplete_error(self, what: str, *, status: int) -> LakehouseError:
        """The head of its answer arrived and the end of the body did not."""
        return failure("incomplete_stream", f"{self.name} {what}", provider=self.name, upstream_status=status)

    def timeout_error(self, phase: Phase, what: str, seconds: float, *, status: int | None = None) -> LakehouseError:
        """It let one of the limits pass."""
        message = f"{self.name} {what} within {seconds:g} s (its {phase} timeout)"
        return failure("timeout", message, provider=self.name, upstream_status=status)

    def unreachable(self, error: OSError | ValueError) -> LakehouseError:
        """No connection could be made."""
        if isinstance(error, ProxyError):
            return self.upstream_error(f"could not be connected to: {error}", retryable=error.retryable)
        through = "" if self.proxy is None else f" (through the proxy {self.proxy})"
        if isinstance(error, ssl.SSLCertVerificationError):
            why = error.verify_message or str(error)
            return self.upstream_error(f"showed a certificate that is not trusted{through}: {why}", retryable=False)
        if isinstance(error, ssl.SSLError):
            return self.upstream_error(f"could not be spoken to over TLS{through}: {error.reason or error}")
        message = f"{self.name} could not be connected to{through}: {reason_of(error)}"
        return ErrUnreached(message, provider=self.name, error_class="upstream_error", retryable=True)


def reason_of(error: BaseException) -> str:
    """The operating system's words for what happened, from under the wrapping that happy eyeballs puts around them."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(reason_of(inner) for inner in error.exceptions))
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        return os.strerror(error.errno)  # trio puts an address into `strerror`, which is nobody's business outside
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class BaseAddress(NamedTuple):
    """The parts of a base URL: `host` is the value of `Host`, `path` has no slash at its end."""

    scheme: Literal["http", "https"]
    hostname: str
    port: int
    host: bytes
    path: bytes
    socket_path: str = ""


def split_base_url(base_url: str) -> BaseAddress:
    """Raises `ValueError` if it is neither `http(s)://host[:port][/path]` nor `unix:/path`.

    The message holds no password.
    """
    if place := socket_path(base_url):
        return BaseAddress("http", "localhost", 80, b"localhost", b"", place)
    try:
        parts = urlsplit(base_url)
        given = parts.port
    except ValueError:
        parts, given = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{redact(base_url)!r} is not a URL with http:// or https:// and a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{parts.scheme}://{parts.hostname}: a base URL has no user, query or fragment")
    default = 443 if parts.scheme == "https" else 80
    port = given or default
    hostname = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    host = f"[{hostname}]" if ":" in hostname else hostname
    if port != default:
        host = f"{host}:{port}"
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return BaseAddress(scheme, hostname, port, host.encode(), parts.path.rstrip("/").encode())
