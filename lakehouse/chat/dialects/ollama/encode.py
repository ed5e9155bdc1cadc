"""Requests of Ollama's chat: the body, options and tools.

There is no `tool_choice`: `none` leaves the tools out, a named tool is the only one that is offered, and `required`
equals `auto`.
"""

from __future__ import annotations

from lakehouse.chat.dialects.encoding.body import encode_body, get_checked_options, get_extra_fields
from lakehouse.chat.dialects.encoding.extra_fields import (
    DEFAULT_RULES,
    EncodeSeparately,
    FieldRules,
    Send,
    build_unsupported_field_error,
    encode_extra_fields,
    record_unsent_fields,
    record_unsent_reasoning,
    record_unsent_strict,
)
from lakehouse.chat.dialects.encoding.ollama_fields import get_ollama_fields
from lakehouse.chat.dialects.encoding.thinking import resolve_level
from lakehouse.chat.dialects.encoding.tool_choice import parse_tool_choice
from lakehouse.chat.dialects.encoding.tools import resolve_tools
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, drop_nulls
from lakehouse.chat.dialects.ollama.conversation import encode_messages
from lakehouse.chat.dialects.ollama.relay import NEAREST_LEVELS
from lakehouse.chat.dialects.quirks import JsonMode, Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.dialects.schema.inline_references import inline_references
from lakehouse.chat.dialects.schema.structured_output import StructuredOutputPlan, build_plan
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import ErrBadRequest

SUPPORTED_JSON_MODES: tuple[JsonMode, ...] = ("native", "json_object", "tool", "prompt")

OPTIONS = (
    "frequency_penalty",
    "min_p",
    "num_ctx",
    "num_keep",
    "presence_penalty",
    "repeat_last_n",
    "repeat_penalty",
    "top_k",
    "typical_p",
)
"""Fields that clients of OpenAI's API may send, and that are Ollama options of the same name."""

FIELD_RULES: FieldRules = {
    **DEFAULT_RULES,
    **{name: Send(("options", name)) for name in OPTIONS},
    "keep_alive": Send(("keep_alive",)),
    "logprobs": Send(("logprobs",)),
    "options": EncodeSeparately(),
    "parallel_tool_calls": EncodeSeparately(),
    "repetition_penalty": Send(("options", "repeat_penalty")),
    "shift": Send(("shift",)),
    "top_logprobs": Send(("top_logprobs",)),
    "truncate": Send(("truncate",)),
}
"""Rules for fields of OpenAI's request; fields of this dialect are sent unchanged."""


def encode(request: Request, *, model: str, stream: bool, quirks: Quirks, changes: RequestChanges) -> bytes:
    """Return the body of a request, see `base.EncodeFunction`."""
    extra = encode_extra_fields(request, FIELD_RULES, model=model, quirks=quirks, changes=changes)
    plan = build_plan(request, quirks, supported=SUPPORTED_JSON_MODES)
    tools = _encode_tools(request, plan, quirks)
    known = {
        "model": model,
        "messages": encode_messages(request, plan, quirks),
        "stream": stream,
        "think": resolve_level(request, quirks, NEAREST_LEVELS, changes),
        "format": _encode_format(plan),
        "tools": tools or None,
        "options": _encode_options(request, as_object(extra.pop("options", None)), quirks) or None,
    }
    _record_changes(request, quirks, changes)
    if tools and get_extra_fields(request).get("parallel_tool_calls") is False:
        raise build_unsupported_field_error("parallel_tool_calls", model=model, quirks=quirks)
    own = {name: value for name, value in get_ollama_fields(request).items() if name != "options"}
    return encode_body(quirks.extra_body, own, extra, known)


def _encode_format(plan: StructuredOutputPlan | None) -> object:
    if plan is None or not plan.uses_provider_mode:
        return None
    return "json" if plan.schema is None or plan.json_mode == "json_object" else plan.schema


def _encode_options(request: Request, sampling: JsonObject, quirks: Quirks) -> JsonObject:
    """Return Ollama's options, `sampling` among them. `stop` must be a list: Ollama answers a string with 500."""
    given = get_extra_fields(request).get("options") or get_ollama_fields(request).get("options", {})
    if not isinstance(given, dict):
        raise ErrBadRequest("`options` must be an object", field="options")
    known = {
        "temperature": request.temperature if quirks.send_temperature else None,
        "top_p": request.top_p if quirks.send_temperature else None,
        "num_predict": request.max_tokens or quirks.default_max_tokens,
        "seed": request.seed,
        "stop": [request.stop] if isinstance(request.stop, str) else request.stop,
    }
    return {**sampling, **given, **get_checked_options(request), **drop_nulls(known)}


def _encode_tools(request: Request, plan: StructuredOutputPlan | None, quirks: Quirks) -> list[JsonObject]:
    """Return the tools with their references replaced by the targets: Ollama drops `$ref` from what the model sees."""
    tools, choice = resolve_tools(request, quirks)
    tools = choice.select(tools)
    if choice.name is not None:
        tools = [tool for tool in tools if as_object(tool["function"]).get("name") == choice.name]
    if choice.mode == "none":
        tools = []
    if plan is not None and plan.tool is not None:
        tools = [*tools, plan.tool]
    return list(map(_encode_tool, tools))


def _encode_tool(tool: JsonObject) -> JsonObject:
    function = as_object(tool["function"])
    parameters = inline_references(as_object(function.get("parameters")))
    return {**tool, "type": "function", "function": {**function, "parameters": parameters}}


def _record_changes(request: Request, quirks: Quirks, changes: RequestChanges) -> None:
    """Record the fields that are not sent, and a `tool_choice` that is not enforced."""
    record_unsent_fields(request, quirks, changes)
    record_unsent_strict(request, changes)
    record_unsent_reasoning(request, changes, plain=bool(quirks.reasoning_key), is_sent=lambda _: False)
    changes.leave_out("user", request.user)
    changes.leave_out("parallel_tool_calls", get_extra_fields(request).get("parallel_tool_calls"))
    choice = parse_tool_choice(request, quirks)
    if choice.name or choice.mode == "required":
        changes.adjust("tool_choice")
