"""Parses a request in Anthropic's form.

The fields that have an equivalent are checked here, and converted for providers of other forms. The document itself is
kept for those of the same form, which decide about everything else in it.
"""

from __future__ import annotations

from lakehouse.asgi.json_body import convert_json, decode_json, validation_errors
from lakehouse.chat.api.anthropic.blocks import Unsent
from lakehouse.chat.api.anthropic.conversation import ReadMessage, read_message, read_system
from lakehouse.chat.api.anthropic.response import THINKING_BLOCKS, make_thinking_block
from lakehouse.chat.api.anthropic.tools import ReadTool, collect_long_names, read_tool_choice, read_tools
from lakehouse.chat.api.anthropic.types import MessagesParams, ThinkingConfig
from lakehouse.chat.api.reasoning_envelope import decode_details, is_envelope
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.request import AnthropicRequest
from lakehouse.core.errors import ErrBadRequest

HINTS = frozenset(
    {"cache_control", "context_management", "diagnostics", "service_tier", "speed", "user_profile_id", "workspace_id"}
)
"""Fields that affect how a request is served, cached or filed. Other dialects are not sent them."""

MAX_USER = 64
"""Characters of the end user's id that OpenAI accepts. Claude Code sends more."""

LEVELS = ((80, "high"), (50, "medium"), (0, "low"))
"""The level of thinking for a budget, by its share of `max_tokens` in percent."""

FIELD_NAMES = {
    "format": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "reasoning_effort": "thinking",
    "stop": "stop_sequences",
    "think": "thinking",
    "web_search_options": "tools",
}
"""The client's names of fields of `Request`."""

THREAD_ERROR = {"error_code": "thread_unsupported_request"}
"""By these details Anthropic's SDK recognizes that it must send the whole history itself."""


def parse(data: bytes) -> AnthropicRequest:
    """Parse a body. Raises ErrBadRequest with the field that does not fit."""
    document = decode_json(data, dict)
    if document.get("thread") is not None:
        message = "`thread` is not supported: no conversation is kept here; send all its messages"
        raise ErrBadRequest(message, field="thread", details=THREAD_ERROR)
    return _build(document, convert_json(document, MessagesParams))


def _build(document: JsonObject, given: MessagesParams) -> AnthropicRequest:
    unsent = Unsent()
    messages = [*read_system(given.system, unsent)]
    for place, message in enumerate(given.messages):
        messages += read_message(place, message, unsent)
    tools, web_search = read_tools(given.tools or [], unsent)
    parallel = given.tool_choice and given.tool_choice.disable_parallel_tool_use
    described = (given.output_config and given.output_config.format) or given.output_format
    user = given.metadata.user_id if given.metadata else None
    fallbacks = _read_fallbacks(given.fallbacks)
    think = _read_thinking(given, unsent)
    _collect_unknown_fields(document, unsent, handled=fallbacks is not None)
    if user and len(user) > MAX_USER:
        unsent.hints["metadata"], user = None, None
    with validation_errors():
        return AnthropicRequest(
            model=given.model,
            messages=tuple(read.message for read in messages),
            temperature=given.temperature,
            top_p=given.top_p,
            max_tokens=given.max_tokens,
            stop=tuple(given.stop_sequences or ()),
            format=described.schema if described else None,
            think=think,
            leaves_thinking=given.thinking is None or given.thinking.type not in ("enabled", "disabled"),
            tools=tuple(tool.function for tool in tools) or None,
            tool_choice=read_tool_choice(given.tool_choice),
            stream=bool(given.stream),
            fallbacks=fallbacks or (),
            user=user,
            extra={
                **({} if given.top_k is None else {"top_k": given.top_k}),
                **({"parallel_tool_calls": False} if parallel else {}),
            },
            unmapped=tuple(unsent.unmapped),
            hints=tuple(unsent.hints),
            field_names=FIELD_NAMES | _name_messages(messages) | _name_tools(tools),
            document=_clean(document),
            web_search=web_search,
            tool_names=collect_long_names(given.tools or ()),
        )


def _name_messages(messages: list[ReadMessage]) -> dict[str, str]:
    names: dict[str, str] = {}
    for index, read in enumerate(messages):
        names[f"messages[{index}]"] = read.path
        for position, path in enumerate(read.parts):
            names[f"messages[{index}].content[{position}]"] = path
            names[f"messages[{index}].content[{position}].image_url.url"] = f"{path}.source"
    return names


def _name_tools(tools: list[ReadTool]) -> dict[str, str]:
    names: dict[str, str] = {}
    for index, tool in enumerate(tools):
        names[f"tools[{index}]"] = names[f"tools[{index}].function"] = tool.path
        names[f"tools[{index}].function.parameters"] = f"{tool.path}.input_schema"
    return names


def _read_fallbacks(given: object) -> tuple[str, ...] | None:
    """Return the names of models to try. None: the field is Anthropic's own of this name, which holds objects."""
    names = given if isinstance(given, list) else []
    own = given is not None and not (isinstance(given, list) and all(isinstance(name, str) for name in names))
    return None if own else tuple(names)


def _collect_unknown_fields(document: JsonObject, unsent: Unsent, *, handled: bool) -> None:
    for name, value in document.items():
        if value is None or (name in MessagesParams.__struct_fields__ and (name != "fallbacks" or handled)):
            continue
        if name in HINTS:
            unsent.hints[name] = None
        else:
            unsent.unmapped.append(name)
    for name in ("output_config", "thinking", "metadata", "tool_choice"):
        _collect_members(document, name, unsent)


MEMBERS = {
    "output_config": ("effort", "format"),
    "thinking": ("type", "budget_tokens"),
    "metadata": ("user_id",),
    "tool_choice": ("type", "name", "disable_parallel_tool_use"),
}
"""The members of objects that have an equivalent."""


def _collect_members(document: JsonObject, name: str, unsent: Unsent) -> None:
    for member, value in (document.get(name) or {}).items():
        if member not in MEMBERS[name] and value is not None:
            path = f"{name}.{member}"
            if path == "thinking.display":
                unsent.hints[path] = None
            else:
                unsent.unmapped.append(path)


def _read_thinking(given: MessagesParams, unsent: Unsent) -> bool | str | None:
    """Return how much other dialects are to think. `adaptive` leaves that to the model: only an effort is sent."""
    effort = given.output_config.effort if given.output_config else None
    match given.thinking:
        case ThinkingConfig(type="disabled"):
            return False
        case ThinkingConfig(type="enabled", budget_tokens=budget):
            if budget is None or budget < 1:
                problem = "is required" if budget is None else "must be at least 1"
                raise ErrBadRequest(f"`thinking.budget_tokens` {problem}", field="thinking.budget_tokens")
            return effort or next(level for least, level in LEVELS if 100 * budget >= least * given.max_tokens)
        case ThinkingConfig(type=kind) if kind not in ("adaptive", "between_tools"):
            unsent.unmapped.append("thinking.type")
    return effort


def _clean(document: JsonObject) -> JsonObject:
    """Return the document without envelopes of reasoning, which only this service reads."""
    messages = document["messages"]
    if not any(_is_enveloped(block) for message in messages for block in _blocks(message)):
        return document
    cleaned = []
    for message in messages:
        blocks = [clean for block in _blocks(message) for clean in _clean_block(block)]
        cleaned.append({**message, "content": blocks} if _blocks(message) else message)
    return {**document, "messages": cleaned}


def _blocks(message: JsonObject) -> list[JsonObject]:
    content = message["content"]
    return content if isinstance(content, list) else []


def _is_enveloped(block: JsonObject) -> bool:
    return block.get("type") == "thinking" and is_envelope(block.get("signature"))


def _clean_block(block: JsonObject) -> list[JsonObject]:
    """Return the blocks of this form in an envelope; if there are none, the readable thinking without a signature."""
    if not _is_enveloped(block):
        return [block]
    own = [entry for entry in decode_details(block["signature"]) or () if entry.get("type") in THINKING_BLOCKS]
    return list(map(make_thinking_block, own)) or [{**block, "signature": ""}]
