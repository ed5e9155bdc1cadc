"""OpenAI's chat completions, as OpenAI, OpenRouter, OpenCode, Kimi and llama.cpp speak them.

Request and answer: https://platform.openai.com/docs/api-reference/chat. A stream is server-sent events whose data are
chunks; `[DONE]` ends it, but is not always sent, and OpenCode sends its cost after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from lakehouse.chat.dialects import images, reasoning
from lakehouse.chat.dialects.answer import AnswerBuilder
from lakehouse.chat.dialects.answer_extras import annotation_of, audio_in, images_in, logprobs_of
from lakehouse.chat.dialects.base import Capability, Changes, Quirks, SchemaLevel, StreamParser
from lakehouse.chat.dialects.chat_completions.chunk_fast_path import ChunkFastPath
from lakehouse.chat.dialects.chat_completions.completion_fast_path import decode_text_only
from lakehouse.chat.dialects.errors.classifier import refusal
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.lenient_json import JsonObject, first, mapping, objects, string, text, without_nulls
from lakehouse.chat.dialects.parameters import note_unsent
from lakehouse.chat.dialects.parsing import Parser, read_whole
from lakehouse.chat.dialects.request_fields import body_of, checked_options, extra_fields
from lakehouse.chat.dialects.schema import structured_output
from lakehouse.chat.dialects.text_only_fields import BESIDE_CONTENT
from lakehouse.chat.dialects.thinking import field_of
from lakehouse.chat.dialects.tool_choice import offer
from lakehouse.chat.dialects.tools import ToolCallIdMap, fragments_of
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.parts import TextPart
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.model.request import Message, OpenAIMessage, Request
from lakehouse.chat.model.tool_calls import Custom, ToolCall

BLANK = " "
"""Reasoning where there is none: Kimi and DeepSeek take an empty string for missing (pi#4251, hermes-agent#17341)."""


class ChatCompletions:
    """The dialect. Fields of OpenAI's that we do not know (`OpenAIRequest.extra`) are sent as they are."""

    path = "/chat/completions"
    framing: Literal["sse", "ndjson"] = "sse"
    schema_steps: tuple[SchemaLevel, ...] = ("native", "json_object", "tool", "prompt")
    capabilities: frozenset[Capability] = frozenset(
        {
            "file",
            "input_audio",
            "name",
            "tool_name",
            "refusal",
            "audio",
            "annotations",
            "detail",
            "system_media",
            "assistant_media",
            "extra",
            "part_extra",
        }
    )

    def encode(
        self, request: Request, *, model: str, stream: bool, quirks: Quirks, changes: Changes | None = None
    ) -> bytes:
        """See `Dialect`."""
        changes = Changes() if changes is None else changes
        note_unsent(request, quirks, changes)
        plan = None if request.format is None else structured_output.plan(request, quirks, steps=self.schema_steps)
        known = {
            "model": model,
            "messages": _messages(request, plan, quirks),
            "stream": stream,
            "stream_options": _stream_options(request, quirks) if stream else None,
            "temperature": request.temperature if quirks.send_temperature else None,
            "top_p": request.top_p if quirks.send_temperature else None,
            quirks.max_tokens_field: request.max_tokens or quirks.default_max_tokens,
            "stop": request.stop,
            "seed": request.seed,
            "user": request.user if quirks.send_user else None,
            "response_format": structured_output.response_format(plan) if plan and plan.mode else None,
        }
        think = quirks.default_think if request.think is None else request.think
        thinking = None if think is None else _thinking(think, quirks)
        if quirks.think == "none":
            changes.leave_out(field_of(request), request.think)
        elif quirks.think == "template" and isinstance(request.think, str) and request.think != "none":
            changes.adjust(field_of(request))  # it is switched on, and that is all that can be said
        tools = _tools(request, plan, quirks, changes)
        return body_of(quirks.extra_body, thinking, extra_fields(request), checked_options(request), tools, known)

    def decode(self, body: bytes, *, quirks: Quirks) -> ProviderAnswer:
        """See `Dialect`."""
        return decode_text_only(body, quirks) or read_whole(body, CompletionReader(quirks))

    def parser(self, *, quirks: Quirks) -> StreamParser:
        """See `Dialect`."""
        return Parser(SseFraming(), CompletionReader(quirks), ChunkFastPath())


def _stream_options(request: Request, quirks: Quirks) -> JsonObject | None:
    """The caller's, and that usage is sent, which is asked for whether or not the caller wants it."""
    usage = {"include_usage": True} if quirks.include_usage else {}
    return {**mapping(extra_fields(request).get("stream_options")), **usage} or None


def _tools(
    request: Request, plan: structured_output.Plan | None, quirks: Quirks, changes: Changes
) -> JsonObject | None:
    """`tools` and `tool_choice`. The tool that stands for the answer must be called, unless the caller has tools too or
    asks for thinking, with which some models refuse to be forced (Kimi)."""
    if plan is None and request.tools is None and request.tool_choice is None:
        return None
    tools, choice = offer(request, quirks)
    tools = choice.of(tools)
    if plan is None or plan.tool is None:
        if not tools:
            changes.leave_out("tool_choice", request.tool_choice)
        return without_nulls({"tools": tools or None, "tool_choice": choice.in_completions() if tools else None})
    forced: object = {"type": "function", "function": {"name": plan.tool["function"]["name"]}}
    if request.think:
        forced = "auto"
    elif tools:
        forced = "required"
    if choice.in_completions() not in (None, forced):
        changes.adjust("tool_choice")
    return {"tools": [*tools, plan.tool], "tool_choice": forced}


def _thinking(think: bool | str, quirks: Quirks) -> JsonObject:
    """How the endpoint is told to think."""
    if quirks.think == "none":
        return {}
    level = think if isinstance(think, str) else None
    if quirks.think == "template":
        return {"chat_template_kwargs": {"enable_thinking": bool(think) and think != "none"}}
    if quirks.think == "openrouter":
        return {"reasoning": {"enabled": True} if think is True else {"effort": level or "none"}}
    if quirks.think == "moonshot":
        enabled = bool(think) and think != "none"
        return {
            "thinking": {
                "type": "enabled" if enabled else "disabled",
                **({"effort": level} if level and enabled else {}),
            }
        }
    return {} if think is True else {"reasoning_effort": level or "none"}


def _messages(request: Request, plan: structured_output.Plan | None, quirks: Quirks) -> Sequence[JsonObject | Message]:
    messages = (
        request.messages if plan is None else structured_output.add_instruction(request.messages, plan.instruction)
    )
    if all(map(_speaks_for_itself, messages)):
        return messages
    ids = ToolCallIdMap()
    for position, message in enumerate(request.messages):
        images.check(message, position, quirks)
    return [_message(message, ids, quirks) for message in messages]


def _speaks_for_itself(message: Message) -> bool:
    """Whether it is a role and a text, which are written here as `Message` itself is."""
    return (
        type(message) is Message
        and isinstance(message.content, str)
        and message.role != "developer"
        and message.name is None
        and not message.tool_calls
        and message.tool_call_id is None
        and message.reasoning is None
        and not message.reasoning_details
        and message.refusal is None
        and message.audio is None
        and not message.annotations
        and message.cache_control is None
    )


def _message(message: Message, ids: ToolCallIdMap, quirks: Quirks) -> JsonObject:
    extra = message.extra if isinstance(message, OpenAIMessage) else {}
    fields: JsonObject = {**extra, "role": message.role}
    if message.role == "developer" and not quirks.developer_role:
        fields["role"] = "system"
    if not message.content and (message.tool_calls or message.refusal or message.audio):
        if quirks.empty_content != "omit":
            fields["content"] = None if quirks.empty_content == "null" else ""
    else:
        fields["content"] = _content(message, quirks)
    if message.name:
        fields["name"] = message.name
    if message.tool_call_id is not None:
        fields["tool_call_id"] = ids.result(message.tool_call_id)
    if message.tool_calls:
        fields["tool_calls"] = _calls(message, ids, quirks)
    if message.cache_control:
        fields["cache_control"] = message.cache_control
    if message.role == "assistant":
        fields |= _echo(message, quirks)
    return fields


def _calls(message: Message, ids: ToolCallIdMap, quirks: Quirks) -> list[JsonObject]:
    extra = message.call_extra if isinstance(message, OpenAIMessage) else {}
    calls: list[JsonObject] = []
    for place, call in enumerate(message.tool_calls):
        written = {"id": ids.call(call.id), "type": "function", "function": _function(call)}
        if isinstance(call.custom, Custom) and quirks.custom_tools:
            custom = {"name": call.custom.name, "input": call.custom.input}
            written = {"id": written["id"], "type": "custom", "custom": custom}
        if call.cache_control:
            written["cache_control"] = call.cache_control
        calls.append(_merged(written, extra[place]) if place in extra else written)
    return calls


def _function(call: ToolCall) -> JsonObject:
    return {"name": call.function.name, "arguments": call.function.arguments or "{}"}


def _content(message: Message, quirks: Quirks) -> object:
    """A string where there is nothing but text and it is one part, or where the upstream takes no list of parts."""
    if not isinstance(message.content, tuple):
        return message.content or ""
    extra = message.part_extra if isinstance(message, OpenAIMessage) else {}
    bare = not extra and all(isinstance(part, TextPart) and not part.cache_control for part in message.content)
    if bare and (len(message.content) < 2 or quirks.text_parts == "join"):
        return message.text
    parts: list[JsonObject] = msgspec.to_builtins(message.content)
    return [_merged(part, extra[place]) if place in extra else part for place, part in enumerate(parts)]


def _merged(part: JsonObject, extra: JsonObject) -> JsonObject:
    """A part or call with the fields that we do not know, those of the object in it included."""
    within = {name: {**mapping(value), **part[name]} for name, value in extra.items() if name in part}
    return {**extra, **part, **within}


def _echo(message: Message, quirks: Quirks) -> JsonObject:
    """Reasoning on its way back. With tool calls the details are sent even when there are none: DeepSeek V4 wants the
    empty list that it sent."""
    fields: JsonObject = {}
    for name in ("refusal", "audio", "annotations"):
        if value := getattr(message, name):
            fields[name] = value
    if quirks.reasoning_key and message.reasoning:
        fields[quirks.reasoning_key] = message.reasoning
    elif quirks.reasoning_key and quirks.blank_reasoning and message.tool_calls:
        fields[quirks.reasoning_key] = BLANK
    details = reasoning.signed_entries(
        entry for entry in message.reasoning_details if string(entry.get("type")).startswith("reasoning.")
    )
    if quirks.reasoning_details and (details or message.tool_calls):
        fields["reasoning_details"] = details
    return fields


class CompletionReader:
    """Reads completions, and the chunks of streamed ones."""

    def __init__(self, quirks: Quirks) -> None:
        self.answer = AnswerBuilder(quirks)
        self._end_by_usage = quirks.end_by_usage

    def whole(self, document: JsonObject) -> None:
        """See `Reader`. A completion has ended whether or not it says why."""
        if "choices" not in document:
            raise self.answer.not_understood(document)
        self.read(document, b"")
        self.answer.finished = True
        if objects(document["choices"]) and not self.answer.finish_reason:
            self.answer.finish("stop")

    def read(self, document: JsonObject, name: bytes) -> list[Delta]:  # noqa: ARG002
        """See `Reader`."""
        choice = first(document.get("choices"))
        if choice.get("error"):
            raise refusal(choice, provider=self.answer.provider)
        message = mapping(choice.get("delta")) or mapping(choice.get("message"))
        self.answer.supplements.note(document)
        deltas = self._say(message)
        if rated := mapping(choice.get("logprobs")):
            deltas = self.answer.rated(deltas, logprobs_of(rated.get("content"), rated.get("refusal")))
        if reason := string(choice.get("finish_reason")):
            self.answer.finish(reason)
        counted = self.answer.meter.read_completion(document, choice)
        if self._end_by_usage:
            self._may_be_the_end(message, counted=counted)
        return deltas

    def _may_be_the_end(self, message: JsonObject, *, counted: bool) -> None:
        """Usage is an end until something else is said; counted beside something said it is none."""
        said = text(message.get("content")) or (
            any(map(message.get, BESIDE_CONTENT))
            and (
                reasoning.read(message)
                or message.get("refusal")
                or fragments_of(message)
                or message.get("annotations")
                or images_in(message)
                or audio_in(message)
            )
        )
        if said or counted:
            self.answer.ended_by_usage = not said

    def account(self, document: JsonObject) -> None:
        """See `Reader`. OpenCode's cost comes here; usage that comes here, too, is an end where usage is one."""
        if self.answer.meter.read_completion(document, first(document.get("choices"))):
            self.answer.ended_by_usage = self._end_by_usage

    def _say(self, message: JsonObject) -> list[Delta]:
        answer, content = self.answer, message.get("content")
        if isinstance(content, str) and not any(map(message.get, BESIDE_CONTENT)):
            return answer.content(content)
        if details := objects(message.get("reasoning_details")):
            answer.add_reasoning_details(details)
        deltas = [*answer.reasoning(reasoning.read(message)), *answer.content(text(content))]
        refused = string(message.get("refusal")) or "".join(
            string(part.get("refusal")) for part in objects(content) if part.get("type") == "refusal"
        )
        if refused:
            deltas += answer.refusal(refused)
        deltas += answer.supplement(
            annotations=map(annotation_of, objects(message.get("annotations"))),
            images=images_in(message),
            audio=audio_in(message),
        )
        if fragments := fragments_of(message):
            deltas += answer.calls(fragments)
        return deltas
