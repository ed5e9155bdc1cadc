"""Messages of Ollama's form, and their conversion to `Message`.

Ollama's clients send tool calls and results without ids. A result belongs to the first call of the last round that has
its `tool_name` and no result yet, so results of several calls of one tool follow the order of the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from lakehouse.asgi.json_body import validation_errors
from lakehouse.chat.api.ollama.images import convert_image
from lakehouse.chat.api.ollama.types import OllamaMessageParam, OllamaToolCallParam
from lakehouse.chat.model.parts import Part, TextPart
from lakehouse.chat.model.request import Message
from lakehouse.chat.model.tool_calls import Function, ToolCall


def convert_messages(given: Sequence[OllamaMessageParam]) -> tuple[Message, ...]:
    """The messages of a request. Raises `ErrBadRequest` naming the field that does not fit."""
    pairs = _Pairs()
    return tuple([_convert_message(place, message, pairs) for place, message in enumerate(given)])


def make_content(text: str | None, images: Sequence[str] | None, where: str) -> str | tuple[Part, ...]:
    """The content of a message. `where` is the path of its images."""
    if not images:
        return text or ""
    parts: list[Part] = [TextPart(text=text)] if text else []
    return (*parts, *[convert_image(image, f"{where}[{index}]") for index, image in enumerate(images)])


def name_images(messages: Sequence[Message], *, within_messages: bool) -> dict[str, str]:
    """The client's paths of the images, by their paths in `Request`; `within_messages` as `/api/chat` has them."""
    names: dict[str, str] = {}
    for place, message in enumerate(messages):
        for index, _ in enumerate(message.images):
            at = index + (1 if message.text else 0)
            ours, theirs = f"messages[{place}].content[{at}]", f"images[{index}]"
            named = f"messages[{place}].{theirs}" if within_messages else theirs
            names |= {ours: named, f"{ours}.image_url.url": named}
    return names


def _convert_message(place: int, given: OllamaMessageParam, pairs: _Pairs) -> Message:
    calls = tuple([_convert_call(f"call_{place}_{index}", call) for index, call in enumerate(given.tool_calls or ())])
    if calls:
        pairs.begin_round(calls)
    result_of = pairs.take_call(given, place) if given.role == "tool" else None
    with validation_errors(f"messages[{place}]"):
        return Message(
            role=given.role,
            content=make_content(given.content, given.images, f"messages[{place}].images"),
            tool_calls=calls,
            tool_call_id=result_of,
            name=given.tool_name or given.name if result_of == pairs.orphan_id(place) else None,
            reasoning=given.thinking or None,
        )


def _convert_call(default_id: str, given: OllamaToolCallParam) -> ToolCall:
    arguments = given.function.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments or {}).decode()
    return ToolCall(id=given.id or default_id, function=Function(name=given.function.name, arguments=arguments))


@dataclass(slots=True)
class _Pairs:
    """The calls of the last round that have no result yet, in their order."""

    unanswered: list[ToolCall] = field(default_factory=list)

    def begin_round(self, calls: Sequence[ToolCall]) -> None:
        self.unanswered = list(calls)

    def take_call(self, result: OllamaMessageParam, place: int) -> str:
        """The id of the call that a message is the result of; an id of its own if there is none."""
        name = result.tool_name or result.name
        for call in self.unanswered:
            if call.id == result.tool_call_id if result.tool_call_id else name in (None, "", call.function.name):
                self.unanswered.remove(call)
                return call.id
        return result.tool_call_id or self.orphan_id(place)

    @staticmethod
    def orphan_id(place: int) -> str:
        """The id of a result without a call."""
        return f"result_{place}"
