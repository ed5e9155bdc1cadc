"""Anthropic's messages, as OpenCode speaks them for Claude, Qwen and MiniMax, and Kimi for every client.

Request, answer and events: https://docs.anthropic.com/en/api/messages and /messages-streaming. A stream is named
events and is whole when `message_stop` has come. Thinking blocks carry a signature and are sent back unchanged.
"""

from __future__ import annotations

from typing import Literal

from lakehouse.chat.dialects import thinking
from lakehouse.chat.dialects.answer import AnswerBuilder
from lakehouse.chat.dialects.answer_extras import citation_of
from lakehouse.chat.dialects.base import Capability, Changes, Quirks, SchemaLevel, StreamParser
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.lenient_json import JsonObject, mapping, objects, string, without_nulls
from lakehouse.chat.dialects.messages import blocks
from lakehouse.chat.dialects.messages.parameters import parameters, web_search
from lakehouse.chat.dialects.parsing import Parser, read_whole
from lakehouse.chat.dialects.request_fields import body_of, checked_options, extra_fields
from lakehouse.chat.dialects.schema import structured_output
from lakehouse.chat.dialects.tool_choice import Choice, offer
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.model.request import Request

CHOICES = {"none": "none", "auto": "auto", "required": "any"}


class Messages:
    """The dialect. It has no word for `seed` and `format`: the one is left out, the other is asked for with a tool."""

    path = "/messages"
    framing: Literal["sse", "ndjson"] = "sse"
    schema_steps: tuple[SchemaLevel, ...] = ("tool", "prompt")
    capabilities: frozenset[Capability] = frozenset({"file", "cache_control"})

    def encode(
        self, request: Request, *, model: str, stream: bool, quirks: Quirks, changes: Changes | None = None
    ) -> bytes:
        """See `Dialect`."""
        changes = Changes() if changes is None else changes
        said = parameters(request, model=model, quirks=quirks, changes=changes)
        plan = structured_output.plan(request, quirks, steps=self.schema_steps)
        searches = web_search(request, model=model, quirks=quirks, changes=changes)
        tools = _tools(request, plan, searches, quirks, changes)
        known = {"model": model, **blocks.conversation(request, plan, quirks, changes), "stream": stream}
        return body_of(quirks.extra_body, checked_options(request), said, tools, known)

    def decode(self, body: bytes, *, quirks: Quirks) -> ProviderAnswer:
        """See `Dialect`."""
        return read_whole(body, MessagesReader(quirks))

    def parser(self, *, quirks: Quirks) -> StreamParser:
        """See `Dialect`."""
        return Parser(SseFraming(), MessagesReader(quirks))


def _tools(
    request: Request, plan: structured_output.Plan | None, searches: list[JsonObject], quirks: Quirks, changes: Changes
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
    written = [*map(blocks.tool, tools), *searches]
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


class MessagesReader:
    """Reads messages, and the events of streamed ones."""

    def __init__(self, quirks: Quirks) -> None:
        self.answer = AnswerBuilder(quirks)
        self._reason = ""
        self._theirs: set[object] = set()  # calls that the provider makes and answers itself
        self._began = 0  # the block of text that is under way: where in the text, and what it cites
        self._cited: list[JsonObject] = []

    def whole(self, document: JsonObject) -> None:
        """See `Reader`."""
        if not isinstance(document.get("content"), list):
            raise self.answer.not_understood(document)
        for index, block in enumerate(objects(document["content"])):
            self._block(index, block)
            self._cite()
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
        if kind == "content_block_stop":
            return self._cite()
        if kind == "message_start":
            self._count(mapping(document.get("message")))
        elif kind == "message_delta":
            self._count(document)
            self._reason = string(mapping(document.get("delta")).get("stop_reason")) or self._reason
        elif kind == "message_stop":
            self._count(document)
            cited = self._cite()
            self.answer.finished = True
            self.answer.finish(self._reason or "stop")
            return cited
        return []

    def account(self, document: JsonObject) -> None:
        """See `Reader`: OpenCode's cost may follow."""
        self._count(document)

    def _block(self, index: object, block: JsonObject) -> list[Delta]:
        """A block: a whole one, or the beginning of one, which may have something in it already."""
        kind = block.get("type")
        if kind == "text":
            self._began = self.answer.place
            self._cited = objects(block.get("citations"))
            return self.answer.content(string(block.get("text")))
        if kind in blocks.THINKING:
            self.answer.add_reasoning_details([{**block, "index": index}])
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
        if kind == "citations_delta":
            self._cited.append(mapping(delta.get("citation")))
            return []
        if kind == "input_json_delta" and isinstance(index, int) and index in self._theirs:
            return []
        if kind == "input_json_delta":
            return self.answer.fragment(index, arguments=string(delta.get("partial_json")))
        if kind in ("thinking_delta", "signature_delta"):
            thought = string(delta.get("thinking"))
            changed = {"thinking": thought} if thought else {"signature": string(delta.get("signature"))}
            self.answer.add_reasoning_details([{"type": "thinking", "index": index, **changed}])
            return self.answer.reasoning(thought)
        return []

    def _cite(self) -> list[Delta]:
        """What the block that has ended cites: its text is what the citations are about."""
        cited, self._cited = self._cited, []
        end = self.answer.place
        return self.answer.supplement(annotations=[citation_of(entry, self._began, end) for entry in cited if entry])

    def _count(self, document: JsonObject) -> None:
        self.answer.meter.read_message(document.get("usage"))
        self.answer.meter.charge(document.get("cost"))
