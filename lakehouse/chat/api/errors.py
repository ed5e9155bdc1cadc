"""From what was raised to the one error that a client is sent, and the header by which SDKs retry it."""

from __future__ import annotations

import logging

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string, decode_json
from lakehouse.chat.model.raw_request import ClientForm
from lakehouse.core.errors import (
    ErrForbidden,
    ErrSessionStopped,
    ErrTimeout,
    ErrUnauthorized,
    LakehouseError,
    UpstreamReport,
)
from lakehouse.core.failure_classes import ErrorClass
from lakehouse.core.groups import single_failure

_log = logging.getLogger("lakehouse.chat")


def to_client_error(raised: Exception | BaseExceptionGroup[BaseException]) -> LakehouseError:
    """The error for the client. Any other exception is logged and becomes an internal error.

    A group with an exception that is no `Exception` in it, such as KeyboardInterrupt, is raised again.
    """
    error = single_failure(raised, LakehouseError)
    if error is not None:
        return error
    if not isinstance(raised, Exception):
        raise raised
    _log.error("unhandled exception in a chat request", exc_info=raised)
    return LakehouseError("internal error; the log has it under this request_id")


ABOUT_THE_ACCOUNT: frozenset[ErrorClass | None] = frozenset(
    {"auth", "billing", "entitlement", "client_not_allowed", "forbidden", "missing_header", "wrong_endpoint"}
)
"""Failures between this service and its provider. What the provider says about them would mislead a client: its own
credentials are not meant."""


def find_report(error: LakehouseError, form: ClientForm) -> UpstreamReport | None:
    """What the upstream said, if it speaks the client's form and its words are for the client."""
    report = error.upstream
    if report is None or report.form != form or error.error_class in ABOUT_THE_ACCOUNT:
        return None
    return report


def find_error_object(report: UpstreamReport | None) -> JsonObject:
    """The object `error` of what the upstream said; empty if there is none."""
    if report is None or not report.body:
        return {}
    return as_object(as_object(decode_json(report.body)).get("error"))


def find_message(error: LakehouseError, form: ClientForm) -> str:
    """The message for the client: the upstream's own words if they are for it, without a prefix of this service."""
    report = find_report(error, form)
    if report is None:
        return error.message
    return as_string(find_error_object(report).get("message")) or report.message or error.message


STOPPING = (ErrSessionStopped, ErrUnauthorized, ErrForbidden)
"""Errors of this service's own that the same request gets again."""

PAID: frozenset[ErrorClass | None] = frozenset({"timeout", "empty_response", "incomplete_stream"})
"""Failures after which a provider has worked for the request, and may bill it."""


MAX_RETRY_AFTER = 300.0
"""Seconds. Clients that wait for as long as `Retry-After` says do so without a word: Goose and OpenCode for an hour."""


def make_retry_headers(error: LakehouseError) -> list[tuple[str, str]]:
    """The error's headers, and `x-should-retry: false` for one that a retry cannot repair, or that may have been paid.
    A wait of more than `MAX_RETRY_AFTER` is in no header.

    Without that header the SDKs of OpenAI and Anthropic retry every 429 and 5xx, Claude Code ten times: a spent quota,
    a rejected provider key, and after a deadline a prompt that is paid again each time, when this service has made its
    own retries. A provider that refuses bills nothing, so that clients may wait for it.
    """
    permanent = (error.error_class is not None and not error.retryable) or isinstance(error, STOPPING)
    paid = error.error_class in PAID or isinstance(error, ErrTimeout)
    late = error.retry_after is not None and error.retry_after > MAX_RETRY_AFTER
    headers = [] if late else error.headers()
    return [*headers, ("x-should-retry", "false")] if permanent or paid or late else headers
