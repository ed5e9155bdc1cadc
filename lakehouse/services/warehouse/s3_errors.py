"""What S3 refused, as errors of the service. The texts have the code of S3 and no secret."""

from __future__ import annotations

from lakehouse.core.errors import ErrPreconditionFailed, ErrUnavailable, ErrUpstream, LakehouseError
from lakehouse.services.warehouse.documents import parse_error

NAME = "the object storage"

_CREDENTIALS = frozenset(
    (
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    )
)
RETRY_AFTER = 2.0


def is_busy(status: int) -> bool:
    """Whether the server has turned the request away, which has changed nothing and may succeed in a moment."""
    return status in (429, 503)


def is_passing(status: int) -> bool:
    """Whether the same request may succeed in a moment. Unless `is_busy`, the one that failed may have been done."""
    return is_busy(status) or status in (500, 502, 504)


def is_unused(status: int, body: bytes) -> bool:
    """Whether a key has no object. Without a body, as after HEAD, a bucket that is missing cannot be told from that."""
    return status == 404 and parse_error(body)[0] != "NoSuchBucket"


def make_failure(status: int, body: bytes, *, bucket: str) -> LakehouseError:
    """The error for a response that is no success."""
    code, message = parse_error(body)
    what = code or f"status {status}"
    if status == 412 or code == "PreconditionFailed":
        return ErrPreconditionFailed("the object has another version than the request names")
    if status == 409:
        return ErrPreconditionFailed("another request writes the same object at this moment")
    if is_passing(status):
        state = "is busy or not ready" if is_busy(status) else "failed, and a change may have been made nevertheless"
        return ErrUnavailable(
            f"{NAME} {state} ({what})", retryable=True, retry_after=RETRY_AFTER, upstream_status=status
        )
    if status in (401, 403) or code in _CREDENTIALS:
        why = "the keys have expired" if code in ("ExpiredToken", "TokenRefreshRequired") else "the keys are refused"
        return ErrUpstream(
            f"{NAME} denies access to the bucket {bucket!r}: {why} ({what}); see lake.key_file",
            provider=NAME,
            upstream_status=status,
        )
    if 300 <= status < 400:
        return ErrUpstream(
            f"{NAME} has the bucket {bucket!r} in another region or at another URL ({what}): see lake.region and"
            " lake.endpoint",
            provider=NAME,
            upstream_status=status,
        )
    if code == "NoSuchBucket":
        return ErrUpstream(f"{NAME} has no bucket {bucket!r} (lake.warehouse)", provider=NAME, upstream_status=status)
    detail = f": {message[:200]}" if message else ""
    return ErrUpstream(f"{NAME} refused a request ({what}){detail}", provider=NAME, upstream_status=status)
