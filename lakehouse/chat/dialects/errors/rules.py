"""Tables of upstream error types, texts and statuses, and their error classes.

A type with one meaning decides by itself (`TYPES`). A provider uses other types for several errors, as Kimi does with
`access_terminated_error` for its client check, an exhausted quota and a closed account: such a type decides only if no
text rule matches (`AMBIGUOUS_TYPES`). Sources: ollama/ollama server/, OpenRouter's OpenAPI and error pages, the
OpenCode gateway's code, Kimi Code's error reference, OpenAI's and Anthropic's error pages, llama.cpp's server; live
reports where a bug is named.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lakehouse.core.failure_classes import ErrorClass

TYPES: dict[str, ErrorClass] = {
    # OpenRouter: metadata.limit_source (seen live in September 2026)
    "openrouter_free_tier_per_minute": "rate_limit",
    "openrouter_free_tier_daily": "quota",
    "upstream_provider_shared_pool": "rate_limit",
    # OpenRouter: metadata.error_type
    "context_length_exceeded": "context_overflow",
    "token_limit_exceeded": "context_overflow",
    "payload_too_large": "context_overflow",
    "max_tokens_exceeded": "bad_request",
    "string_too_long": "bad_request",
    "precondition_failed": "bad_request",
    "unprocessable": "bad_request",
    "invalid_image": "bad_request",
    "image_too_large": "bad_request",
    "image_too_small": "bad_request",
    "unsupported_image_format": "bad_request",
    "image_not_found": "bad_request",
    "image_download_failed": "bad_request",
    "authentication": "auth",
    "payment_required": "billing",
    "provider_overloaded": "overloaded",
    "provider_unavailable": "upstream_error",
    "content_policy_violation": "content_policy",
    "refusal": "content_policy",
    "server": "server_error",
    "timeout": "timeout",
    # OpenRouter: error.availability.code
    "model_not_found": "model_not_found",
    "no_endpoints": "model_not_found",
    "model_deprecated": "model_not_found",
    "constraint_filtered": "model_not_found",
    "free_variant_ended": "model_not_found",
    "wrong_endpoint": "wrong_endpoint",
    "model_unavailable_upstream": "upstream_error",
    "privacy_restricted": "forbidden",
    "region_restricted": "forbidden",
    "capacity_exhausted": "overloaded",
    "temporarily_unavailable": "overloaded",
    # OpenCode
    "AuthError": "auth",
    "CreditsError": "billing",
    "MonthlyLimitError": "quota",
    "UserLimitError": "quota",
    "FreeUsageLimitError": "quota",
    "GoUsageLimitError": "quota",
    "BlackUsageLimitError": "quota",
    "RateLimitError": "rate_limit",
    "provider_rate_limit_exceeded": "rate_limit",
    "MissingSessionID": "missing_header",
    "RegionError": "forbidden",
    "DataPolicyError": "forbidden",
    "FreeTierError": "client_not_allowed",
    "EntitlementError": "entitlement",
    # Kimi
    "invalid_authentication_error": "auth",
    "engine_overloaded_error": "overloaded",
    "exceeded_current_quota_error": "quota",
    # OpenAI
    "invalid_api_key": "auth",
    "account_deactivated": "auth",
    "insufficient_quota": "quota",
    "billing_hard_limit_reached": "billing",
    "content_filter": "content_policy",
    "unsupported_parameter": "unsupported_parameter",
    "unsupported_value": "unsupported_parameter",
    # Anthropic
    "authentication_error": "auth",
    "billing_error": "billing",
    "overloaded_error": "overloaded",
    "timeout_error": "timeout",
    "request_too_large": "context_overflow",
    # llama.cpp
    "exceed_context_size_error": "context_overflow",
    "unavailable_error": "overloaded",
    "not_supported_error": "unsupported_parameter",
}

AMBIGUOUS_TYPES: dict[str, ErrorClass] = {
    "access_terminated_error": "forbidden",
    "membership_error": "billing",
    "permission_error": "forbidden",
    "permission_denied": "forbidden",
    "rate_limit_reached_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "ModelError": "model_not_found",
    "not_found": "model_not_found",
    "not_found_error": "model_not_found",
    "resource_not_found_error": "model_not_found",
    "server_error": "server_error",
    "api_error": "server_error",
}


class ErrorRule(NamedTuple):
    """An error class for a message that contains `pattern`. `provider`: for this provider only; `retryable` overrides
    the default of the class; `advice` is added to the error's message."""

    pattern: re.Pattern[str]
    error_class: ErrorClass
    retryable: bool | None = None
    provider: str = ""
    advice: str = ""


def _build_rule(
    pattern: str, error_class: ErrorClass, *, retryable: bool | None = None, provider: str = "", advice: str = ""
) -> ErrorRule:
    return ErrorRule(re.compile(pattern, re.IGNORECASE | re.DOTALL), error_class, retryable, provider, advice)


RULES: tuple[ErrorRule, ...] = (
    # Access and payment. These come first: providers report them under types and statuses of other errors.
    _build_rule(
        r"only available for coding agents",
        "client_not_allowed",
        advice="Kimi's messages form takes every client, its chat completions only those on its list",
    ),
    _build_rule(r"agentic harnesses|can only be used from within", "client_not_allowed"),
    _build_rule(r"requires a subscription", "entitlement"),
    _build_rule(r"unable to verify your membership", "billing", retryable=True),  # documented as mostly temporary
    _build_rule(r"usage limit|free-models-per-day|key limit exceeded|exceeded your (current )?quota", "quota"),
    # The balance of OpenCode's own account at its upstream, not the caller's (opencode#27593).
    _build_rule(r"insufficient balance", "upstream_error", retryable=True, provider="opencode"),
    _build_rule(
        r"requires more credits|can only afford",
        "billing",
        advice="a lower `max_tokens` may be affordable: without one, the model's maximum is reckoned with",
    ),
    _build_rule(r"insufficient (credits|balance|funds)|credit balance is too low", "billing"),
    _build_rule(r"access terminated", "auth"),
    _build_rule(
        r"api key appears to be invalid|(invalid|incorrect|missing|no) (api key|authentication|cookie auth)"
        r"|user not found|^unauthorized|need to be signed in",
        "auth",
    ),
    _build_rule(r"cloud is disabled|data policy|privacy settings|not available in your (region|country)", "forbidden"),
    # Load. Kimi reports its limit of concurrent requests as a permission error (rosclaw#560).
    _build_rule(r"overloaded|server busy|at capacity|loading model", "overloaded"),
    _build_rule(r"concurren|too many requests|rate.?limit", "rate_limit"),
    # Request errors
    _build_rule(
        r"maximum context length|context length exceeded|exceeds? the (available )?context|token limit: \d+"
        r"|total message size \d+ exceeds|(prompt|input|request) is too (long|large)|prompt is longer than the context"
        r"|context window",
        "context_overflow",
    ),
    _build_rule(
        r"not supported for format",
        "wrong_endpoint",
        advice="the model is served at another endpoint; the table of models and endpoints can be overridden",
    ),
    _build_rule(r"method not found|404 page not found|^(file )?not found\.?$", "wrong_endpoint"),
    _build_rule(r"x-opencode-session", "missing_header"),
    _build_rule(r"does not support (chat|generate|completion|insert|embed)", "bad_request"),
    _build_rule(
        r"does not support \w+|think value|invalid temperature|response_format"
        r"|unsupported (parameter|value)|unknown parameter|unrecognized request argument",
        "unsupported_parameter",
    ),
    _build_rule(r"high risk|\bflagged\b|content.(policy|filter)|moderation", "content_policy"),
    _build_rule(
        r"reasoning_content is missing|unsupported image url|is duplicated|moonshot flavored|must be of type"
        r"|cannot unmarshal|illegal base64|missing request body|model is required|use either :local or :cloud"
        r"|invalid input type|text content is empty",
        "bad_request",
    ),
    _build_rule(
        r"\bmodel\b.* (not found|does not exist|is not supported|retired|no longer available)|not found the model"
        r"|not a valid model id|no endpoints found|unknown model",
        "model_not_found",
    ),
    # Server errors
    _build_rule(r"request timed out", "timeout"),
    _build_rule(r"re(quest|sponse) cancell?ed|context cancell?ed", "upstream_error"),
    _build_rule(r"runner has unexpectedly stopped|system memory|out of memory|internal server error", "server_error"),
)

STATUSES: dict[int, ErrorClass] = {
    401: "auth",
    402: "billing",
    403: "forbidden",
    404: "model_not_found",
    405: "wrong_endpoint",
    408: "timeout",
    409: "upstream_error",
    410: "model_not_found",
    413: "context_overflow",
    425: "upstream_error",
    429: "rate_limit",
    499: "upstream_error",
    502: "upstream_error",
    503: "overloaded",
    504: "timeout",
    522: "timeout",
    524: "timeout",
    529: "overloaded",
}


def classify_status(status: int) -> ErrorClass:
    """Return the error class of an HTTP status, for a body that does not decide."""
    if status in STATUSES:
        return STATUSES[status]
    if 400 <= status < 500:
        return "bad_request"
    return "server_error" if 500 <= status < 600 else "upstream_error"
