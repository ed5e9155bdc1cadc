"""The failures that a client is told about: one class for each status, one JSON document for all.

    LakehouseError
    ├── ErrBadRequest            400   the request is malformed, or a provider rejects it as the client's mistake
    ├── ErrSessionStopped        400   the session of the request has been stopped; a status that clients do not retry
    ├── ErrUnauthorized          401   no bearer token, or an unknown one
    ├── ErrForbidden             403   the network or the web page may not connect, or the operation is not permitted
    ├── ErrNotFound              404   nothing is served at the path, or what it names does not exist
    ├── ErrProviderNotFound      404   the model's name leads to a provider that is not registered
    ├── ErrMethodNotAllowed      405   the path does not take the method
    ├── ErrConflict              409   the request contradicts the present state of what it is about
    ├── ErrPreconditionFailed    412   a condition of the request (If-Match and its family) does not hold
    ├── ErrTooLarge              413   the body is over its limit
    ├── ErrUnsupportedMediaType  415   the body has a media type that the path does not take
    ├── ErrRangeNotSatisfiable   416   the requested range lies outside of the content
    ├── ErrUnprocessable         422   the body is well-formed, and what it asks for cannot be done
    ├── ErrRateLimited           429   a provider's rate limit or quota
    ├── ErrNotImplemented        501   the request is valid, and this service does not implement it
    ├── ErrNotInstalled          501   the request needs optional packages that are not installed
    ├── ErrUpstream              502   any other failure of an upstream, its 401 and its unpaid bill included
    ├── ErrUnavailable           503   draining, every circuit open, a queue full, or no embedded model
    ├── ErrTimeout               504   a deadline of this service or of the upstream has passed
    └── ErrInsufficientStorage   507   the disk is full, or a quota on it is used up

What a provider's failure means is a class of `failure_classes`; `provider_failures` maps it to one of these.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec

from lakehouse.core.failure_classes import ErrorClass


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one route, as every answer and error lists it.

    `status` is the provider's HTTP status, None when no response arrived; `error` is a failure class, None for the
    attempt that answered; `ms` is how long the attempt took, in milliseconds.
    """

    provider: str
    model: str
    status: int | None = None
    error: ErrorClass | None = None
    ms: float = 0.0


class UpstreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream said about a failure, without secrets, for clients that speak its form.

    `message` is an excerpt of its words, `body` its JSON object, empty if it sent none that can be shown. `form` is the
    name of its form, None while the secrets have not been removed from `body`.
    """

    message: str
    body: bytes
    form: str | None = None


class LakehouseError(Exception):
    """A failure with a code, a status, and a sentence for the person who reads it.

    The message is shown to clients and must not contain a secret. `retry_after` is in seconds and becomes a
    `Retry-After` header. `error_class` is None when the failure is about this service or about the request itself;
    `field` is then the path of the field at fault (`messages[0].role`), if there is one. `details` is a JSON object for
    programs, which the document has only if it is given. `upstream` is what an upstream said, if one did.
    `unreached`: no connection to an upstream could be made, so nothing of the request has been sent.
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
        details: Mapping[str, object] | None = None,
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
        self.details = details
        self.upstream: UpstreamReport | None = None
        self.unreached = isinstance(self, ErrUnreached)

    def document(self, request_id: str | None = None) -> dict[str, object]:
        """The JSON body of the response."""
        error: dict[str, object] = {
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
        if self.details is not None:
            error["details"] = dict(self.details)
        return {"error": error}

    def headers(self) -> list[tuple[str, str]]:
        """The headers of the response that belong to the failure; `Retry-After` in whole seconds, rounded up."""
        if self.retry_after is None:
            return []
        return [("retry-after", str(max(0, math.ceil(self.retry_after))))]


class ErrBadRequest(LakehouseError):
    """The request is malformed, or a provider rejects it as the client's mistake."""

    code = "ErrBadRequest"
    status = 400


class ErrSessionStopped(LakehouseError):
    """The session that the request belongs to has been stopped, by DELETE or by one of its limits.

    The status is 400 because clients retry most others: Codex each one but this, OpenAI's and Anthropic's SDKs 408,
    409, 429 and 5xx.
    """

    code = "ErrSessionStopped"
    status = 400


class ErrUnauthorized(LakehouseError):
    """The bearer token is missing or unknown."""

    code = "ErrUnauthorized"
    status = 401

    def headers(self) -> list[tuple[str, str]]:
        """The headers of the response, with the challenge that a 401 must carry (RFC 9110, 11.6.1)."""
        return [*super().headers(), ("www-authenticate", "Bearer")]


class ErrForbidden(LakehouseError):
    """The client's network or the web page may not connect, or the operation is not permitted."""

    code = "ErrForbidden"
    status = 403


class ErrNotFound(LakehouseError):
    """Nothing is served at this path, or what it names does not exist: a table, a snapshot, an object."""

    code = "ErrNotFound"
    status = 404


class ErrProviderNotFound(LakehouseError):
    """The model's name leads to a provider that is not registered."""

    code = "ErrProviderNotFound"
    status = 404


class ErrMethodNotAllowed(LakehouseError):
    """The path does not take the method; `allowed` are the methods that it takes."""

    code = "ErrMethodNotAllowed"
    status = 405

    def __init__(self, message: str, *, allowed: Iterable[str], details: Mapping[str, object] | None = None) -> None:
        super().__init__(message, details=details)
        self.allowed = tuple(sorted(allowed))

    def headers(self) -> list[tuple[str, str]]:
        """The headers of the response, with the methods that the path takes (RFC 9110, 15.5.6)."""
        return [*super().headers(), ("allow", ", ".join(self.allowed))]


class ErrConflict(LakehouseError):
    """The request contradicts the present state of what it is about, such as a name that is taken."""

    code = "ErrConflict"
    status = 409


class ErrPreconditionFailed(LakehouseError):
    """A condition of the request (`If-Match`, `If-None-Match`, `If-Unmodified-Since`) does not hold."""

    code = "ErrPreconditionFailed"
    status = 412


class ErrTooLarge(LakehouseError):
    """The body is over its limit."""

    code = "ErrTooLarge"
    status = 413


class ErrUnsupportedMediaType(LakehouseError):
    """The body has a media type that the path does not take; `accepted` are the types that it takes."""

    code = "ErrUnsupportedMediaType"
    status = 415

    def __init__(
        self, message: str, *, accepted: Iterable[str] = (), details: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.accepted = tuple(accepted)

    def headers(self) -> list[tuple[str, str]]:
        """The headers of the response, with the media types that the path takes (RFC 9110, 15.5.16)."""
        return [*super().headers(), *([("accept", ", ".join(self.accepted))] if self.accepted else [])]


class ErrRangeNotSatisfiable(LakehouseError):
    """The requested range lies outside of the content, which is `size` bytes long."""

    code = "ErrRangeNotSatisfiable"
    status = 416

    def __init__(self, message: str, *, size: int, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message, details=details)
        self.size = size

    def headers(self) -> list[tuple[str, str]]:
        """The headers of the response, with the size of the content (RFC 9110, 15.5.17)."""
        return [*super().headers(), ("content-range", f"bytes */{self.size}")]


class ErrUnprocessable(LakehouseError):
    """The body is well-formed, and what it asks for cannot be done: an SQL statement that does not compile."""

    code = "ErrUnprocessable"
    status = 422


class ErrRateLimited(LakehouseError):
    """The rate limit or the quota of a provider is used up."""

    code = "ErrRateLimited"
    status = 429


class ErrNotImplemented(LakehouseError):
    """The request is valid, and this service does not implement it."""

    code = "ErrNotImplemented"
    status = 501


class ErrNotInstalled(LakehouseError):
    """The request needs optional packages that are not installed; the message has the command that installs them."""

    code = "ErrNotInstalled"
    status = 501


class ErrUpstream(LakehouseError):
    """An upstream failed, refused the request, or answered with a response that is empty, cut off or not understood."""

    code = "ErrUpstream"
    status = 502


class ErrUnreached(ErrUpstream):
    """No connection to the upstream could be made, so nothing of the request has been sent."""


class ErrUnavailable(LakehouseError):
    """The service is draining, every circuit is open, an upstream's queue is full, or no embedded model is there."""

    code = "ErrUnavailable"
    status = 503


class ErrTimeout(LakehouseError):
    """A deadline passed: the client's, the service's or the upstream's. The message names which."""

    code = "ErrTimeout"
    status = 504


class ErrInsufficientStorage(LakehouseError):
    """The disk is full, or a quota on it is used up; see `is_disk_full`."""

    code = "ErrInsufficientStorage"
    status = 507


SQLITE_FULL = 13  # sqlite3.h


def is_disk_full(error: Exception) -> bool:
    """Whether a write failed for want of space: a full disk, a quota, or a limit on the size of files.

    `error` is one of the operating system, of `sqlite3`, or of SQLAlchemy, whose `orig` is the one of `sqlite3`.
    """
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(getattr(error, "orig", error), "sqlite_errorcode", None) == SQLITE_FULL
