"""Parts of a message or of a tool's result in a Responses request, as parts of the content of a `Message`."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from lakehouse.asgi.json_body import convert_json
from lakehouse.chat.api.open_responses.types import (
    AudioContent,
    FileContent,
    ImageContent,
    RefusalContent,
    TextContent,
)
from lakehouse.chat.api.open_responses.unsent import Unsent, get_type
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
)
from lakehouse.core.errors import ErrBadRequest

Shape = TypeVar("Shape", bound=msgspec.Struct)


def read_content(given: str | list[JsonObject], where: str, unsent: Unsent) -> tuple[tuple[Part, ...], str]:
    """Convert a message's content; the second value is the text of its refusals."""
    if isinstance(given, str):
        return ((TextPart(text=given),) if given else ()), ""
    parts: list[Part] = []
    refusals: list[str] = []
    for place, part in enumerate(given):
        at = f"{where}[{place}]"
        if get_type(part, at) == "refusal":
            refusals.append(convert_json(part, RefusalContent, at).refusal)
        elif (read := _read_part(part, at, unsent)) is not None:
            parts.append(read)
    return tuple(parts), "".join(refusals)


def read_output(given: str | list[JsonObject], where: str, unsent: Unsent) -> str | tuple[Part, ...]:
    """Convert the result of a call."""
    return given if isinstance(given, str) else simplify(read_content(given, where, unsent)[0])


def simplify(parts: tuple[Part, ...]) -> str | tuple[Part, ...]:
    """Return a single text as a string, which every provider accepts; no parts as an empty one."""
    if not parts:
        return ""
    return parts[0].text if len(parts) == 1 and isinstance(parts[0], TextPart) else parts


def _read_part(part: JsonObject, where: str, unsent: Unsent) -> Part | None:
    """Convert a part. None: a part that only a provider of the same form can be sent."""
    match part["type"]:
        case "input_text" | "output_text" | "text":
            return TextPart(text=_convert(part, TextContent, where, unsent).text)
        case "input_image":
            image = _convert(part, ImageContent, where, unsent)
            if image.image_url is not None:
                return ImagePart(image_url=ImageUrl(url=image.image_url, detail=image.detail))
            unsent.refuse(_require(image.file_id, f"{where}.image_url", "file_id"))
        case "input_file":
            return _read_file(_convert(part, FileContent, where, unsent), where)
        case "input_audio":
            sound = _convert(part, AudioContent, where, unsent).input_audio
            return AudioPart(input_audio=Audio(data=sound.data, format=sound.format))
        case kind:
            unsent.refuse_type(where, kind)
    return None


def _read_file(file: FileContent, where: str) -> FilePart:
    data = file.file_data or file.file_url
    _require(data or file.file_id, f"{where}.file_data", "file_id")
    return FilePart(file=File(file_data=data, file_id=file.file_id, filename=file.filename))


def _require(value: str | None, path: str, other: str) -> str:
    """Return the path of the field `other`, which must be there in place of the one at `path`."""
    if not value:
        raise ErrBadRequest(f"`{path}` is required", field=path)
    return f"{path.rpartition('.')[0]}.{other}"


def _convert(part: JsonObject, shape: type[Shape], where: str, unsent: Unsent) -> Shape:
    unsent.leave_out_unknown(part, shape, "input.content")
    return convert_json(part, shape, where)
