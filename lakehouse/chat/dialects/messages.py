"""Anthropic's messages, as OpenCode speaks them for Claude, Qwen and MiniMax, and Kimi for every client.

Request, answer and events: https://docs.anthropic.com/en/api/messages and /messages-streaming. A stream is named
events and is whole when `message_stop` has come. Thinking blocks carry a signature and are sent back unchanged.
"""

from __future__ import annotations

from typing import Literal

from lakehouse.chat.dialects import images, schema, thinking
from lakehouse.chat.dialects.answer import AnswerBuilder
from lakehouse.chat.dialects.base import Changes, Quirks, SchemaLevel, StreamParser
from lakehouse.chat.dialects.choice import Choice, offer
from lakehouse.chat.dialects.documents import JsonObject, mapping, objects, string, without_nulls
from lakehouse.chat.dialects.messages_parameters import parameters, web_search
from lakehouse.chat.dialects.parameters import note_names
from lakehouse.chat.dialects.parsing import Parser, read_whole
from lakehouse.chat.dialects.requests import body_of, extra_fields, own_options
from lakehouse.chat.dialects.sse import SseFraming
from lakehouse.chat.dialects.tools import CallIds, arguments_object
from lakehouse.chat.request import Delta, ImagePart, Message, Reply, Request
from lakehouse.errors import ErrBadRequest

CHOICES = {"none": "none", "auto": "auto", "required": "any"}

THINKING = ("thinking", "redacted_thinking")


class Messages:
    """The dialect. It has no word for `seed` and `format`: the one is left out, the other is asked for with a tool."""

    path = "/messages"
    framing: Literal["sse", "ndjson"] = "sse"
    schema_steps: tuple[SchemaLevel, ...] = ("tool", "prompt")

    def encode(
        self, request: Request, *, model: str, stream: bool, quirks: Quirks, changes: Changes | None = None
    ) -> bytes:
        """See `Dialect`."""
        changes = Changes() if changes is None else changes
        said = parameters(request, model=model, quirks=quirks, changes=changes)
        plan = schema.plan(request, quirks, steps=self.schema_steps)
        searches = web_search(request, model=model, quirks=quirks, changes=changes)
        tools = _tools(request, plan, searches, quirks, changes)
        known = {"model": model, **_conversation(request, plan, quirks, changes), "stream": stream}
        return body_of(quirks.extra_body, own_options(request), said, tools, known)

    def decode(self, body: bytes, *, quirks: Quirks) -> Reply:
        """See `Dialect`."""
        return read_whole(body, MessagesReader(quirks))

    def parser(self, *, quirks: Quirks) -> StreamParser:
        """See `Dialect`."""
        return Parser(SseFraming(), MessagesReader(quirks))


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer")


def _tools(
    request: Request, plan: schema.Plan | None, searches: list[JsonObject], quirks: Quirks, changes: Changes
) -> JsonObject:
    """`tools` and `tool_choice`, `searches` and the tool that stands for a structured answer among them. That calls are
    not to be made in parallel is said in the choice, which is `auto` if the caller made none."""
    tools, chosen = offer(request, quirks)
    tools = chosen.of(tools)
    asked = choice = _choice(chosen)
    if plan is not None and plan.tool is not None:
        forced = {"type": "any"} if tools else {"type": "tool", "name": plan.tool["function"]["name"]}
        thinks = thinking.wanted(request, quirks) or quirks.thinking == "always"
        choice = {"type": "auto"} if thinks else forced
        tools = [*tools, plan.tool]
    parallel = extra_fields(request).get("parallel_tool_calls")
    written = [*[_tool(mapping(tool["function"])) for tool in tools], *searches]
    if not written:
        changes.leave_out("tool_choice", request.tool_choice)
        changes.leave_out("parallel_tool_calls", parallel)
        return {}
    if asked is not None and asked != choice:
        changes.adjust("tool_choice")
    if parallel is False and choice != {"type": "none"}:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return without_nulls({"tools": written, "tool_choice": choice})


def _choice(chosen: Choice) -> JsonObject | None:
    if chosen.name:
        return {"type": "tool", "name": chosen.name}
    return {"type": CHOICES[chosen.mode]} if chosen.mode else None


def _tool(function: JsonObject) -> JsonObject:
    parameters = mapping(function.get("parameters")) or {"type": "object", "properties": {}}
    described = without_nulls({"description": function.get("description")})
    return {"name": function["name"], **described, "input_schema": parameters}


def _conversation(request: Request, plan: schema.Plan | None, quirks: Quirks, changes: Changes) -> JsonObject:
    """`system` and `messages`. What the system says is the user's turn where nobody else says anything, for there must
    be one."""
    note_names(request, changes)
    messages = schema.instructed(request.messages, plan.instruction if plan else "")
    said = [message.text for message in messages if _is_system(message) and message.text.strip()]
    system = "\n\n".join(said) or None
    turns = _turns(messages, len(messages) - len(request.messages), quirks)
    if not turns and system:
        return {"messages": [{"role": "user", "content": [{"type": "text", "text": system}]}]}
    if not turns:
        raise ErrBadRequest("`messages` must hold more than white space", field="messages")
    last = turns[-1]["content"][-1]
    if turns[-1]["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()  # white space at the end of what the model is to go on with is refused
    return {"system": system, "messages": turns}


def _turns(messages: tuple[Message, ...], added: int, quirks: Quirks) -> list[JsonObject]:
    """The conversation in turns of `user` and `assistant`. Messages that follow each other on one side are one turn,
    for all results of parallel calls must stand together; one that says nothing, or is white space, which is refused,
    is left out."""
    ids = CallIds()
    turns: list[JsonObject] = []
    for position, message in enumerate(messages):
        if _is_system(message):
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _said(message, ids, quirks) if role == "assistant" else _heard(message, position - added, ids, quirks)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _said(message: Message, ids: CallIds, quirks: Quirks) -> list[JsonObject]:
    """The blocks of an assistant's message: its thinking first, as it came."""
    blocks: list[JsonObject] = []
    if quirks.reasoning_details:
        kept = (entry for entry in message.reasoning_details if entry.get("type") in THINKING)
        blocks += [{name: value for name, value in entry.items() if name != "index"} for entry in kept]
    if not blocks and message.reasoning and quirks.unsigned_thinking:
        blocks.append({"type": "thinking", "thinking": message.reasoning, "signature": ""})
    if message.text.strip():
        blocks.append({"type": "text", "text": message.text})
    for call in message.tool_calls:
        arguments = arguments_object(call.function.arguments)
        blocks.append({"type": "tool_use", "id": ids.call(call.id), "name": call.function.name, "input": arguments})
    return blocks


def _heard(message: Message, position: int, ids: CallIds, quirks: Quirks) -> list[JsonObject]:
    """The blocks of a user's message, or the result of a tool; that must have content, be it empty."""
    blocks: list[JsonObject] = []
    if isinstance(message.content, tuple):
        for index, part in enumerate(message.content):
            if isinstance(part, ImagePart):
                blocks.append(_image(part, images.field(position, index), quirks))
            elif part.text.strip():
                blocks.append({"type": "text", "text": part.text})
    elif message.content and message.content.strip():
        blocks.append({"type": "text", "text": message.content})
    if message.tool_call_id is None:
        return blocks
    content: object = blocks if message.images else message.text
    return [{"type": "tool_result", "tool_use_id": ids.result(message.tool_call_id), "content": content}]


def _image(part: ImagePart, where: str, quirks: Quirks) -> JsonObject:
    image = images.allow(part.image_url, where=where, quirks=quirks)
    if image is None:
        return {"type": "image", "source": {"type": "url", "url": part.image_url.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.data}}


class MessagesReader:
    """Reads messages, and the events of streamed ones."""

    def __init__(self, quirks: Quirks) -> None:
        self.answer = AnswerBuilder(quirks)
        self._reason = ""
        self._theirs: set[object] = set()  # calls that the provider makes and answers itself

    def whole(self, document: JsonObject) -> None:
        """See `Reader`."""
        if not isinstance(document.get("content"), list):
            raise self.answer.not_understood(document)
        for index, block in enumerate(objects(document["content"])):
            self._block(index, block)
        self._count(document)
        self.answer.finished = True
        self.answer.finish(string(document.get("stop_reason")) or "stop")

    def read(self, document: JsonObject, name: bytes) -> list[Delta]:
        """See `Reader`. The type is in the data as well as in the event's name."""
        kind, index = string(document.get("type")) or name.decode("utf-8", "replace"), document.get("index")
        if kind == "content_block_start":
            return self._block(index, mapping(document.get("content_block")))
        if kind == "content_block_delta":
            return self._delta(index, mapping(document.get("delta")))
        if kind == "message_start":
            self._count(mapping(document.get("message")))
        elif kind == "message_delta":
            self._count(document)
            self._reason = string(mapping(document.get("delta")).get("stop_reason")) or self._reason
        elif kind == "message_stop":
            self._count(document)
            self.answer.finished = True
            self.answer.finish(self._reason or "stop")
        return []

    def account(self, document: JsonObject) -> None:
        """See `Reader`: OpenCode's cost may follow."""
        self._count(document)

    def _block(self, index: object, block: JsonObject) -> list[Delta]:
        """A block: a whole one, or the beginning of one, which may have something in it already."""
        kind = block.get("type")
        if kind == "text":
            return self.answer.content(string(block.get("text")))
        if kind in THINKING:
            self.answer.signed([{**block, "index": index}])
            return self.answer.reasoning(string(block.get("thinking")))
        if kind == "tool_use":
            name, given = string(block.get("name")), block.get("input")
            return self.answer.fragment(index, id=string(block.get("id")), name=name, arguments=given or None)
        if kind == "server_tool_use" and isinstance(index, int):
            self._theirs.add(index)
        return []

    def _delta(self, index: object, delta: JsonObject) -> list[Delta]:
        kind = delta.get("type")
        if kind == "text_delta":
            return self.answer.content(string(delta.get("text")))
        if kind == "input_json_delta" and isinstance(index, int) and index in self._theirs:
            return []
        if kind == "input_json_delta":
            return self.answer.fragment(index, arguments=string(delta.get("partial_json")))
        if kind in ("thinking_delta", "signature_delta"):
            thought = string(delta.get("thinking"))
            changed = {"thinking": thought} if thought else {"signature": string(delta.get("signature"))}
            self.answer.signed([{"type": "thinking", "index": index, **changed}])
            return self.answer.reasoning(thought)
        return []

    def _count(self, document: JsonObject) -> None:
        self.answer.meter.read_message(document.get("usage"))
        self.answer.meter.charge(document.get("cost"))
