"""Anthropic's messages, as OpenCode speaks them for Claude, Qwen and MiniMax, and Kimi for every client.

Request, answer and events: https://docs.anthropic.com/en/api/messages and /messages-streaming. A stream is named
events and is whole when `message_stop` has come. Thinking blocks carry a signature and are sent back unchanged.
"""

from __future__ import annotations

from typing import Literal

from lakehouse.chat.dialects import images, schema, thinking
from lakehouse.chat.dialects.answer import AnswerBuilder
from lakehouse.chat.dialects.base import Changes, Quirks, SchemaLevel, StreamParser
from lakehouse.chat.dialects.choice import offer
from lakehouse.chat.dialects.documents import JsonObject, mapping, objects, string, without_nulls
from lakehouse.chat.dialects.parameters import WITHOUT_PLACE, Places, Read, Sent, carried
from lakehouse.chat.dialects.parsing import Parser, read_whole
from lakehouse.chat.dialects.requests import body_of, extra_fields, own_options
from lakehouse.chat.dialects.sse import SseFraming
from lakehouse.chat.dialects.tools import CallIds, arguments_object
from lakehouse.chat.request import Delta, ImagePart, Message, Reply, Request
from lakehouse.errors import ErrBadRequest

DEFAULT_MAX_TOKENS = 32_768
"""Tokens. The form demands a limit; this one Kimi recommends, and every model of the form takes."""

PLACES: Places = {
    **WITHOUT_PLACE,
    "cache_control": Sent(("cache_control",)),
    "context_management": Sent(("context_management",)),
    "output_config": Sent(("output_config",)),
    "parallel_tool_calls": Read(),
    "safety_identifier": Read(),
    "service_tier": Sent(("service_tier",), {"auto": "auto", "default": "standard_only"}),
    "thinking": Sent(("thinking",)),
    "top_k": Sent(("top_k",)),
}
"""Where the fields of OpenAI's form go; the form's own are taken as they are."""

SMALLEST_TOP_P = 0.95
"""Anthropic refuses a smaller `top_p`, any `top_k`, and any `temperature` but 1, along with thinking."""

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
        extra = carried(request, PLACES, model=model, quirks=quirks, changes=changes)
        plan = schema.plan(request, quirks, steps=self.schema_steps)
        limit = request.max_tokens or quirks.default_max_tokens or DEFAULT_MAX_TOKENS
        switch = thinking.in_messages(request, quirks, limit=limit, changes=changes)
        extra |= switch | _joined("output_config", extra, switch)
        known = {
            "model": model,
            **_conversation(request, plan, quirks),
            "max_tokens": limit,
            "stream": stream,
            **_sampling(request, extra, quirks, changes),
            "stop_sequences": [request.stop] if isinstance(request.stop, str) else request.stop,
            "metadata": _metadata(request, quirks, changes),
        }
        changes.leave_out("seed", request.seed)
        return body_of(quirks.extra_body, own_options(request), extra, _tools(request, plan, quirks), known)

    def decode(self, body: bytes, *, quirks: Quirks) -> Reply:
        """See `Dialect`."""
        return read_whole(body, MessagesReader(quirks))

    def parser(self, *, quirks: Quirks) -> StreamParser:
        """See `Dialect`."""
        return Parser(SseFraming(), MessagesReader(quirks))


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer")


def _joined(name: str, *layers: JsonObject) -> JsonObject:
    """The object `name` of several layers as one, the later members over the earlier."""
    joined = {key: value for layer in layers for key, value in mapping(layer.get(name)).items()}
    return {name: joined} if joined else {}


def _sampling(request: Request, extra: JsonObject, quirks: Quirks, changes: Changes) -> JsonObject:
    """`temperature` and `top_p`, with `top_k` taken out of `extra`, as far as they may be sent."""
    temperature, top_p, top_k = request.temperature, request.top_p, extra.get("top_k")
    thinks = mapping(extra.get("thinking")).get("type") in ("enabled", "adaptive")
    if not quirks.send_temperature:
        temperature = top_p = top_k = None
    elif thinks and not quirks.sampling_while_thinking:
        temperature = 1.0 if temperature == 1 else None
        top_p = top_p if top_p is not None and top_p >= SMALLEST_TOP_P else None
        top_k = None
    if temperature is None:
        changes.leave_out("temperature", request.temperature)
    if top_p is None:
        changes.leave_out("top_p", request.top_p)
    if top_k is None:
        changes.leave_out("top_k", extra.pop("top_k", None))
    return {"temperature": temperature, "top_p": top_p}


def _metadata(request: Request, quirks: Quirks, changes: Changes) -> JsonObject | None:
    """The id of the end user: `user`, or `safety_identifier`, which OpenAI has put in its place."""
    identifier = extra_fields(request).get("safety_identifier")
    user = (request.user or string(identifier)) if quirks.send_user else None
    if user != request.user:
        changes.leave_out("user", request.user)
    if user != identifier:
        changes.leave_out("safety_identifier", identifier)
    return {"user_id": user} if user else None


def _tools(request: Request, plan: schema.Plan | None, quirks: Quirks) -> JsonObject:
    """`tools` and `tool_choice`, the tool that stands for a structured answer among them. That calls are not to be made
    in parallel is said in the choice, which is `auto` if the caller made none."""
    tools, chosen = offer(request, quirks)
    tools = chosen.of(tools)
    choice: JsonObject | None = {"type": CHOICES[chosen.mode]} if chosen.mode else None
    if chosen.name:
        choice = {"type": "tool", "name": chosen.name}
    if plan is not None and plan.tool is not None:
        forced = {"type": "any"} if tools else {"type": "tool", "name": plan.tool["function"]["name"]}
        thinks = thinking.wanted(request, quirks) or quirks.thinking == "always"
        choice = {"type": "auto"} if thinks else forced
        tools = [*tools, plan.tool]
    if extra_fields(request).get("parallel_tool_calls") is False and choice != {"type": "none"}:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    written = [_tool(mapping(tool["function"])) for tool in tools]
    return without_nulls({"tools": written or None, "tool_choice": choice if written else None})


def _tool(function: JsonObject) -> JsonObject:
    parameters = mapping(function.get("parameters")) or {"type": "object", "properties": {}}
    described = without_nulls({"description": function.get("description")})
    return {"name": function["name"], **described, "input_schema": parameters}


def _conversation(request: Request, plan: schema.Plan | None, quirks: Quirks) -> JsonObject:
    """`system` and `messages`. What the system says is the user's turn where nobody else says anything, for there must
    be one."""
    messages = schema.instructed(request.messages, plan.instruction if plan else "")
    said = [message.text for message in messages if _is_system(message) and message.text.strip()]
    system = "\n\n".join(said) or None
    turns = _turns(messages, len(messages) - len(request.messages), quirks)
    if not turns and system:
        return {"messages": [{"role": "user", "content": [{"type": "text", "text": system}]}]}
    if not turns:
        raise ErrBadRequest("`messages` must hold more than white space", field="messages")
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
        return []

    def _delta(self, index: object, delta: JsonObject) -> list[Delta]:
        kind = delta.get("type")
        if kind == "text_delta":
            return self.answer.content(string(delta.get("text")))
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
