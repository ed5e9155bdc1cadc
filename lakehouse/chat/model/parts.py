"""The parts of a message's content, in OpenAI's shapes.

`cache_control` is a hint for OpenRouter and the messages dialect: the provider may cache everything before the part.
"""

from __future__ import annotations

from typing import Any

import msgspec

JsonObject = dict[str, Any]  # an opaque JSON object; msgspec does not support a recursive alias for its values


class TextPart(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="text",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A text part."""

    text: str
    cache_control: JsonObject | None = None


class ImageUrl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The URL of an image: `data:`, or a remote one, which is sent to the provider and never fetched here."""

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
    """An image part."""

    image_url: ImageUrl
    cache_control: JsonObject | None = None


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A document: `file_data` is a `data:` URL or a remote one, `file_id` a file that the provider already stores."""

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
    """A document part."""

    file: File
    cache_control: JsonObject | None = None


class Audio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Audio as base64, and its format: `wav` or `mp3`."""

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
    """An audio part."""

    input_audio: Audio
    cache_control: JsonObject | None = None


class VideoUrl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The URL of a video: `data:`, or a remote one."""

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
    """A video part. OpenRouter and Kimi accept these."""

    video_url: VideoUrl
    cache_control: JsonObject | None = None


Part = TextPart | ImagePart | FilePart | AudioPart | VideoPart
