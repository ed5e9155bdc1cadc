"""Messages of a request in OpenAI's form: the shapes that a client may send, and their conversion to `Message`.

Every optional field may be null: the SDKs send earlier answers back with all their fields. An unknown field of a
message, of a part of its content or of a tool call is forwarded to a provider of the same form.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from lakehouse.asgi.json_body import validation_errors
from lakehouse.chat.model.parts import (
    Audio,
    AudioPart,
    File,
    FilePart,
    ImagePart,
    ImageUrl,
    JsonObject,
    Part,
    TextPart,
    VideoPart,
    VideoUrl,
)
from lakehouse.chat.model.request import Message, OpenAIMessage, Role
from lakehouse.chat.model.tool_calls import Custom, Function, ToolCall
from lakehouse.core.errors import ErrBadRequest


class TextPartParam(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A text part."""

    text: str
    cache_control: JsonObject | None = None


class ImageUrlParam(msgspec.Struct, frozen=True):
    """The URL of an image."""

    url: str
    detail: str | None = None


class ImagePartParam(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """An image part."""

    image_url: ImageUrlParam
    cache_control: JsonObject | None = None


class FileParam(msgspec.Struct, frozen=True):
    """The data or the id of a document."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePartParam(msgspec.Struct, frozen=True, tag_field="type", tag="file"):
    """A document part."""

    file: FileParam
    cache_control: JsonObject | None = None


class InputAudioParam(msgspec.Struct, frozen=True):
    """Audio as base64."""

    data: str
    format: str


class AudioPartParam(msgspec.Struct, frozen=True, tag_field="type", tag="input_audio"):
    """An audio part."""

    input_audio: InputAudioParam
    cache_control: JsonObject | None = None


class VideoUrlParam(msgspec.Struct, frozen=True):
    """The URL of a video."""

    url: str


class VideoPartParam(msgspec.Struct, frozen=True, tag_field="type", tag="video_url"):
    """A video part."""

    video_url: VideoUrlParam
    cache_control: JsonObject | None = None


class RefusalPartParam(msgspec.Struct, frozen=True, tag_field="type", tag="refusal"):
    """A part in which the assistant refused; it becomes a text part."""

    refusal: str


PartParam = TextPartParam | ImagePartParam | FilePartParam | AudioPartParam | VideoPartParam | RefusalPartParam


class FunctionParam(msgspec.Struct, frozen=True):
    """The function of a tool call."""

    name: str
    arguments: str = "{}"


class CustomParam(msgspec.Struct, frozen=True):
    """The custom tool of a tool call."""

    name: str
    input: str


class ToolCallParam(msgspec.Struct, frozen=True):
    """A tool call of an earlier answer."""

    id: str
    function: FunctionParam | None = None
    custom: CustomParam | None = None
    type: Literal["function", "custom"] = "function"
    cache_control: JsonObject | None = None


class MessageParam(msgspec.Struct, frozen=True):
    """A message. Earlier answers come back with all their fields, most of them null."""

    role: Role
    content: str | list[PartParam] | None = None
    name: str | None = None
    refusal: str | None = None
    audio: JsonObject | None = None
    annotations: list[JsonObject] | None = None
    cache_control: JsonObject | None = None
    tool_calls: list[ToolCallParam] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[JsonObject] | None = None


KNOWN_FIELDS = frozenset(MessageParam.__struct_fields__)

DEPRECATED = "function_call"
"""A field of messages that OpenAI has replaced by `tool_calls`; none of our providers takes it."""

IGNORED_FIELDS = ("type", "index")
"""Fields of parts and calls without information: `index` is the position of a call, kept from a stream."""


def convert_message(place: int, given: MessageParam, raw: JsonObject) -> Message:
    """The message at position `place`. `raw` is its JSON object, with the unknown fields."""
    where = f"messages[{place}]"
    if raw.get(DEPRECATED) is not None:
        message = f"`{where}.{DEPRECATED}` is not supported: use `tool_calls`"
        raise ErrBadRequest(message, field=f"{where}.{DEPRECATED}")
    content = tuple(map(_convert_part, given.content)) if isinstance(given.content, list) else given.content
    calls = given.tool_calls or ()
    if content is None and given.role == "assistant" and not (calls or given.refusal or given.audio):
        content = ""  # an answer that consisted of reasoning comes back like this
    extra = {name: value for name, value in raw.items() if name not in KNOWN_FIELDS and value is not None}
    of_parts = _collect_extra(given.content, raw["content"]) if isinstance(given.content, list) else {}
    of_calls = _collect_extra(calls, raw["tool_calls"]) if calls else {}
    fields: dict[str, Any] = {
        "role": given.role,
        "content": content,
        "name": given.name,
        "tool_calls": tuple([_convert_call(f"{where}.tool_calls[{at}]", call) for at, call in enumerate(calls)]),
        "tool_call_id": given.tool_call_id,
        "reasoning": given.reasoning_content or given.reasoning or None,
        "reasoning_details": tuple(given.reasoning_details or ()),
        "refusal": given.refusal,
        "audio": given.audio,
        "annotations": tuple(given.annotations or ()),
        "cache_control": given.cache_control,
    }
    with validation_errors(where):
        if extra or of_parts or of_calls:
            return OpenAIMessage(**fields, extra=extra, part_extra=of_parts, call_extra=of_calls)
        return Message(**fields)


def _convert_part(given: PartParam) -> Part:
    match given:
        case RefusalPartParam(refusal=text):
            return TextPart(text=text)
        case TextPartParam(text=text, cache_control=hint):
            return TextPart(text=text, cache_control=hint)
        case ImagePartParam(image_url=image, cache_control=hint):
            return ImagePart(image_url=ImageUrl(url=image.url, detail=image.detail), cache_control=hint)
        case FilePartParam(file=file, cache_control=hint):
            known = File(file_data=file.file_data, file_id=file.file_id, filename=file.filename)
            return FilePart(file=known, cache_control=hint)
        case AudioPartParam(input_audio=sound, cache_control=hint):
            return AudioPart(input_audio=Audio(data=sound.data, format=sound.format), cache_control=hint)
        case VideoPartParam(video_url=video, cache_control=hint):
            return VideoPart(video_url=VideoUrl(url=video.url), cache_control=hint)


def _convert_call(where: str, given: ToolCallParam) -> ToolCall:
    hint = given.cache_control or msgspec.UNSET
    if given.type == "custom" and given.custom is not None:
        custom = Custom(name=given.custom.name, input=given.custom.input)
        return ToolCall(id=given.id, type="custom", custom=custom, cache_control=hint)
    if given.type == "function" and given.function is not None:
        function = Function(name=given.function.name, arguments=given.function.arguments)
        return ToolCall(id=given.id, function=function, cache_control=hint)
    raise ErrBadRequest(f"`{where}.{given.type}` is required", field=f"{where}.{given.type}")


def _collect_extra(given: Sequence[PartParam | ToolCallParam], raw: Iterable[JsonObject]) -> dict[int, JsonObject]:
    """The unknown fields of these parts or calls, by their positions; those of a nested object included."""
    found = {
        place: _collect_extra_fields(known, written)
        for place, (known, written) in enumerate(zip(given, raw, strict=True))
    }
    return {place: extra for place, extra in found.items() if extra}


def _collect_extra_fields(known: msgspec.Struct, written: JsonObject) -> JsonObject:
    extra: JsonObject = {}
    for name, value in written.items():
        if name not in known.__struct_fields__ and name not in IGNORED_FIELDS and value is not None:
            extra[name] = value
        elif isinstance(inner := getattr(known, name, None), msgspec.Struct) and (
            within := _collect_extra_fields(inner, value)
        ):
            extra[name] = within
    return extra
