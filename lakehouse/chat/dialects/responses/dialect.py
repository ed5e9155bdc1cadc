"""OpenAI's responses, which OpenCode speaks for GPT and Grok.

Shapes and events: https://platform.openai.com/docs/api-reference/responses and /responses-streaming, as typed in
openai-python `types/responses`. Nothing is stored at the provider: the conversation is sent whole each time, encrypted
reasoning included. A stream is named events and is whole when `response.completed` or `response.incomplete` has come.
"""

from __future__ import annotations

from typing import Literal

from lakehouse.chat.dialects import files, images, thinking
from lakehouse.chat.dialects.answer import AnswerBuilder
from lakehouse.chat.dialects.answer_extras import annotation_of, image_of, logprobs_of
from lakehouse.chat.dialects.base import Capability, Changes, Quirks, SchemaLevel, StreamParser
from lakehouse.chat.dialects.errors.classifier import refusal
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.lenient_json import JsonObject, mapping, objects, string, without_nulls
from lakehouse.chat.dialects.parameters import unplaced
from lakehouse.chat.dialects.parsing import Parser, read_whole
from lakehouse.chat.dialects.request_fields import body_of, checked_options
from lakehouse.chat.dialects.responses.parameters import parameters, web_search
from lakehouse.chat.dialects.schema import structured_output
from lakehouse.chat.dialects.tool_choice import Choice, called, offer
from lakehouse.chat.dialects.tools import ToolCallIdMap
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.parts import AudioPart, File, FilePart, ImagePart, TextPart, VideoPart
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.model.request import Message, Request
from lakehouse.chat.model.tool_calls import Custom

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""The items that are calls of the caller's tools, and what of them says with what."""


class Responses:
    """The dialect. It has no word for `seed`, which is left out, nor for `stop`, which is refused: an answer that runs
    past its stop is another answer."""

    path = "/responses"
    framing: Literal["sse", "ndjson"] = "sse"
    schema_steps: tuple[SchemaLevel, ...] = ("native", "json_object", "tool", "prompt")
    capabilities: frozenset[Capability] = frozenset({"file", "input_audio", "detail", "system_media"})

    def encode(
        self, request: Request, *, model: str, stream: bool, quirks: Quirks, changes: Changes | None = None
    ) -> bytes:
        """See `Dialect`."""
        changes = Changes() if changes is None else changes
        if request.stop is not None:
            raise unplaced("stop", model=model, quirks=quirks)
        plan = structured_output.plan(request, quirks, steps=self.schema_steps)
        said = parameters(request, model=model, quirks=quirks, changes=changes)
        if plan and plan.mode:
            said["text"] = {**mapping(said.get("text")), "format": _format(plan)}
        tools = _tools(request, plan, quirks, changes)
        known = {"model": model, "input": _input(request, plan, quirks), "stream": stream}
        return body_of(quirks.extra_body, checked_options(request), said, tools, known)

    def decode(self, body: bytes, *, quirks: Quirks) -> ProviderAnswer:
        """See `Dialect`."""
        return read_whole(body, ResponseReader(quirks))

    def parser(self, *, quirks: Quirks) -> StreamParser:
        """See `Dialect`."""
        return Parser(SseFraming(), ResponseReader(quirks))


def _format(plan: structured_output.Plan) -> JsonObject:
    if plan.schema is None or plan.level == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", **structured_output.named_schema(plan.schema, plan.label)}


def _tools(request: Request, plan: structured_output.Plan | None, quirks: Quirks, changes: Changes) -> JsonObject:
    """`tools` and `tool_choice`, the search for `web_search_options` among them."""
    tools, chosen = offer(request, quirks)
    asked = choice = _choice(tools, chosen)
    if plan is not None and plan.tool is not None:
        tools = chosen.of(tools)
        forced = "required" if tools else {"type": "function", "name": plan.tool["function"]["name"]}
        choice = "auto" if thinking.wanted(request, quirks) else forced
        tools = [*tools, plan.tool]
    written = [*map(_tool, tools), *web_search(request)]
    if not written:
        changes.leave_out("tool_choice", request.tool_choice)
    elif asked is not None and asked != choice:
        changes.adjust("tool_choice")
    return without_nulls({"tools": written or None, "tool_choice": choice if written else None})


def _choice(tools: list[JsonObject], chosen: Choice) -> object:
    if chosen.allowed is not None:
        named = [{"type": tool.get("type", "function"), "name": called(tool)} for tool in chosen.of(tools)]
        return {"type": "allowed_tools", "mode": chosen.mode, "tools": named}
    kind = "custom" if chosen.custom else "function"
    return {"type": kind, "name": chosen.name} if chosen.name else chosen.mode


def _tool(tool: JsonObject) -> JsonObject:
    """A function, or a custom tool. `strict` is said always: here, and only here, it is on when left out."""
    if tool.get("type") == "custom":
        custom = mapping(tool["custom"])
        grammar = mapping(mapping(custom.get("format")).get("grammar"))
        flat = {"format": {"type": "grammar", **grammar}} if grammar else {}
        return {"type": "custom", **custom, **flat}
    function = mapping(tool["function"])
    parameters = mapping(function.get("parameters")) or {"type": "object", "properties": {}}
    return {"type": "function", **function, "parameters": parameters, "strict": function.get("strict") is True}


def _input(request: Request, plan: structured_output.Plan | None, quirks: Quirks) -> list[JsonObject]:
    ids = ToolCallIdMap()
    messages = structured_output.add_instruction(request.messages, plan.instruction if plan else "")
    added = len(messages) - len(request.messages)
    items: list[JsonObject] = []
    customs = {call.id for message in messages for call in message.tool_calls if call.type == "custom"}
    for position, message in enumerate(messages):
        if message.role == "assistant":
            items += _said(message, ids, quirks)
        elif message.tool_call_id is not None:
            output = _content(message, position - added, quirks)
            kind = "custom_tool_call_output" if message.tool_call_id in customs else "function_call_output"
            items.append({"type": kind, "call_id": ids.result(message.tool_call_id), "output": output})
        else:
            role = "system" if message.role == "developer" and not quirks.developer_role else message.role
            items.append({"role": role, "content": _content(message, position - added, quirks)})
    return items


def _said(message: Message, ids: ToolCallIdMap, quirks: Quirks) -> list[JsonObject]:
    """An assistant's message as items. Reasoning without its encrypted content is only known to who stored it."""
    items: list[JsonObject] = []
    if quirks.reasoning_details:
        items += [
            entry
            for entry in message.reasoning_details
            if entry.get("type") == "reasoning" and entry.get("encrypted_content")
        ]
    if message.text:
        items.append({"role": "assistant", "content": message.text})
    for call in message.tool_calls:
        name, arguments = call.function.name, call.function.arguments or "{}"
        item = {"type": "function_call", "call_id": ids.call(call.id), "name": name, "arguments": arguments}
        if isinstance(call.custom, Custom):
            item = {"type": "custom_tool_call", "call_id": item["call_id"], "name": name, "input": call.custom.input}
        items.append(item)
    return items


def _content(message: Message, position: int, quirks: Quirks) -> object:
    if not isinstance(message.content, tuple):
        return message.content or ""
    parts: list[JsonObject] = []
    for index, part in enumerate(message.content):
        match part:
            case ImagePart(image_url=image):
                images.allow(image, where=images.field(position, index), quirks=quirks)
                parts.append({"type": "input_image", "image_url": image.url, "detail": image.detail or "auto"})
            case FilePart(file=file):
                parts.append(_file(file))
            case AudioPart(input_audio=sound):
                parts.append({"type": "input_audio", "input_audio": {"data": sound.data, "format": sound.format}})
            case TextPart(text=said):
                parts.append({"type": "input_text", "text": said})
            case VideoPart():
                raise files.unplaced(position, index, "video_url", quirks)
    return parts


def _file(file: File) -> JsonObject:
    """A document, which is called by a field of its own where it is a remote one."""
    remote = files.is_remote(file)
    data = {"file_url": file.file_data} if remote else {"file_data": file.file_data, "filename": file.filename}
    return {"type": "input_file", **without_nulls({"file_id": file.file_id, **data})}


class ResponseReader:
    """Reads responses, and the events of streamed ones."""

    def __init__(self, quirks: Quirks) -> None:
        self.answer = AnswerBuilder(quirks)
        self._thought_in = ""  # the event that brings the reasoning: its text or a summary of it, never both
        self._argued: set[object] = set()  # calls whose arguments came in pieces
        self._places: dict[object, int] = {}  # where in the whole text each part of it begins

    def whole(self, document: JsonObject) -> None:
        """See `Reader`."""
        if not isinstance(document.get("output"), list):
            raise self.answer.not_understood(document)
        self._items(document)
        self._end(document)

    def read(self, document: JsonObject, name: bytes) -> list[Delta]:
        """See `Reader`. The type is in the data as well as in the event's name."""
        kind = (string(document.get("type")) or name.decode("utf-8", "replace")).removeprefix("response.")
        text = string(document.get("delta"))
        if kind == "output_text.delta":
            self._places.setdefault(_part(document), self.answer.place)
            return self.answer.rated(self.answer.content(text), logprobs_of(document.get("logprobs")))
        if kind == "output_text.annotation.added":
            offset = self._places.get(_part(document), self.answer.place)
            return self.answer.supplement(annotations=[annotation_of(mapping(document.get("annotation")), offset)])
        if kind == "refusal.delta":
            return self.answer.refusal(text)
        if kind.startswith("reasoning"):
            return self._thought(kind, text, document)
        if kind in ("function_call_arguments.delta", "custom_tool_call_input.delta"):
            index = _index(document)
            self._argued.add(index)
            return self.answer.fragment(index, arguments=text, custom=kind.startswith("custom"))
        if kind in ("function_call_arguments.done", "custom_tool_call_input.done"):
            return self._argued_at_once(kind, document)
        if kind in ("output_item.added", "output_item.done"):
            return self._item_event(kind, document)
        if kind in ("completed", "incomplete", "failed", "cancelled"):
            response = mapping(document.get("response"))
            deltas = self._items(response) if self.answer.empty else []
            self.answer.meter.charge(document.get("cost"))
            self._end({"status": kind, **response})
            return deltas
        return []

    def account(self, document: JsonObject) -> None:
        """See `Reader`: OpenCode's cost may follow."""
        self.answer.meter.charge(document.get("cost"))

    def _thought(self, kind: str, text: str, document: JsonObject) -> list[Delta]:
        if kind == "reasoning_summary_part.added" and document.get("summary_index"):
            text, kind = "\n\n", "reasoning_summary_text.delta"
        if kind not in ("reasoning_summary_text.delta", "reasoning_text.delta"):
            return []
        self._thought_in = self._thought_in or kind
        return self.answer.reasoning(text) if kind == self._thought_in else []

    def _item_event(self, kind: str, document: JsonObject) -> list[Delta]:
        """An item begins or is done. A call has its name from the beginning, and its arguments at the latest when done;
        reasoning is fit to be sent back only when done."""
        item, index = mapping(document.get("item")), _index(document)
        done = kind == "output_item.done"
        if item.get("type") in CALLS:
            return self._call(item, index, whole=done and index not in self._argued)
        if item.get("type") == "reasoning" and done:
            self.answer.add_reasoning_details([item])
        return self._image(item) if done else []

    def _image(self, item: JsonObject) -> list[Delta]:
        """An image that the model made."""
        if item.get("type") != "image_generation_call":
            return []
        image = image_of(string(item.get("result")), string(item.get("output_format")))
        return self.answer.supplement(images=[image] if image else [])

    def _argued_at_once(self, kind: str, document: JsonObject) -> list[Delta]:
        """The arguments of a call when they are complete, for servers that send no pieces of them."""
        index, custom = _index(document), kind.startswith("custom")
        if index in self._argued:
            return []
        self._argued.add(index)
        return self.answer.fragment(index, arguments=document.get("input" if custom else "arguments"), custom=custom)

    def _call(self, item: JsonObject, index: object, *, whole: bool) -> list[Delta]:
        id, name = string(item.get("call_id")) or string(item.get("id")), string(item.get("name"))  # noqa: A001
        kind = string(item.get("type"))
        arguments = item.get(CALLS[kind]) if whole else None
        return self.answer.fragment(index, id=id, name=name, arguments=arguments, custom=kind == "custom_tool_call")

    def _items(self, response: JsonObject) -> list[Delta]:
        """All that a whole response says."""
        deltas: list[Delta] = []
        for index, item in enumerate(objects(response.get("output"))):
            kind = item.get("type")
            if kind == "reasoning":
                self.answer.add_reasoning_details([item])
                parts = objects(item.get("summary")) or objects(item.get("content"))
                deltas += self.answer.reasoning("\n\n".join(string(part.get("text")) for part in parts))
            elif kind in CALLS:
                deltas += self._call(item, index, whole=True)
            elif kind == "message":
                for part in objects(item.get("content")):
                    deltas += self._part_of_text(part)
            else:
                deltas += self._image(item)
        return deltas

    def _part_of_text(self, part: JsonObject) -> list[Delta]:
        offset, answer = self.answer.place, self.answer
        deltas = [*answer.content(string(part.get("text"))), *answer.refusal(string(part.get("refusal")))]
        deltas = answer.rated(deltas, logprobs_of(part.get("logprobs")))
        annotations = [annotation_of(annotation, offset) for annotation in objects(part.get("annotations"))]
        return [*deltas, *answer.supplement(annotations=annotations)]

    def _end(self, response: JsonObject) -> None:
        """The end, told by the response's status."""
        if response.get("error"):
            raise refusal(response, provider=self.answer.provider)
        self.answer.meter.read_response(response)
        self.answer.supplements.note(response)
        self.answer.finished = True
        status = string(response.get("status"))
        if status == "incomplete":
            self.answer.finish(string(mapping(response.get("incomplete_details")).get("reason")) or "length")
        elif status == "completed":
            self.answer.finish("stop")
        else:
            raise self.answer.failure(f"the answer ended with status {status[:40] or 'unknown'}")


def _index(document: JsonObject) -> object:
    """Which item an event is about; None for what cannot say so."""
    index = document.get("output_index")
    return index if isinstance(index, int | float | str) else None


def _part(document: JsonObject) -> object:
    """Which part of the text an event is about."""
    return str(document.get("output_index")), str(document.get("content_index"))
