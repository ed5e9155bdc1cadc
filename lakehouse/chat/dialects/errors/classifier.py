"""What an upstream's refusal means.

Its HTTP status alone misleads: an unpaid bill comes as 401, a quota as 403, a caller's mistake as 500, an error as 200.
So the body is read first, whatever its content type says, and four things are asked in this order:

    1. what shape is it, and what does it say        `excerpts.message_of`
    2. which machine-readable type does it carry     `verdicts.TYPES`
    3. which known text is in it                     `verdicts.RULES`, then the types that mean several things
    4. with which HTTP status did it come            `verdicts.by_status`
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from lakehouse.chat.dialects.errors import rules
from lakehouse.chat.dialects.errors.redaction import message_of, redact_and_truncate
from lakehouse.chat.dialects.errors.retry_after import retry_after
from lakehouse.chat.dialects.lenient_json import JsonObject, dump, mapping, string
from lakehouse.core.errors import LakehouseError
from lakehouse.core.failure_classes import ErrorClass
from lakehouse.core.provider_failures import failure

MAX_RATE_LIMIT_WAIT = 300.0
"""Seconds. A rate limit that lasts longer is a quota in all but name: OpenCode's can last for days, and nobody waits in
a request for them. Well above a minute, which is the window of the rate limits proper, whatever the clocks say."""


class Classification(NamedTuple):
    """What a failure is. `retryable` None: what its class says."""

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
    """The failure that an upstream's answer is.

    `status` 200 stands for an error inside an answer or a stream. The message has at most 300 characters of what the
    upstream said, without `secrets` and whatever looks like one. `retry_after` is in seconds from `now`, a unix time.
    """
    said, error = message_of(body)
    lowered = {name.lower(): value for name, value in headers}
    wait = retry_after(lowered, error, now=time.time() if now is None else now)
    verdict = _judge(status, said, error, provider)
    if verdict.error_class == "rate_limit" and wait is not None and wait > MAX_RATE_LIMIT_WAIT:
        verdict = Classification("quota")
    return failure(
        verdict.error_class,
        _sentence(provider, status, redact_and_truncate(said, secrets=secrets), lowered, verdict.advice),
        provider=provider,
        upstream_status=status,
        retryable=verdict.retryable,
        retry_after=wait,
    )


def refusal(document: JsonObject, *, provider: str) -> LakehouseError:
    """The failure that an error inside an answer is, which came with status 200."""
    return classify(200, (), dump(document).encode(), provider=provider)


def _judge(status: int, said: str, error: JsonObject, provider: str) -> Classification:
    types = _types(error)
    availability = mapping(error.get("availability")).get("retryable")
    retryable = availability if isinstance(availability, bool) else None
    if (found := _by_metadata(mapping(error.get("metadata")))) is not None:
        return Classification(found, retryable)
    for name in types:
        if name in rules.TYPES:
            return Classification(rules.TYPES[name], retryable)
    for rule in rules.RULES:
        if rule.provider in ("", provider) and rule.pattern.search(said):
            return Classification(rule.error_class, rule.retryable if retryable is None else retryable, rule.advice)
    for name in types:
        if name in rules.VAGUE_TYPES:
            return Classification(rules.VAGUE_TYPES[name], retryable)
    if 300 <= status < 400:
        return Classification("upstream_error", False, "redirects are not followed: is the base URL right?")
    if status == 404 and said.lstrip().startswith("<"):
        return Classification("wrong_endpoint", retryable, "a page instead of an error: is the base URL right?")
    return Classification(rules.by_status(_number(status, error)), retryable)


def _types(error: JsonObject) -> list[str]:
    """The machine-readable types of an error, the most telling ones first."""
    metadata, availability = mapping(error.get("metadata")), mapping(error.get("availability"))
    found = (
        metadata.get("limit_source"),
        metadata.get("error_type"),
        error.get("error_type"),
        availability.get("code"),
        error.get("type"),
        error.get("code"),
    )
    return [name for name in map(string, found) if name]


def _by_metadata(metadata: JsonObject) -> ErrorClass | None:
    """OpenRouter's 403s that carry no type: moderation gives its reasons, a guardrail of the account its patterns."""
    if metadata.get("reasons") or metadata.get("flagged_input"):
        return "content_policy"
    return "forbidden" if metadata.get("patterns") else None


def _number(status: int, error: JsonObject) -> int:
    """The HTTP status, or where that says that all is well, the one that the error carries."""
    if status >= 300:
        return status
    numbers = (error.get(name) for name in ("code", "http_status", "StatusCode", "status_code", "status"))
    return next((number for number in numbers if isinstance(number, int) and 400 <= number < 600), status)


def _sentence(provider: str, status: int, said: str, headers: Mapping[str, str], advice: str) -> str:
    who = f"{provider} answered {status}" if status >= 300 else f"{provider} reported an error"
    if 300 <= status < 400:
        said = f"a redirect to {redact_and_truncate(headers['location'])}" if "location" in headers else "a redirect"
    what = f"{who}: {said}" if said else f"{who} with an empty body" if status >= 300 else f"{who} without a word"
    return f"{what} ({advice})" if advice else what
