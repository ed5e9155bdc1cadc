"""Classification of upstream errors: every wire file, every documented text, and the order of the rules."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest

from lakehouse.chat.dialects.errors.classifier import classify, classify_error_object
from lakehouse.core.errors import LakehouseError
from tools.kit import wire_files

NOW = 1_795_200_000.0  # unix time, a day on which the free tier in the wire files is exhausted


def of(
    status: int,
    body: object,
    *,
    provider: str = "upstream",
    headers: dict[str, str] | None = None,
    secrets: tuple[str, ...] = (),
) -> LakehouseError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify(status, (headers or {}).items(), content, provider=provider, secrets=secrets, now=NOW)


def openai(message: str, **error: object) -> dict[str, object]:
    return {"error": {"message": message, **error}}


def opencode(type_: str, message: str, **rest: object) -> dict[str, object]:
    return {"type": "error", "error": {"type": type_, "message": message}, **rest}


@pytest.mark.parametrize("entry", wire_files.errors(), ids=lambda entry: entry["file"])
def test_the_wire_files(entry: dict[str, Any]) -> None:
    status, headers, body = wire_files.error_of(entry)
    error = classify(status, headers, body, provider=wire_files.provider_of(entry), now=NOW)
    expect = entry["expect"]
    assert (error.error_class, error.retryable) == (expect["error_class"], expect["retryable"])
    assert (error.provider, error.upstream_status) == (wire_files.provider_of(entry), status)


OLLAMA: list[tuple[int, object, str]] = [
    (400, {"error": "missing request body"}, "bad_request"),
    (400, {"error": "model is required"}, "bad_request"),
    (400, {"error": '"gemma3:1b" does not support thinking'}, "unsupported_parameter"),
    (400, {"error": '"gemma3:1b" does not support tools'}, "unsupported_parameter"),
    (400, {"error": '"embeddinggemma" does not support chat'}, "bad_request"),
    (400, {"error": 'invalid think value: "lots" (must be "high", "medium", "low", true, or false)'}, "unsupported_parameter"),
    (400, {"error": "illegal base64 data at input byte 4"}, "bad_request"),
    (400, {"error": "json: cannot unmarshal array into Go struct field Message.messages.content"}, "bad_request"),
    (400, {"error": 'use either :local or :cloud, not both: "x:cloud:local"'}, "bad_request"),
    (400, {"error": "invalid input type"}, "bad_request"),
    (400, {"error": "the prompt is longer than the context length currently available to the model; shorten it"}, "context_overflow"),
    (400, {"error": "the request exceeds the available context size, try increasing it"}, "context_overflow"),
    (404, {"error": "model 'x' not found"}, "model_not_found"),
    (404, {"error": 'model "x" not found, try pulling it first'}, "model_not_found"),
    (404, b"404 page not found", "wrong_endpoint"),
    (403, b"", "forbidden"),
    (403, {"error": "ollama cloud is disabled: remote model is unavailable"}, "forbidden"),
    (401, {"error": "unauthorized", "signin_url": "https://ollama.com/connect?key=abc"}, "auth"),
    (499, {"error": "request canceled"}, "upstream_error"),
    (500, {"error": 'option "stop" must be of type array'}, "bad_request"),
    (500, {"error": "model runner has unexpectedly stopped, this may be due to resource limitations"}, "server_error"),
    (500, {"error": "model requires more system memory (12 GiB) than is available (4 GiB)"}, "server_error"),
    (500, {"error": "Internal Server Error (ref: 0f4f0a52)"}, "server_error"),
    (500, b"Internal Server Error", "server_error"),
    (502, {"error": 'Post "https://ollama.com:443/api/chat": dial tcp: i/o timeout'}, "upstream_error"),
    (503, {"error": "server busy, please try again.  maximum pending requests exceeded"}, "overloaded"),
    (410, {"error": "this model was retired"}, "model_not_found"),
    (429, {"error": "you (someone) have reached your weekly usage limit, upgrade or add extra usage: https://x (ref: 1)"}, "quota"),
    (429, {"error": "you've reached your hourly usage limit, please wait or upgrade to continue"}, "quota"),
]  # fmt: skip

OPENROUTER: list[tuple[int, object, str]] = [
    (400, openai("foo/bar is not a valid model ID", code=400), "model_not_found"),
    (400, openai("This endpoint's maximum context length is 8192 tokens. However, you requested about 9000", code=400), "context_overflow"),
    (401, openai("Missing Authentication header", code=401), "auth"),
    (401, openai("No cookie auth credentials found", code=401), "auth"),
    (402, openai("Insufficient credits. Add more using https://openrouter.ai/credits", code=402), "billing"),
    (403, openai("Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", code=403), "quota"),
    (403, openai("Blocked by a guardrail", code=403, metadata={"patterns": ["secret"]}), "forbidden"),
    (403, openai("Your input was rejected", code=403, metadata={"reasons": ["hate"], "flagged_input": "…"}), "content_policy"),
    (404, openai("No endpoints found matching your data policy (Free model publication)", code=404), "forbidden"),
    (404, openai("No endpoints found that support tool use", code=404), "model_not_found"),
    (413, openai("Payload too large", code=413), "context_overflow"),
    (422, openai("Unprocessable", code=422), "bad_request"),
    (429, openai("Rate limit exceeded: free-models-per-min. ", code=429), "rate_limit"),
    (429, openai("Rate limit exceeded: free-models-per-day. ", code=429, metadata={"error_type": "rate_limit_exceeded"}), "quota"),
    (429, openai("Rate limited", code=429, metadata={"limit_source": "openrouter_free_tier_per_minute"}), "rate_limit"),
    (500, openai("Internal Server Error", code=500), "server_error"),
    (503, openai("No instances available", code=503), "overloaded"),
    (504, openai("Gateway timeout", code=504), "timeout"),
    (524, b"<html><head><title>524: A timeout occurred</title></head><body>cloudflare</body></html>", "timeout"),
    (529, openai("Provider returned error", code=529), "overloaded"),
]  # fmt: skip

OPENROUTER_TYPES = {
    "context_length_exceeded": "context_overflow", "max_tokens_exceeded": "bad_request", "token_limit_exceeded": "context_overflow",
    "string_too_long": "bad_request", "authentication": "auth", "permission_denied": "forbidden", "payment_required": "billing",
    "rate_limit_exceeded": "rate_limit", "provider_overloaded": "overloaded", "provider_unavailable": "upstream_error",
    "invalid_request": "bad_request", "invalid_prompt": "bad_request", "not_found": "model_not_found",
    "precondition_failed": "bad_request", "payload_too_large": "context_overflow", "unprocessable": "bad_request",
    "content_policy_violation": "content_policy", "refusal": "content_policy", "invalid_image": "bad_request",
    "image_too_large": "bad_request", "image_too_small": "bad_request", "unsupported_image_format": "bad_request",
    "image_not_found": "bad_request", "image_download_failed": "bad_request", "server": "server_error", "timeout": "timeout",
    "unmapped": "bad_request",
}  # fmt: skip

AVAILABILITY = {
    "model_not_found": (400, "model_not_found"), "wrong_endpoint": (400, "wrong_endpoint"), "no_endpoints": (404, "model_not_found"),
    "model_deprecated": (404, "model_not_found"), "model_unavailable_upstream": (404, "upstream_error"),
    "privacy_restricted": (404, "forbidden"), "constraint_filtered": (404, "model_not_found"),
    "free_variant_ended": (404, "model_not_found"), "region_restricted": (403, "forbidden"),
    "capacity_exhausted": (429, "overloaded"), "temporarily_unavailable": (503, "overloaded"),
}  # fmt: skip

OPENCODE: list[tuple[int, object, str]] = [
    (401, opencode("AuthError", "Missing API key."), "auth"),
    (401, opencode("CreditsError", "Insufficient balance. Manage your billing here: https://opencode.ai/workspace"), "billing"),
    (401, opencode("CreditsError", "No payment method."), "billing"),
    (401, opencode("MonthlyLimitError", "Your workspace has reached its monthly spending limit"), "quota"),
    (401, opencode("UserLimitError", "You have reached your monthly spending limit"), "quota"),
    (401, opencode("ModelError", "Model nosuch is not supported"), "model_not_found"),
    (401, opencode("ModelError", "Model gpt-5.6-luna is not supported for format oa-compat"), "wrong_endpoint"),
    (401, opencode("ModelError", "Modell ist abgeschaltet"), "model_not_found"),
    (400, opencode("MissingSessionID", "…"), "missing_header"),
    (403, opencode("RegionError", "…"), "forbidden"),
    (403, opencode("DataPolicyError", "…"), "forbidden"),
    (403, opencode("EntitlementError", "…"), "entitlement"),
    (429, opencode("BlackUsageLimitError", "…"), "quota"),
    (429, opencode("RateLimitError", "Limite de débit dépassée."), "rate_limit"),
    (429, openai("Error from provider (Zhipu): slow down", type="provider_rate_limit_exceeded"), "rate_limit"),
    (429, openai("Error from provider (Console): too fast", code="rate_limit_exceeded"), "rate_limit"),
    (400, openai("Error from provider (Console): This response_format type is unavailable now", type="invalid_request_error"), "unsupported_parameter"),
    (402, openai("Insufficient Balance", code="invalid_request_error"), "upstream_error"),
    (404, b"<!DOCTYPE html><html><head><title>OpenCode</title></head><body></body></html>", "wrong_endpoint"),
    (499, b"", "upstream_error"),
    (500, opencode("error", "Internal server error"), "server_error"),
]  # fmt: skip

KIMI: list[tuple[int, object, str]] = [
    (401, openai("Invalid Authentication", type="invalid_authentication_error"), "auth"),
    (402, openai("We're unable to verify your membership benefits at this time."), "billing"),
    (403, openai("You've reached your weekly (7-day) usage limit", type="access_terminated_error"), "quota"),
    (403, openai("Too many concurrent requests", type="permission_error"), "rate_limit"),
    (403, openai("Some new sentence", type="access_terminated_error"), "forbidden"),
    (429, openai("The engine is currently overloaded, please try again later", type="engine_overloaded_error"), "overloaded"),
    (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "The engine is currently overloaded"}}, "overloaded"),
    (429, openai("You've reached kimi monthly usage limit", type="rate_limit_reached_error"), "quota"),
    (429, openai("…", type="exceeded_current_quota_error"), "quota"),
    (400, openai("total message size 2200000 exceeds limit 2097152", type="invalid_request_error"), "context_overflow"),
    (400, openai("unsupported image url: file:///x", type="invalid_request_error"), "bad_request"),
    (400, openai("function name read is duplicated", type="invalid_request_error"), "bad_request"),
    (400, openai("text content is empty", type="invalid_request_error"), "bad_request"),
    (400, openai("The request was rejected because it was considered high risk", type="content_filter"), "content_policy"),
    (400, openai("The request was rejected because it was considered high risk"), "content_policy"),
    (404, openai("method not found"), "wrong_endpoint"),
    (499, openai("context canceled"), "upstream_error"),
    (500, openai("internal"), "server_error"),
    (529, openai("busy"), "overloaded"),
]  # fmt: skip

OTHERS: list[tuple[int, object, str]] = [
    (429, openai("You exceeded your current quota, please check your plan", code="insufficient_quota", type="insufficient_quota"), "quota"),
    (404, openai("The model `gpt-9` does not exist or you do not have access to it.", code="model_not_found"), "model_not_found"),
    (400, openai("Unsupported parameter: 'max_tokens' is not supported with this model.", code="unsupported_parameter"), "unsupported_parameter"),
    (400, openai("Invalid prompt: your prompt was flagged as potentially violating our usage policy", code="invalid_prompt"), "content_policy"),
    (400, opencode("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), "context_overflow"),
    (400, opencode("invalid_request_error", "Your credit balance is too low to access the API."), "billing"),
    (529, opencode("overloaded_error", "Overloaded"), "overloaded"),
    (403, opencode("permission_error", "Your API key does not have permission"), "forbidden"),
    (400, openai("the request exceeds the available context size", type="exceed_context_size_error"), "context_overflow"),
    (503, openai("Loading model", type="unavailable_error"), "overloaded"),
    (404, {"detail": "Not Found"}, "wrong_endpoint"),
    (405, b"", "wrong_endpoint"),
    (418, b"", "bad_request"),
    (302, b"", "upstream_error"),
    (599, b"", "server_error"),
    (408, b"", "timeout"),
    (502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", "upstream_error"),
    (500, b"\xff\xfe\x00", "server_error"),
    (422, {"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]}, "bad_request"),
    (500, b"[" * 100_000, "server_error"),
    (500, b'{"error": null}', "server_error"),
    (500, b'{"error": {"message": 5, "type": [], "code": {}, "metadata": "x"}}', "server_error"),
]  # fmt: skip

TABLES = [
    *(("ollama", *row) for row in OLLAMA),
    *(("openrouter", *row) for row in OPENROUTER),
    *(("opencode", *row) for row in OPENCODE),
    *(("kimi", *row) for row in KIMI),
    *(("upstream", *row) for row in OTHERS),
]


@pytest.mark.parametrize(("provider", "status", "body", "expected"), TABLES)
def test_the_documented_texts(provider: str, status: int, body: object, expected: str) -> None:
    assert of(status, body, provider=provider).error_class == expected


@pytest.mark.parametrize(("type_", "expected"), OPENROUTER_TYPES.items())
def test_the_error_types_of_openrouter(type_: str, expected: str) -> None:
    assert of(400, openai("…", code=400, metadata={"error_type": type_})).error_class == expected
    # The documented examples carry it beside the message, without a code.
    assert of(400, openai("…", error_type=type_, http_status=400)).error_class == expected


@pytest.mark.parametrize("code", AVAILABILITY)
@pytest.mark.parametrize("retryable", [True, False])
def test_the_availability_of_openrouter_decides_about_retries(code: str, retryable: bool) -> None:
    status, expected = AVAILABILITY[code]
    error = of(status, openai("…", availability={"code": code, "retryable": retryable, "retry_after": 12}))
    assert (error.error_class, error.retryable, error.retry_after) == (expected, retryable, 12)


def test_the_balance_of_opencode_is_an_upstream_error() -> None:
    assert of(402, openai("Insufficient Balance"), provider="opencode").retryable
    assert of(402, openai("Insufficient Balance"), provider="kimi").error_class == "billing"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"error": {"code": 502, "message": "Provider disconnected"}}, "upstream_error"),
        ({"error": {"code": 429, "message": "slow"}}, "rate_limit"),
        ({"error": {"code": "server_error", "message": "x"}}, "server_error"),
        ({"error": "model runner has unexpectedly stopped"}, "server_error"),
        ({"error": "something new"}, "upstream_error"),
        ({"object": "error", "message": "slow", "type": "x", "code": 429}, "rate_limit"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None}, "rate_limit"),
    ],
)
def test_an_error_inside_an_answer_carries_its_own_status(document: dict[str, Any], expected: str) -> None:
    error = classify_error_object(document, provider="p")
    assert (error.error_class, error.upstream_status) == (expected, 200)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "30"}, {}, 30.0),
        ({"retry-after": "1.5"}, {}, 1.5),
        ({"retry-after": formatdate(NOW + 90, usegmt=True)}, {}, 90.0),
        ({"retry-after": formatdate(NOW - 90, usegmt=True)}, {}, 0.0),
        ({"retry-after": "-5"}, {}, 0.0),
        ({"retry-after-ms": "250"}, {}, 0.25),
        ({"retry-after": "soon"}, {}, None),
        ({"retry-after": "nan"}, {}, None),
        ({"retry-after": "9" * 400}, {"availability": {"retry_after": 10**400}}, None),
        ({}, {"availability": {"retry_after": 7}}, 7.0),
        ({}, {"retry_after": 3600.5}, 3600.5),
        ({"retry-after": "3"}, {"retry_after": 7}, 3.0),
        ({"retry-after": "3"}, {"availability": {"retry_after": 7}}, 3.0),
        ({"x-ratelimit-reset": str(int((NOW + 40) * 1000))}, {}, 40.0),
        ({"x-ratelimit-reset": str(int(NOW + 40))}, {}, 40.0),
        ({"x-ratelimit-reset": "40"}, {}, 40.0),
        ({}, {"metadata": {"headers": {"X-RateLimit-Reset": str(int((NOW + 40) * 1000))}}}, 40.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m1.86s"}, {}, 61.86),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "9" * 400 + "h"}, {}, None),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "1.86s"}, {}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms"}, {}, 0.12),
        ({}, {}, None),
    ],
)
def test_the_wait_until_the_next_request(headers: dict[str, str], body: dict[str, Any], seconds: float | None) -> None:
    error = of(429, openai("slow down", **body), headers=headers)
    assert error.retry_after == (None if seconds is None else pytest.approx(seconds, abs=0.01))


@pytest.mark.parametrize(("wait", "expected"), [("60", "rate_limit"), ("300", "rate_limit"), ("86400", "quota")])
def test_a_rate_limit_of_more_than_five_minutes_is_a_quota(wait: str, expected: str) -> None:
    error = of(429, openai("slow down"), headers={"retry-after": wait})
    assert (error.error_class, error.retryable) == (expected, expected == "rate_limit")
    assert error.retry_after == float(wait)


SECRETS = [
    "sk-or-v1-0123456789abcdef",
    "sk-proj-****wxyz",
    "Bearer abc.def-ghi",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
    "0123456789abcdef0123456789abcdef.AbCdEfGhIjKlMnOp",
    "AIzaSyA0123456789abcdefghij",
    "api_key=verysecretvalue",
    '"token": "verysecretvalue"',
]


@pytest.mark.parametrize("secret", SECRETS)
def test_keys_are_redacted(secret: str) -> None:
    for body in (openai(f"Bad key {secret} given"), f"Bad key {secret} given".encode()):
        message = of(401, body).message
        assert "Bad key" in message
        assert "given" in message
        assert secret.split("=")[-1].split('"')[-2 if '"' in secret else -1].removeprefix("Bearer ") not in message


def test_the_configured_key_is_redacted_whatever_its_shape() -> None:
    assert "plainword" not in of(401, openai("plainword is no good key"), secrets=("", "plainword")).message


def test_a_truncated_key_is_redacted() -> None:
    message = of(400, ("sk-" + "a" * 60 + " ").encode() * 64 + b"x" * 200 + b"sk-bbbbbbbbbbbb").message
    assert "aaaa" not in message
    assert "bbbb" not in message


@pytest.mark.parametrize(
    "body", [openai("x" * 5000), b"y" * 5_000_000, ("ü" * 5000).encode(), openai("a\n\t b\x00c\x1b[31m" * 99)]
)
def test_excerpts_are_short_and_on_one_line(body: object) -> None:
    message = of(400, body, provider="p").message
    said = message.removeprefix("p answered 400: ")
    assert 250 < len(said) <= 300
    assert said.isprintable()


def test_markup_is_removed() -> None:
    page = b"<!doctype html><html><head><title>Bad\nGateway</title><script>var x=1</script></head><body>ray 1</body></html>"
    assert of(502, page, provider="p").message == "p answered 502: an HTML page: Bad Gateway"
    assert of(502, b"<h1>Sorry</h1>", provider="p").message == "p answered 502: an HTML page: Sorry"


@pytest.mark.parametrize(
    ("status", "body", "headers", "message"),
    [
        (404, {"error": "model 'x' not found"}, {}, "p answered 404: model 'x' not found"),
        (503, b"", {}, "p answered 503 with an empty body"),
        (422, {"detail": [{"msg": "Field required"}]}, {}, 'p answered 422: {"detail": [{"msg": "Field required"}]}'),
        (200, b"", {}, "p reported an error without a word"),
        (307, b"", {"Location": "https://elsewhere/?token=abcdefgh"}, "p answered 307: a redirect to https://elsewhere/?token=*** (redirects are not followed: is the base URL right?)"),
        (502, openai("Provider returned error", metadata={"raw": "<html>Bad Gateway</html>"}), {}, "p answered 502: Provider returned error: an HTML page: Bad Gateway"),
    ],
)  # fmt: skip
def test_the_message(status: int, body: object, headers: dict[str, str], message: str) -> None:
    error = of(status, body, provider="p", headers=headers)
    assert error.message == message
    assert not (status == 307 and error.retryable)


def test_advice_is_added_where_it_is_known() -> None:
    gate = openai("Kimi For Coding is currently only available for Coding Agents such as Kimi CLI, etc.")
    assert "messages form" in of(403, gate).message
    assert "max_tokens" in of(402, openai("This request requires more credits, or fewer max_tokens.")).message
