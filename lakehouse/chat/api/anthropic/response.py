"""Converts whole answers to Anthropic's form."""

from __future__ import annotations

from collections.abc import Sequence
from random import getrandbits

from msgspec import UNSET

from lakehouse.chat.api.anthropic.supplements import describe_image, make_citations
from lakehouse.chat.api.anthropic.tokens import estimate_text, estimate_tokens
from lakehouse.chat.api.anthropic.types import MessageAnswer, MessageUsage, StopReason
from lakehouse.chat.api.reasoning_envelope import encode_details
from lakehouse.chat.dialects.tool_calls import UniqueIds, parse_arguments, sanitize_id
from lakehouse.chat.model.answer import Answer, AnswerFacts, FinishReason
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.request import AnthropicRequest

THINKING_BLOCKS = ("thinking", "redacted_thinking")
"""Types of the details of reasoning that are blocks of this form."""

STOP_REASONS: dict[FinishReason, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def find_stop_reason(facts: AnswerFacts) -> StopReason:
    """Why an answer ended. Only providers of the same form tell of the text that ended it."""
    return (
        "stop_sequence" if facts.stop_sequence and facts.finish_reason == "stop" else STOP_REASONS[facts.finish_reason]
    )


def make_message(answer: Answer, request: AnthropicRequest) -> MessageAnswer:
    """The message of a whole answer, with the client's name of the model.

    Claude Code leaves the signed thinking of an answer with another name out of the conversation.
    """
    ids = UniqueIds()
    blocks = make_thinking(answer.reasoning, () if answer.reasoning_details is UNSET else answer.reasoning_details)
    if text := "\n\n".join(filter(None, (answer.content, *map(describe_image, answer.images or ())))):
        citations = make_citations(answer.annotations or ())
        blocks.append({"type": "text", "text": text, **({"citations": citations} if citations else {})})
    for call in answer.tool_calls:
        arguments = parse_arguments(call.function.arguments)
        name = request.tool_names.get(call.function.name, call.function.name)
        blocks.append(make_tool_use(ids.issue(sanitize_id(call.id)), name, arguments))
    texts = (answer.reasoning, answer.content, *(call.function.arguments for call in answer.tool_calls))
    return MessageAnswer(
        id=make_id(),
        model=request.model,
        content=blocks,
        stop_reason=find_stop_reason(answer),
        stop_sequence=answer.stop_sequence or None,
        usage=make_usage(
            answer, estimated_input=estimate_tokens(request.document), estimated_output=estimate_text(*texts)
        ),
    )


def make_id() -> str:
    """A new, unique id for one message."""
    return f"msg_{getrandbits(120):030x}"


def make_thinking(reasoning: str, details: Sequence[JsonObject]) -> list[JsonObject]:
    """The blocks of an answer's reasoning.

    Blocks of a provider of the same form are as they came. The details of any other stand in the place of a signature.
    Reasoning without details has an empty signature, because only its provider could make one.
    """
    own = [entry for entry in details if entry.get("type") in THINKING_BLOCKS]
    if own:
        return list(map(make_thinking_block, own))
    if not details and not reasoning:
        return []
    return [{"type": "thinking", "thinking": reasoning, "signature": encode_details(details) if details else ""}]


def make_thinking_block(entry: JsonObject) -> JsonObject:
    """A block of thinking as its provider sent it."""
    if entry.get("type") == "redacted_thinking":
        return {"type": "redacted_thinking", "data": entry.get("data") or ""}
    thinking, signature = entry.get("thinking") or "", entry.get("signature") or ""
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def make_tool_use(id: str, name: str, arguments: JsonObject) -> JsonObject:  # noqa: A002 - the name of the field
    """A block that calls a tool."""
    return {"type": "tool_use", "id": id, "name": name, "input": arguments}


def make_usage(counted: AnswerFacts, *, estimated_input: int, estimated_output: int) -> MessageUsage:
    """The provider's counts; the estimates where it did not count. Cached tokens are not part of the input here."""
    total = estimated_input if counted.input_tokens is None else counted.input_tokens
    read, written = counted.cached_tokens or 0, counted.cache_write_tokens or 0
    return MessageUsage(
        input_tokens=max(0, total - read - written),
        cache_creation_input_tokens=written,
        cache_read_input_tokens=read,
        output_tokens=estimated_output if counted.output_tokens is None else counted.output_tokens,
    )
