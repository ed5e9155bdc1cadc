"""Messages of a request in OpenAI's form: what a client may send, and the `Message` that it becomes.

Every optional field may be null: the SDKs send earlier answers back with all their fields. A field that we do not know,
of a message, of a part of its content or of a tool call, travels on for a provider that speaks this form.
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


class GivenText(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A text part."""

    text: str
    cache_control: JsonObject | None = None


class GivenImageUrl(msgspec.Struct, frozen=True):
    """Where an image is."""

    url: str
    detail: str | None = None


class GivenImage(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """An image part."""

    image_url: GivenImageUrl
    cache_control: JsonObject | None = None


class GivenFileData(msgspec.Struct, frozen=True):
    """Where a document is."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class GivenFile(msgspec.Struct, frozen=True, tag_field="type", tag="file"):
    """A document."""

    file: GivenFileData
    cache_control: JsonObject | None = None


class GivenSound(msgspec.Struct, frozen=True):
    """Sound as base64."""

    data: str
    format: str


class GivenAudio(msgspec.Struct, frozen=True, tag_field="type", tag="input_audio"):
    """A part that is sound."""

    input_audio: GivenSound
    cache_control: JsonObject | None = None


class GivenVideoUrl(msgspec.Struct, frozen=True):
    """Where a video is."""

    url: str


class GivenVideo(msgspec.Struct, frozen=True, tag_field="type", tag="video_url"):
    """A part that is a video."""

    video_url: GivenVideoUrl
    cache_control: JsonObject | None = None


class GivenRefusal(msgspec.Struct, frozen=True, tag_field="type", tag="refusal"):
    """A part of an assistant's message in which it refused; to the model it is text like any other."""

    refusal: str


GivenPart = GivenText | GivenImage | GivenFile | GivenAudio | GivenVideo | GivenRefusal


class GivenFunction(msgspec.Struct, frozen=True):
    """The function of a tool call."""

    name: str
    arguments: str = "{}"


class GivenCustom(msgspec.Struct, frozen=True):
    """The custom tool of a tool call."""

    name: str
    input: str


class GivenCall(msgspec.Struct, frozen=True):
    """A tool call of an earlier answer."""

    id: str
    function: GivenFunction | None = None
    custom: GivenCustom | None = None
    type: Literal["function", "custom"] = "function"
    cache_control: JsonObject | None = None


class GivenMessage(msgspec.Struct, frozen=True):
    """A message. Earlier answers come back with all their fields, most of them null."""

    role: Role
    content: str | list[GivenPart] | None = None
    name: str | None = None
    refusal: str | None = None
    audio: JsonObject | None = None
    annotations: list[JsonObject] | None = None
    cache_control: JsonObject | None = None
    tool_calls: list[GivenCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[JsonObject] | None = None


KNOWN = frozenset(GivenMessage.__struct_fields__)

SUPERSEDED = "function_call"
"""A field of messages that OpenAI has given up for `tool_calls` before any of our providers existed."""


NOT_EXTRA = ("type", "index")
"""Members of parts and calls that say what is known anyway: `index` is the place of a call, left from a stream."""


def message(place: int, given: GivenMessage, raw: JsonObject) -> Message:
    """The message at `place`; `raw` is the same as it was written."""
    where = f"messages[{place}]"
    if raw.get(SUPERSEDED) is not None:
        message = f"`{where}.{SUPERSEDED}` is not supported: use `tool_calls`"
        raise ErrBadRequest(message, field=f"{where}.{SUPERSEDED}")
    content = tuple(map(_part, given.content)) if isinstance(given.content, list) else given.content
    calls = given.tool_calls or ()
    if content is None and given.role == "assistant" and not (calls or given.refusal or given.audio):
        content = ""  # an answer that was all reasoning comes back like this
    extra = {name: value for name, value in raw.items() if name not in KNOWN and value is not None}
    of_parts = _unknown(given.content, raw["content"]) if isinstance(given.content, list) else {}
    of_calls = _unknown(calls, raw["tool_calls"]) if calls else {}
    fields: dict[str, Any] = {
        "role": given.role,
        "content": content,
        "name": given.name,
        "tool_calls": tuple([_call(f"{where}.tool_calls[{at}]", call) for at, call in enumerate(calls)]),
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


def _part(given: GivenPart) -> Part:
    match given:
        case GivenRefusal(refusal=text):
            return TextPart(text=text)
        case GivenText(text=text, cache_control=hint):
            return TextPart(text=text, cache_control=hint)
        case GivenImage(image_url=image, cache_control=hint):
            return ImagePart(image_url=ImageUrl(url=image.url, detail=image.detail), cache_control=hint)
        case GivenFile(file=file, cache_control=hint):
            known = File(file_data=file.file_data, file_id=file.file_id, filename=file.filename)
            return FilePart(file=known, cache_control=hint)
        case GivenAudio(input_audio=sound, cache_control=hint):
            return AudioPart(input_audio=Audio(data=sound.data, format=sound.format), cache_control=hint)
        case GivenVideo(video_url=video, cache_control=hint):
            return VideoPart(video_url=VideoUrl(url=video.url), cache_control=hint)


def _call(where: str, given: GivenCall) -> ToolCall:
    hint = given.cache_control or msgspec.UNSET
    if given.type == "custom" and given.custom is not None:
        custom = Custom(name=given.custom.name, input=given.custom.input)
        return ToolCall(id=given.id, type="custom", custom=custom, cache_control=hint)
    if given.type == "function" and given.function is not None:
        function = Function(name=given.function.name, arguments=given.function.arguments)
        return ToolCall(id=given.id, function=function, cache_control=hint)
    raise ErrBadRequest(f"`{where}.{given.type}` is required", field=f"{where}.{given.type}")


def _unknown(given: Sequence[GivenPart | GivenCall], raw: Iterable[JsonObject]) -> dict[int, JsonObject]:
    """What these parts or calls have besides what we know, by their places; of the object in one, too."""
    found = {place: _beside(known, written) for place, (known, written) in enumerate(zip(given, raw, strict=True))}
    return {place: extra for place, extra in found.items() if extra}


def _beside(known: msgspec.Struct, written: JsonObject) -> JsonObject:
    extra: JsonObject = {}
    for name, value in written.items():
        if name not in known.__struct_fields__ and name not in NOT_EXTRA and value is not None:
            extra[name] = value
        elif isinstance(inner := getattr(known, name, None), msgspec.Struct) and (within := _beside(inner, value)):
            extra[name] = within
    return extra
