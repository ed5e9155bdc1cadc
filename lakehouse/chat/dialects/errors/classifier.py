"""Classifies the errors of upstreams.

The HTTP status alone misleads: an unpaid bill comes as 401, a quota as 403, a client error as 500, an error as 200. So
the body is read first, whatever its content type, and the first of these that decides holds:

    1. the error object inside the body, and its message   `error_body.parse_error_body`
    2. a machine-readable type with one meaning            `rules.TYPES`
    3. a known text in the message                         `rules.RULES`
    4. a machine-readable type with several meanings       `rules.AMBIGUOUS_TYPES`
    5. the HTTP status                                     `rules.classify_status`
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from lakehouse.chat.dialects.errors import rules
from lakehouse.chat.dialects.errors.error_body import parse_error_body
from lakehouse.chat.dialects.errors.redaction import redact_and_truncate
from lakehouse.chat.dialects.errors.retry_after import parse_retry_after
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string, encode_json
from lakehouse.core.errors import LakehouseError, UpstreamReport
from lakehouse.core.failure_classes import ErrorClass
from lakehouse.core.provider_failures import make_failure

MAX_RATE_LIMIT_WAIT = 300.0
"""Seconds. A longer rate limit is a quota in effect: OpenCode's can last for days, which no request can wait for. Well
above a minute, the window of real rate limits, to allow for clock differences."""


class Classification(NamedTuple):
    """The meaning of an error. `retryable` None: the default of the class. `advice` is added to the message."""

    error_class: ErrorClass
    retryable: bool | None = None
    advice: str = ""


def classify(
    status: int,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    provider: str,
    secrets: Iterable[str] = (),
    now: float | None = None,
) -> LakehouseError:
    """Return the error that an upstream's response means.

    `status` 200 stands for an error inside an answer or a stream. The message quotes at most 300 characters of the
    upstream, without `secrets` and anything that looks like a key. `retry_after` is in seconds from `now`, a unix time
    (default: the current time).
    """
    message, described = parse_error_body(body)
    lower_headers = {name.lower(): value for name, value in headers}
    wait = parse_retry_after(lower_headers, described, now=time.time() if now is None else now)
    found = _classify_content(status, message, described, provider)
    if found.error_class == "rate_limit" and wait is not None and wait > MAX_RATE_LIMIT_WAIT:
        found = Classification("quota")
    excerpt = redact_and_truncate(message, secrets=secrets)
    error = make_failure(
        found.error_class,
        _format_message(provider, status, excerpt, lower_headers, found.advice),
        provider=provider,
        upstream_status=status,
        retryable=found.retryable,
        retry_after=wait,
    )
    error.upstream = UpstreamReport(message=excerpt, body=body)
    return error


def classify_error_object(document: JsonObject, *, provider: str) -> LakehouseError:
    """Return the error that an error object inside an answer with status 200 means."""
    return classify(200, (), encode_json(document).encode(), provider=provider)


def _classify_content(status: int, message: str, error: JsonObject, provider: str) -> Classification:
    types = _find_types(error)
    availability = as_object(error.get("availability")).get("retryable")
    retryable = availability if isinstance(availability, bool) else None
    if (error_class := _classify_metadata(as_object(error.get("metadata")))) is not None:
        return Classification(error_class, retryable)
    for name in types:
        if name in rules.TYPES:
            return Classification(rules.TYPES[name], retryable)
    for rule in rules.RULES:
        if rule.provider in ("", provider) and rule.pattern.search(message):
            return Classification(rule.error_class, rule.retryable if retryable is None else retryable, rule.advice)
    for name in types:
        if name in rules.AMBIGUOUS_TYPES:
            return Classification(rules.AMBIGUOUS_TYPES[name], retryable)
    if 300 <= status < 400:
        return Classification("upstream_error", False, "redirects are not followed: is the base URL right?")
    if status == 404 and message.lstrip().startswith("<"):
        return Classification("wrong_endpoint", retryable, "a page instead of an error: is the base URL right?")
    return Classification(rules.classify_status(_find_status(status, error)), retryable)


def _find_types(error: JsonObject) -> list[str]:
    """Return the machine-readable types of an error, the most specific first."""
    metadata, availability = as_object(error.get("metadata")), as_object(error.get("availability"))
    found = (
        metadata.get("limit_source"),
        metadata.get("error_type"),
        error.get("error_type"),
        availability.get("code"),
        error.get("type"),
        error.get("code"),
    )
    return [name for name in map(as_string, found) if name]


def _classify_metadata(metadata: JsonObject) -> ErrorClass | None:
    """Classify OpenRouter's 403s without a type: moderation lists its reasons, a guardrail of the account its
    patterns."""
    if metadata.get("reasons") or metadata.get("flagged_input"):
        return "content_policy"
    return "forbidden" if metadata.get("patterns") else None


def _find_status(status: int, error: JsonObject) -> int:
    """Return the HTTP status, or the status inside the error object if the HTTP status is a success."""
    if status >= 300:
        return status
    numbers = (error.get(name) for name in ("code", "http_status", "StatusCode", "status_code", "status"))
    return next((number for number in numbers if isinstance(number, int) and 400 <= number < 600), status)


def _format_message(provider: str, status: int, excerpt: str, headers: Mapping[str, str], advice: str) -> str:
    subject = f"{provider} answered {status}" if status >= 300 else f"{provider} reported an error"
    if 300 <= status < 400:
        excerpt = f"a redirect to {redact_and_truncate(headers['location'])}" if "location" in headers else "a redirect"
    empty = "with an empty body" if status >= 300 else "without a word"
    sentence = f"{subject}: {excerpt}" if excerpt else f"{subject} {empty}"
    return f"{sentence} ({advice})" if advice else sentence
