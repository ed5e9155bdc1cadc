"""One upstream as its connections use it: its address, its limits, and its errors."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from typing import Literal

from lakehouse.core.errors import ErrUnreached, LakehouseError
from lakehouse.core.provider_failures import make_failure
from lakehouse.upstream.address import Address
from lakehouse.upstream.connections.forward_proxy import ForwardProxy, ProxyError

Phase = Literal["connect", "response", "idle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamEndpoint:
    """An upstream's name, address and limits. The limits are seconds, `inf` for none.

    `response_timeout` runs from the moment the request is sent, or from the last piece of its body that the upstream
    took, to the head of the response; it stands still while the caller's next piece is awaited. `idle_timeout` bounds
    the time between two pieces of a body, in either direction.
    """

    name: str
    address: Address
    connect_timeout: float
    response_timeout: float
    idle_timeout: float
    proxy: ForwardProxy | None = None

    def upstream_error(self, what: str, *, status: int | None = None, retryable: bool | None = None) -> LakehouseError:
        """The error for a failure of the upstream; `what` follows its name in the message."""
        return make_failure(
            "upstream_error",
            f"{self.name} {what}",
            provider=self.name,
            upstream_status=status,
            retryable=retryable,
        )

    def incomplete_error(self, what: str, *, status: int) -> LakehouseError:
        """The error for a response whose head arrived and whose body did not arrive whole."""
        return make_failure("incomplete_stream", f"{self.name} {what}", provider=self.name, upstream_status=status)

    def timeout_error(self, phase: Phase, what: str, seconds: float, *, status: int | None = None) -> LakehouseError:
        """The error for a limit that has passed."""
        message = f"{self.name} {what} within {seconds:g} s (its {phase} timeout)"
        error = make_failure("timeout", message, provider=self.name, upstream_status=status)
        error.unreached = phase == "connect"
        return error

    def unreachable_error(self, error: OSError | ValueError) -> LakehouseError:
        """The error for a connection that could not be made."""
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
    """The operating system's text of an error, from under the groups and causes that happy eyeballs puts around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(reason_of(inner) for inner in error.exceptions))
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        return os.strerror(error.errno)  # trio puts an address into `strerror`, which must not leave the service
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
