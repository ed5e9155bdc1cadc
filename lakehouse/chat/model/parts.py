"""What a message consists of: parts of its content, and calls of tools, in OpenAI's shapes.

`cache_control` is a hint, of OpenRouter's and of the messages form: what stands before it may be kept by the provider.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

JsonObject = dict[str, Any]  # a JSON object that we pass on; msgspec has no recursive alias for its values


class TextPart(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="text",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A piece of a message that is text."""

    text: str
    cache_control: JsonObject | None = None


class ImageUrl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where an image is: a `data:` URL, or a remote one, which is passed on and never fetched by us."""

    url: str
    detail: str | None = None


class ImagePart(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="image_url",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A piece of a message that is an image."""

    image_url: ImageUrl
    cache_control: JsonObject | None = None


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A document: a `data:` URL or a remote one as `file_data`, or the id of one that the provider has already."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="file",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A piece of a message that is a document."""

    file: File
    cache_control: JsonObject | None = None


class Audio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sound as base64, and its format: `wav` or `mp3`."""

    data: str
    format: str


class AudioPart(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="input_audio",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A piece of a message that is sound."""

    input_audio: Audio
    cache_control: JsonObject | None = None


class VideoUrl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a video is: a `data:` URL, or a remote one."""

    url: str


class VideoPart(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="video_url",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A piece of a message that is a video: OpenRouter's and Kimi's."""

    video_url: VideoUrl
    cache_control: JsonObject | None = None


Part = TextPart | ImagePart | FilePart | AudioPart | VideoPart


class Function(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The function a tool call names; `arguments` is JSON as a string, and may be invalid when `length` cut it."""

    name: str
    arguments: str = "{}"


class Custom(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The custom tool that a call names; `input` is free text."""

    name: str
    input: str


_MISSING = Function(name="")


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call the model asks for, in OpenAI's shape. One of a `custom` tool is a `function` as well, whose one argument
    is the input: that is what it is told as where there are only functions."""

    id: str
    function: Function = _MISSING
    type: Literal["function", "custom"] = "function"
    custom: Custom | UnsetType = UNSET
    cache_control: JsonObject | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.type == "custom":
            if isinstance(self.custom, UnsetType):
                raise ValueError("Object missing required field `custom`")
            arguments = msgspec.json.encode({"input": self.custom.input}).decode()
            msgspec.structs.force_setattr(self, "function", Function(name=self.custom.name, arguments=arguments))
        elif self.function is _MISSING:
            raise ValueError("Object missing required field `function`")


class CustomToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a custom tool, in OpenAI's shape. It is only answered: what comes back is a `ToolCall`."""

    id: str
    custom: Custom
    type: Literal["custom"] = "custom"

    @property
    def function(self) -> Function:
        """The tool and its input under the names that a call of a function has for them."""
        return Function(name=self.custom.name, arguments=self.custom.input)


AnyToolCall = ToolCall | CustomToolCall


class Supplements(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer may say beside text, reasoning and tool calls, in OpenAI's shapes; what it does not is left out.

    `refusal` is in `content` as well. `images` are parts of type `image_url`. `annotations` are citations. The last
    five are facts that the provider gives about the answer.
    """

    refusal: str | msgspec.UnsetType = msgspec.UNSET
    annotations: tuple[JsonObject, ...] | msgspec.UnsetType = msgspec.UNSET
    images: tuple[JsonObject, ...] | msgspec.UnsetType = msgspec.UNSET
    audio: JsonObject | msgspec.UnsetType = msgspec.UNSET
    logprobs: JsonObject | msgspec.UnsetType = msgspec.UNSET
    service_tier: str | msgspec.UnsetType = msgspec.UNSET
    system_fingerprint: str | msgspec.UnsetType = msgspec.UNSET
    moderation: JsonObject | list[Any] | msgspec.UnsetType = msgspec.UNSET
    citations: list[Any] | msgspec.UnsetType = msgspec.UNSET
    search_results: list[Any] | msgspec.UnsetType = msgspec.UNSET


NO_SUPPLEMENTS = Supplements()
