"""Ollama's own chat, local and in the cloud.

Source: ollama/ollama api/types.go and server/routes.go. A stream is JSON objects, one a line; the last has `done: true`
and the counts. A stream may end without it, after a token was repeated too often: then nobody says so, and the answer
is cut. `think` is on by default for models that can, `stream` for all.
"""

from __future__ import annotations

from typing import Literal

from lakehouse.chat.dialects import images, reasoning, thinking
from lakehouse.chat.dialects.answer import AnswerBuilder
from lakehouse.chat.dialects.answer_extras import image_of, images_in, logprobs_of
from lakehouse.chat.dialects.base import Capability, Changes, Quirks, SchemaLevel, StreamParser
from lakehouse.chat.dialects.framing.ndjson import NdjsonFraming
from lakehouse.chat.dialects.lenient_json import JsonObject, mapping, string, text, without_nulls
from lakehouse.chat.dialects.parameters import (
    WITHOUT_PLACE,
    Places,
    Read,
    Sent,
    carried,
    note_strict,
    note_unsent,
    unplaced,
)
from lakehouse.chat.dialects.parsing import Parser, read_whole
from lakehouse.chat.dialects.request_fields import body_of, checked_options, extra_fields
from lakehouse.chat.dialects.schema import structured_output
from lakehouse.chat.dialects.schema.subsets import inlined
from lakehouse.chat.dialects.tool_choice import choice_of, offer
from lakehouse.chat.dialects.tools import ToolCallIdMap, arguments_object, fragments_of
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.parts import ImagePart
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.model.request import Message, Request
from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.provider_failures import failure

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
"""Fields that callers of OpenAI's form may send, and that Ollama knows as options under the same names."""

PLACES: Places = {
    **WITHOUT_PLACE,
    **{name: Sent(("options", name)) for name in OPTIONS},
    "keep_alive": Sent(("keep_alive",)),
    "logprobs": Sent(("logprobs",)),
    "options": Read(),
    "parallel_tool_calls": Read(),
    "repetition_penalty": Sent(("options", "repeat_penalty")),
    "shift": Sent(("shift",)),
    "top_logprobs": Sent(("top_logprobs",)),
    "truncate": Sent(("truncate",)),
}
"""Where the fields of OpenAI's form go; the form's own are taken as they are."""


class Ollama:
    """The dialect. It has no `tool_choice`: `none` leaves the tools out, a named tool is the only one that is
    offered, and `required` is the same as `auto`."""

    path = "/api/chat"
    framing: Literal["sse", "ndjson"] = "ndjson"
    schema_steps: tuple[SchemaLevel, ...] = ("native", "json_object", "tool", "prompt")
    capabilities: frozenset[Capability] = frozenset({"tool_name", "system_media", "assistant_media"})

    def encode(
        self, request: Request, *, model: str, stream: bool, quirks: Quirks, changes: Changes | None = None
    ) -> bytes:
        """See `Dialect`."""
        changes = Changes() if changes is None else changes
        extra = carried(request, PLACES, model=model, quirks=quirks, changes=changes)
        plan = structured_output.plan(request, quirks, steps=self.schema_steps)
        tools = _tools(request, plan, quirks)
        known = {
            "model": model,
            "messages": _messages(request, plan, quirks),
            "stream": stream,
            "think": thinking.nearest(request, quirks, thinking.OLLAMA_LEVELS, changes),
            "format": _format(plan),
            "tools": tools or None,
            "options": _options(request, mapping(extra.pop("options", None)), quirks) or None,
        }
        _note(request, quirks, changes)
        if tools and extra_fields(request).get("parallel_tool_calls") is False:
            raise unplaced("parallel_tool_calls", model=model, quirks=quirks)
        return body_of(quirks.extra_body, extra, known)

    def decode(self, body: bytes, *, quirks: Quirks) -> ProviderAnswer:
        """See `Dialect`."""
        return read_whole(body, OllamaReader(quirks))

    def parser(self, *, quirks: Quirks) -> StreamParser:
        """See `Dialect`."""
        return Parser(NdjsonFraming(), OllamaReader(quirks))


def _format(plan: structured_output.Plan | None) -> object:
    if plan is None or not plan.mode:
        return None
    return "json" if plan.schema is None or plan.level == "json_object" else plan.schema


def _note(request: Request, quirks: Quirks, changes: Changes) -> None:
    """Record what is not sent: whose request it is, and that a tool must be called."""
    note_unsent(request, quirks, changes)
    note_strict(request, changes)
    changes.leave_out("user", request.user)
    changes.leave_out("parallel_tool_calls", extra_fields(request).get("parallel_tool_calls"))
    chosen = choice_of(request, quirks)
    if chosen.name or chosen.mode == "required":
        changes.adjust("tool_choice")


def _options(request: Request, sampling: JsonObject, quirks: Quirks) -> JsonObject:
    """Ollama's options, `sampling` among them. `stop` must be a list: a bare string is a 500."""
    given = extra_fields(request).get("options", {})
    if not isinstance(given, dict):
        raise ErrBadRequest("`options` must be an object", field="options")
    known = {
        "temperature": request.temperature if quirks.send_temperature else None,
        "top_p": request.top_p if quirks.send_temperature else None,
        "num_predict": request.max_tokens or quirks.default_max_tokens,
        "seed": request.seed,
        "stop": [request.stop] if isinstance(request.stop, str) else request.stop,
    }
    return {**sampling, **given, **checked_options(request), **without_nulls(known)}


def _tools(request: Request, plan: structured_output.Plan | None, quirks: Quirks) -> list[JsonObject]:
    """Tools with their references put in place, for Ollama drops the keyword from what it shows the model."""
    tools, chosen = offer(request, quirks)
    tools = chosen.of(tools)
    if chosen.name is not None:
        tools = [tool for tool in tools if mapping(tool["function"]).get("name") == chosen.name]
    if chosen.mode == "none":
        tools = []
    if plan is not None and plan.tool is not None:
        tools = [*tools, plan.tool]
    offered = []
    for tool in tools:
        function = mapping(tool["function"])
        parameters = inlined(mapping(function.get("parameters")))
        offered.append({**tool, "type": "function", "function": {**function, "parameters": parameters}})
    return offered


def _messages(request: Request, plan: structured_output.Plan | None, quirks: Quirks) -> list[JsonObject]:
    ids = ToolCallIdMap()
    names = {call.id: call.function.name for message in request.messages for call in message.tool_calls}
    carried = [_images(message, position, quirks) for position, message in enumerate(request.messages)]
    messages = structured_output.add_instruction(request.messages, plan.instruction if plan else "")
    added = len(messages) - len(request.messages)
    written = []
    for position, message in enumerate(messages):
        fields = _message(message, ids, names, quirks)
        if position >= added and carried[position - added]:
            fields["images"] = carried[position - added]
        written.append(fields)
    return written


def _message(message: Message, ids: ToolCallIdMap, names: dict[str, str], quirks: Quirks) -> JsonObject:
    """One message: `content` must be a string, arguments must be an object, a result names its tool."""
    fields: JsonObject = {"role": "system" if message.role == "developer" else message.role, "content": message.text}
    if message.tool_call_id is not None:
        fields["tool_call_id"] = ids.result(message.tool_call_id)
        fields |= without_nulls({"tool_name": names.get(message.tool_call_id, message.name)})
    if message.tool_calls:
        fields["tool_calls"] = [
            {
                "id": ids.call(call.id),
                "function": {
                    "index": index,
                    "name": call.function.name,
                    "arguments": arguments_object(call.function.arguments),
                },
            }
            for index, call in enumerate(message.tool_calls)
        ]
    if message.reasoning and quirks.reasoning_key:
        fields["thinking"] = message.reasoning
    return fields


def _images(message: Message, position: int, quirks: Quirks) -> list[str]:
    """The images of a message as bare base64; raises `ErrBadRequest` for a remote one, which Ollama does not fetch."""
    taken: list[str] = []
    for index, part in enumerate(message.content if isinstance(message.content, tuple) else ()):
        if isinstance(part, ImagePart):
            where = images.field(position, index)
            image = images.allow(part.image_url, where=where, quirks=quirks) or images.data_of(
                part.image_url.url, where=where
            )
            taken.append(image.data)
    return taken


class OllamaReader:
    """Reads answers: a whole one is as the last line of a streamed one."""

    def __init__(self, quirks: Quirks) -> None:
        self.answer = AnswerBuilder(quirks)

    def whole(self, document: JsonObject) -> None:
        """See `Reader`."""
        if "message" not in document and "response" not in document:
            raise self.answer.not_understood(document)
        self.read(document, b"")

    def read(self, document: JsonObject, name: bytes) -> list[Delta]:  # noqa: ARG002
        """See `Reader`. What `/api/generate` calls `response` is understood, too."""
        message = mapping(document.get("message")) or {**document, "content": document.get("response")}
        answer = self.answer
        deltas = [
            *answer.reasoning(reasoning.read(message)),
            *answer.content(text(message.get("content"))),
            *answer.calls(fragments_of(message)),
            *answer.supplement(images=self._images(message)),
        ]
        deltas = answer.rated(deltas, logprobs_of(document.get("logprobs")))
        if document.get("done") is True:
            self._end(document)
        return deltas

    def _images(self, message: JsonObject) -> list[JsonObject]:
        """The images of a message, and the one that `/api/generate` calls `image`."""
        image = image_of(string(message.get("image")))
        return [*images_in(message), *([image] if image else [])]

    def account(self, document: JsonObject) -> None:
        """See `Reader`: nothing follows the last line."""

    def _end(self, document: JsonObject) -> None:
        """The last line. Without a reason and without counts it was the runner's connection that ended, not the
        answer."""
        self.answer.finished = True
        self.answer.meter.read_ollama(document)
        reason = string(document.get("done_reason"))
        if reason in ("load", "unload"):
            message = (
                f"{self.answer.provider} only took the model into memory or out of it ({reason}), and said nothing"
            )
            raise failure("empty_response", message, provider=self.answer.provider, upstream_status=200)
        if reason or "eval_count" in document or "total_duration" in document:
            self.answer.finish(reason or "stop")
