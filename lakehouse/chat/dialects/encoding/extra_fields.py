"""Fields of OpenAI's request that only chat completions has, in the other dialects.

Each dialect lists the fields that it supports, as data. A field without a rule is rejected with a 400 that names it,
because leaving it out could change the answer. `RequestChanges` records every field that is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lakehouse.chat.dialects.encoding.body import get_extra_fields
from lakehouse.chat.dialects.encoding.capabilities import MAX_NAME
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import ErrBadRequest


@dataclass(frozen=True, slots=True)
class Send:
    """The field is sent at `path` of the body. `values` maps the caller's values to those of the dialect; with a map, a
    field with any other value is left out."""

    path: tuple[str, ...]
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """The field is left out: it affects how the request is served or filed, not the answer."""


@dataclass(frozen=True, slots=True)
class LeaveOutIf:
    """The field is left out with one of the `values`, which equal its absence, and rejected with any other."""

    values: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class EncodeSeparately:
    """The dialect encodes the field itself, together with others."""


FieldRule = Send | LeaveOut | LeaveOutIf | EncodeSeparately
FieldRules = Mapping[str, FieldRule]

DEFAULT_RULES: FieldRules = {
    "audio": LeaveOutIf(),
    "cache_control": LeaveOut(),
    "frequency_penalty": LeaveOutIf((0,)),
    "keep_alive": LeaveOut(),  # how long Ollama keeps the model loaded
    "logit_bias": LeaveOutIf(({},)),
    "logprobs": LeaveOutIf((False,)),
    "metadata": LeaveOut(),
    "modalities": LeaveOutIf((["text"],)),
    "parallel_tool_calls": LeaveOutIf((True,)),
    "prediction": LeaveOut(),  # produces the same answer faster
    "presence_penalty": LeaveOutIf((0,)),
    "prompt_cache_key": LeaveOut(),
    "prompt_cache_retention": LeaveOut(),
    "safety_identifier": LeaveOut(),
    "service_tier": LeaveOut(),
    "store": LeaveOutIf((False,)),
    "stream_options": LeaveOut(),  # padding of a stream
    "think": EncodeSeparately(),
    "top_logprobs": LeaveOutIf((0,)),
    "usage": LeaveOut(),  # OpenRouter's switch for the cost
    "verbosity": LeaveOutIf(("medium",)),
    "web_search_options": LeaveOutIf(),
}
"""A rule for every field that OpenAI documents and `Request` does not have, for a dialect that supports none of them.
A dialect overrides the rules of the fields that it supports."""


def encode_extra_fields(
    request: Request, rules: FieldRules, *, model: str, quirks: Quirks, changes: RequestChanges
) -> JsonObject:
    """Return the body fields of `request`'s extra fields. Raises `ErrBadRequest` naming an unsupported one."""
    body: JsonObject = {}
    for name, value in get_extra_fields(request).items():
        match rules.get(name):
            case Send(path=path, values=values):
                mapped = values.get(value) if isinstance(value, str) else None
                if values and mapped is None:
                    changes.leave_out(name)
                else:
                    _set_at(body, path, value if mapped is None else mapped)
            case LeaveOut():
                changes.leave_out(name)
            case LeaveOutIf(values=neutral) if any(_equals(value, one) for one in neutral):
                changes.leave_out(name)
            case EncodeSeparately():
                pass
            case _:
                raise build_unsupported_field_error(name, model=model, quirks=quirks)
    return body


def build_unsupported_field_error(name: str, *, model: str, quirks: Quirks) -> ErrBadRequest:
    """Return the error for a field that is not supported and cannot be left out."""
    message = f"`{name}` cannot be sent: {quirks.provider} serves {model} in a form that has no such field"
    return ErrBadRequest(message, field=name)


def record_unsent_fields(request: Request, quirks: Quirks, changes: RequestChanges) -> None:
    """Record the fields of the request that are never sent to this provider."""
    if not quirks.send_temperature:
        changes.leave_out("temperature", request.temperature)
        changes.leave_out("top_p", request.top_p)
    if not quirks.send_user:
        changes.leave_out("user", request.user)


def record_unsent_strict(request: Request, changes: RequestChanges) -> None:
    """Record that `strict` of a tool is not sent, which only OpenAI's dialects have."""
    for tool in request.tools or ():
        if as_object(tool.get("function")).get("strict"):
            changes.leave_out("tools.function.strict")


TOOL_FIELDS = frozenset({"type", "function", "custom", "cache_control"})
"""Fields of a tool that have rules of their own."""

FUNCTION_FIELDS = frozenset({"name", "description", "parameters", "strict", "cache_control"})
"""Fields of a function that have rules of their own."""


def record_unsent_tool_fields(request: Request, changes: RequestChanges, *, function: bool) -> None:
    """Record unknown fields of the tools, which are not sent; with `function`, those inside `function` too."""
    for tool in request.tools or ():
        for name in tool.keys() - TOOL_FIELDS:
            changes.leave_out(f"tools.{name[:MAX_NAME]}", tool[name])
        inner = as_object(tool.get("function")) if function else {}
        for name in inner.keys() - FUNCTION_FIELDS:
            changes.leave_out(f"tools.function.{name[:MAX_NAME]}", inner[name])


def record_unsent_reasoning(
    request: Request, changes: RequestChanges, *, plain: bool, is_sent: Callable[[JsonObject], bool]
) -> None:
    """Record reasoning of earlier answers that is not sent back. `plain`: its text is sent. `is_sent`: whether an
    entry of `reasoning_details` is; the text repeats those entries."""
    for message in request.messages:
        if not message.reasoning and not message.reasoning_details:
            continue
        sent = [is_sent(entry) for entry in message.reasoning_details]
        if message.reasoning and not plain and not any(sent):
            changes.leave_out("messages.reasoning")
        if not all(sent):
            changes.leave_out("messages.reasoning_details")


def _set_at(body: JsonObject, path: tuple[str, ...], value: Any) -> None:  # noqa: ANN401 - any JSON
    *parents, name = path
    for parent in parents:
        body = body.setdefault(parent, {})
    body[name] = value


def _equals(value: object, neutral: object) -> bool:
    """True for equal JSON values; in JSON, unlike in Python, true is not 1."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)
