"""When chat completions are relayed: requests that their provider takes as the client wrote them.

A request is rebuilt if `encode` would send another meaning than the client's body has: a field under another name, a
converted message, a field of the provider's own. Where that cannot be told from the parsed request, it is rebuilt too.
"""

from __future__ import annotations

import re

from lakehouse.chat.dialects.chat_completions.checks import ChunkChecker, is_well_formed
from lakehouse.chat.dialects.chat_completions.conversation import is_blank, is_plain, is_replayable
from lakehouse.chat.dialects.chat_completions.relayed_completion_fast_path import decode_relayed_text
from lakehouse.chat.dialects.encoding.body import get_extra_fields
from lakehouse.chat.dialects.encoding.images import check_images
from lakehouse.chat.dialects.encoding.tools import resolve_tools
from lakehouse.chat.dialects.lenient_json import as_object, as_objects, decode_json
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.relay.rules import RelayRules
from lakehouse.chat.model.parts import TextPart
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.model.request import Message, Request

USAGE_OPTION = b'"stream_options":{"include_usage":true}'

_MAYBE_BLANK = re.compile(rb'[:,\[]\s*(?:null|""|\[\s*\]|\{\s*\})')
_EMPTY_LIST, _EMPTY_OBJECT = re.compile(rb"\[\s*\]"), re.compile(rb"\{\s*\}")
"""Patterns that begin with a literal are found in a fraction of the time of `_MAYBE_BLANK`."""
_ACCEPTED_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def is_unchanged(request: Request, raw: RawRequest, quirks: Quirks) -> bool:
    """Return whether the provider takes the request as it is, see `RelayRules`."""
    return (
        quirks.inline_think == "never"
        and not quirks.extra_body
        and quirks.default_think is None
        and request.format is None
        and request.options is None
        and (quirks.send_user or request.user is None)
        and (quirks.send_temperature or (request.temperature is None and request.top_p is None))
        and _keeps_limit(request, raw, quirks)
        and _keeps_stream_options(request, raw, quirks)
        and _keeps_thinking(request, quirks)
        and (all(map(is_plain, request.messages)) or _keeps_messages(request, raw, quirks))
        and _keeps_tools(request, quirks)
        and not _has_blank_members(raw.body)
    )


def _has_blank_members(body: bytes) -> bool:
    """Return whether a member of the body or of a message is null or empty: clients write so what they leave out, and
    providers refuse it. The content of a message may be blank."""
    if not _may_have_blanks(body) or not _MAYBE_BLANK.search(body):
        return False
    document = as_object(decode_json(body))
    messages = as_objects(document.get("messages"))
    return any(map(_is_blank_value, document.values())) or any(
        _is_blank_value(value) for message in messages for name, value in message.items() if name != "content"
    )


def _may_have_blanks(body: bytes) -> bool:
    return bool(b"null" in body or b'""' in body or _EMPTY_LIST.search(body) or _EMPTY_OBJECT.search(body))


def _is_blank_value(value: object) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, list) and "" in value)


def _keeps_limit(request: Request, raw: RawRequest, quirks: Quirks) -> bool:
    """Return whether the limit of tokens, if there is one, has the provider's name for it."""
    if request.max_tokens is None:
        return quirks.default_max_tokens is None
    has_new_name = b'"max_completion_tokens"' in raw.body
    return has_new_name == (quirks.max_tokens_field == "max_completion_tokens")


def _keeps_stream_options(request: Request, raw: RawRequest, quirks: Quirks) -> bool:
    """Return whether the options, if there are any, are those of a stream and request usage as this service does."""
    return b"stream_options" not in raw.body or (request.stream and (raw.include_usage or not quirks.include_usage))


def _keeps_thinking(request: Request, quirks: Quirks) -> bool:
    if request.think is None:
        return "think" not in get_extra_fields(request)  # a field of this service
    return quirks.completions_thinking == "effort"


def _keeps_tools(request: Request, quirks: Quirks) -> bool:
    if request.tools is None:
        return request.tool_choice is None
    tools, choice = resolve_tools(request, quirks)
    return (
        choice.allowed is None
        and tools == list(request.tools)
        and choice.encode_for_completions() == request.tool_choice
    )


def _keeps_messages(request: Request, raw: RawRequest, quirks: Quirks) -> bool:
    ids = [call.id for message in request.messages for call in message.tool_calls]
    other_key = b'"reasoning"' if quirks.reasoning_key == "reasoning_content" else b'"reasoning_content"'
    if len(set(ids)) < len(ids) or not all(map(_ACCEPTED_ID.fullmatch, ids)):
        return False
    if ids and b'"index"' in raw.body:  # kept from a stream, and refused in a request
        return False
    if any(message.reasoning for message in request.messages) and (not quirks.reasoning_key or other_key in raw.body):
        return False
    for position, message in enumerate(request.messages):
        check_images(message, position, quirks)
    return all(_keeps_message(message, quirks) for message in request.messages)


def _keeps_message(message: Message, quirks: Quirks) -> bool:
    content = message.content
    if content == () or ((message.refusal or message.audio) and is_blank(message)):
        return False
    if message.role == "developer" and not quirks.developer_role:
        return False
    if (
        isinstance(content, tuple)
        and quirks.text_parts == "join"
        and all(isinstance(part, TextPart) for part in content)
    ):
        return False
    if message.tool_call_id is not None and not _ACCEPTED_ID.fullmatch(message.tool_call_id):
        return False
    if message.tool_calls and not _keeps_calls(message, quirks):
        return False
    details = message.reasoning_details
    return not details or (quirks.reasoning_details and all(map(is_replayable, details)))


def _keeps_calls(message: Message, quirks: Quirks) -> bool:
    return (
        (not is_blank(message) or (message.content is None and quirks.empty_content == "null"))
        and (bool(message.reasoning) or not quirks.placeholder_reasoning)
        and all(
            call.function.arguments and (call.type != "custom" or quirks.custom_tools) for call in message.tool_calls
        )
    )


def get_added_member(raw: RawRequest, quirks: Quirks) -> bytes:
    """Return the option that requests the usage of a stream, which the client did not request."""
    return USAGE_OPTION if quirks.include_usage and not raw.include_usage else b""


def is_usage_only(event: bytes) -> bool:
    """Return whether an event is the chunk that `USAGE_OPTION` requests: usage, and no choice."""
    if b'"usage"' not in event:
        return False
    try:
        chunk = as_object(decode_json(event.partition(b"data:")[2]))
    except ValueError:
        return False
    return bool(chunk.get("usage")) and not as_objects(chunk.get("choices"))


CHAT_COMPLETIONS_RELAY = RelayRules(
    is_unchanged=is_unchanged,
    checks_capabilities=True,
    own_fields=(b'"fallbacks"', b'"n"'),  # `n` can only be 1
    get_added_member=get_added_member,
    is_withheld=is_usage_only,
    is_well_formed=is_well_formed,
    decode_text=decode_relayed_text,
    make_checker=ChunkChecker,
    model_places=("",),
    end_mark=b"data: [DONE]\n\n",
)
