"""What can go wrong, in the words of the contract.

Every failure that a caller can see is one of these, and the service's JSON is made from it in one place
(`LakehouseError.document`).

    LakehouseError
    ├── ErrBadRequest         400   the request itself, or what a provider refused as the caller's mistake
    ├── ErrUnauthorized       401   our own door: no token, or not one of ours
    ├── ErrForbidden          403   our own door: a network that may not connect
    ├── ErrNotFound           404   no such path
    ├── ErrMethodNotAllowed   405   this path does not take this method
    ├── ErrProviderNotFound   404   a provider is named that is not registered
    ├── ErrTooLarge           413   the body is over its limit
    ├── ErrRateLimited        429   the provider's rate limit or quota
    ├── ErrUpstream           502   any other failure of an upstream, its 401 and its unpaid bill included
    ├── ErrUnavailable        503   draining, every circuit open, our own queue full, or no embedded model
    └── ErrTimeout            504   our deadline, or the upstream's
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import msgspec

from lakehouse.core.failure_classes import ErrorClass


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one route: part of the trail that every answer and error carries.

    `status` is the upstream's HTTP status, or None when no head arrived; `error` is a class, or None for the attempt
    that answered; `ms` is how long it took, in milliseconds.
    """

    provider: str
    model: str
    status: int | None = None
    error: ErrorClass | None = None
    ms: float = 0.0


class LakehouseError(Exception):
    """A failure with a code, a status, and a sentence for the person who reads it.

    `retry_after` is in seconds and becomes a `Retry-After` header. `error_class` is None when the failure is about our
    own door or the request itself; `field` is then the path of what is wrong in it (`messages[0].role`), if one is.
    The message must be fit to be shown: no secret ever goes into it.
    """

    code: ClassVar[str] = "ErrInternal"
    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        upstream_status: int | None = None,
        error_class: ErrorClass | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        attempts: tuple[Attempt, ...] = (),
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.upstream_status = upstream_status
        self.error_class = error_class
        self.retryable = retryable
        self.retry_after = retry_after
        self.attempts = attempts
        self.field = field

    def document(self, request_id: str | None = None) -> dict[str, object]:
        """The JSON body that the service answers with."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "status": self.status,
                "provider": self.provider,
                "upstream_status": self.upstream_status,
                "class": self.error_class,
                "retryable": self.retryable,
                "request_id": request_id,
                "attempts": [msgspec.to_builtins(attempt) for attempt in self.attempts],
            }
        }

    def headers(self) -> list[tuple[str, str]]:
        """Response headers that belong to this failure, `Retry-After` (whole seconds, rounded up) among them."""
        if self.retry_after is None:
            return []
        return [("retry-after", str(max(0, math.ceil(self.retry_after))))]


class ErrBadRequest(LakehouseError):
    """The request is wrong, here or in the eyes of the provider."""

    code = "ErrBadRequest"
    status = 400


class ErrUnauthorized(LakehouseError):
    """Our own door: the bearer token is missing or is not one of ours."""

    code = "ErrUnauthorized"
    status = 401

    def headers(self) -> list[tuple[str, str]]:
        """The challenge that a 401 must carry (RFC 9110, 11.6.1)."""
        return [*super().headers(), ("www-authenticate", "Bearer")]


class ErrForbidden(LakehouseError):
    """Our own door: this network may not connect."""

    code = "ErrForbidden"
    status = 403


class ErrNotFound(LakehouseError):
    """Nothing is served at this path."""

    code = "ErrNotFound"
    status = 404


class ErrMethodNotAllowed(LakehouseError):
    """This path does not take this method."""

    code = "ErrMethodNotAllowed"
    status = 405

    def __init__(self, message: str, *, allowed: Iterable[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(sorted(allowed))

    def headers(self) -> list[tuple[str, str]]:
        """The methods that the path does take (RFC 9110, 15.5.6)."""
        return [*super().headers(), ("allow", ", ".join(self.allowed))]


class ErrProviderNotFound(LakehouseError):
    """The model's name asks for a provider that is not registered."""

    code = "ErrProviderNotFound"
    status = 404


class ErrTooLarge(LakehouseError):
    """The body is over its limit."""

    code = "ErrTooLarge"
    status = 413


class ErrRateLimited(LakehouseError):
    """The provider's rate limit or quota."""

    code = "ErrRateLimited"
    status = 429


class ErrUpstream(LakehouseError):
    """An upstream failed, refused us, or answered something that is empty, cut or not understood."""

    code = "ErrUpstream"
    status = 502


class ErrUnreached(ErrUpstream):
    """No connection to the upstream could be made, so nothing of the request has been sent."""


class ErrUnavailable(LakehouseError):
    """We cannot take this now: draining, every circuit open, the queue for that upstream full, or no embedded model."""

    code = "ErrUnavailable"
    status = 503


class ErrTimeout(LakehouseError):
    """A deadline passed: the caller's, ours or the upstream's. The message names which."""

    code = "ErrTimeout"
    status = 504
