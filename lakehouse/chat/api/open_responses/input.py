"""The input of a Responses request, as `Message`s.

Consecutive items of the assistant (reasoning, messages, calls) become one message, because other dialects have the
calls and the reasoning of an answer in its message. Each result of a call becomes a message of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from lakehouse.asgi.json_body import convert_json, validation_errors
from lakehouse.chat.api.open_responses.content import read_content, read_output, simplify
from lakehouse.chat.api.open_responses.tools import ToolNames
from lakehouse.chat.api.open_responses.types import (
    CallOutputItem,
    CustomCallItem,
    FunctionCallItem,
    MessageItem,
    ReasoningItem,
)
from lakehouse.chat.api.open_responses.unsent import Unsent, get_type
from lakehouse.chat.api.reasoning_envelope import decode_details
from lakehouse.chat.dialects.lenient_json import drop_nulls
from lakehouse.chat.model.parts import JsonObject, Part
from lakehouse.chat.model.request import Message
from lakehouse.chat.model.tool_calls import Custom, Function, ToolCall
from lakehouse.core.errors import ErrBadRequest

LEFT_OUT_ITEMS = ("web_search_call", "compaction_trigger")
"""Items without anything that another provider's model could use."""


class InputReader:
    """Reads the items of one request. `field_names` gives the item of each message, for errors."""

    def __init__(self, names: ToolNames, unsent: Unsent) -> None:
        self.messages: list[Message] = []
        self.field_names: dict[str, str] = {}
        self._names = names
        self._unsent = unsent
        self._turn: _AssistantTurn | None = None

    def read(self, instructions: str | None, given: str | list[JsonObject]) -> None:
        """Read instructions and input. Raises `ErrBadRequest` with the field that does not fit."""
        if instructions:
            self._add(Message(role="system", content=instructions), "instructions")
        if isinstance(given, str):
            self._add(Message(role="user", content=given), "input")
            return
        if not given:
            raise ErrBadRequest("`input` must not be empty", field="input")
        for place, item in enumerate(given):
            where = f"input[{place}]"
            with validation_errors(where):
                self._read_item(item, where)
        self._end_turn()
        if not self.messages and self._unsent.unmapped:  # the request is refused; it must hold a message until then
            self._add(Message(role="user", content=""), "input")

    def _read_item(self, item: JsonObject, where: str) -> None:
        kind = get_type(item, where) if "role" not in item or item.get("type") is not None else "message"
        match kind:
            case "message":
                self._read_message(item, where)
            case "function_call" | "custom_tool_call":
                self._begin_turn(where).calls.append(self._read_call(item, kind, where))
            case "function_call_output" | "custom_tool_call_output":
                self._read_call_output(item, where)
            case "reasoning":
                self._begin_turn(where).add_reasoning(convert_json(item, ReasoningItem, where))
            case "item_reference":
                message = f"`{where}` is an `item_reference`, and nothing is stored here: send the item itself"
                raise ErrBadRequest(message, field=where)
            case _ if kind in LEFT_OUT_ITEMS:
                self._unsent.leave_out(f"input.{kind}")
            case _:
                self._unsent.refuse_type(where, kind)

    def _read_message(self, item: JsonObject, where: str) -> None:
        message = convert_json(item, MessageItem, where)
        self._unsent.leave_out_unknown(item, MessageItem, "input")
        content, refusal = read_content(message.content, f"{where}.content", self._unsent)
        if message.role == "assistant":
            self._begin_turn(where, with_text=True).add_text(content, refusal)
        else:
            self._add(Message(role=message.role, content=simplify(content)), where)

    def _read_call(self, item: JsonObject, kind: Literal["function_call", "custom_tool_call"], where: str) -> ToolCall:
        if kind == "function_call":
            self._unsent.leave_out_unknown(item, FunctionCallItem, "input")
            call = convert_json(item, FunctionCallItem, where)
            function = Function(name=self._names.join(call.name, call.namespace), arguments=call.arguments or "{}")
            return ToolCall(id=call.call_id, function=function)
        self._unsent.leave_out_unknown(item, CustomCallItem, "input")
        used = convert_json(item, CustomCallItem, where)
        custom = Custom(name=self._names.join(used.name, used.namespace), input=used.input)
        return ToolCall(id=used.call_id, type="custom", custom=custom)

    def _read_call_output(self, item: JsonObject, where: str) -> None:
        output = convert_json(item, CallOutputItem, where)
        self._unsent.leave_out_unknown(item, CallOutputItem, "input")
        content = read_output(output.output, f"{where}.output", self._unsent)
        self._add(Message(role="tool", tool_call_id=output.call_id, content=content), where)

    def _begin_turn(self, where: str, *, with_text: bool = False) -> _AssistantTurn:
        """Return the turn of the assistant that an item belongs to. A second text begins a turn of its own."""
        if with_text and self._turn is not None and self._turn.has_text and not self._turn.calls:
            self._end_turn()
        if self._turn is None:
            self._turn = _AssistantTurn(where)
        return self._turn

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            self._add(turn.build(), turn.where)

    def _add(self, message: Message, where: str) -> None:
        self._end_turn()
        self.field_names[f"messages[{len(self.messages)}]"] = where
        self.messages.append(message)


class _AssistantTurn:
    """Adds up the items of one turn of the assistant; `where` is the path of the first one."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.calls: list[ToolCall] = []
        self.has_text = False
        self._parts: list[Part] = []
        self._refusal = ""
        self._reasoning: list[str] = []
        self._details: list[JsonObject] = []

    def add_text(self, parts: Iterable[Part], refusal: str) -> None:
        """Add the content of a message."""
        self.has_text = True
        self._parts += parts
        self._refusal += refusal

    def add_reasoning(self, item: ReasoningItem) -> None:
        """Add reasoning. `encrypted_content` carries the details of a provider of another form, or is an own one of a
        responses provider, which is sent it back with the item."""
        texts = [part.text for part in (item.summary or item.content or ()) if part.text]
        self._reasoning += texts
        if not item.encrypted_content:
            return
        details = decode_details(item.encrypted_content)
        if details is None:
            summary = [{"type": "summary_text", "text": part.text} for part in item.summary or ()]
            own = {"id": item.id, "summary": summary, "encrypted_content": item.encrypted_content}
            details = [{"type": "reasoning", **drop_nulls(own)}]
        self._details += details

    def build(self) -> Message:
        """Return the turn as a message."""
        return Message(
            role="assistant",
            content=simplify(tuple(self._parts)),
            tool_calls=tuple(self.calls),
            reasoning="\n\n".join(self._reasoning) or None,
            reasoning_details=tuple(self._details),
            refusal=self._refusal or None,
        )
