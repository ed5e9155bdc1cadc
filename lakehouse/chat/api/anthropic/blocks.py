"""Blocks of messages in Anthropic's form, as parts of the content of a `Message`."""

from __future__ import annotations

import msgspec

from lakehouse.asgi.json_body import convert_json
from lakehouse.chat.api.anthropic.types import DocumentBlock, ImageBlock, Source, TextBlock
from lakehouse.chat.model.parts import File, FilePart, ImagePart, ImageUrl, JsonObject, Part, TextPart
from lakehouse.core.errors import ErrBadRequest


class Unsent:
    """Collects the paths of what other dialects than messages cannot represent (`AnthropicRequest`)."""

    def __init__(self) -> None:
        self.unmapped: list[str] = []
        self.hints: dict[str, None] = {}

    def add_unknown_fields(
        self, given: JsonObject, known: type[msgspec.Struct], where: str, hints: tuple[str, ...] = ()
    ) -> None:
        """Add the fields of an object that its type does not have. Null is the same as no field."""
        for name, value in given.items():
            if name == "type" or name in known.__struct_fields__ or value is None:
                continue
            if name in hints:
                self.hints[f"{where}.{name}"] = None
            else:
                self.unmapped.append(f"{where}.{name}")


def read_blocks(blocks: list[JsonObject], where: str, unsent: Unsent) -> tuple[Part, ...]:
    """Convert the text, image and document blocks of a content."""
    read = [read_part(block, f"{where}[{index}]", unsent) for index, block in enumerate(blocks)]
    return tuple([part for part in read if part is not None])


def read_part(block: JsonObject, where: str, unsent: Unsent) -> Part | None:
    """Convert a text, image or document block. None: a block that only providers of the same form can be sent."""
    match block.get("type"):
        case "text":
            unsent.add_unknown_fields(block, TextBlock, where, hints=("citations",))
            text = convert_json(block, TextBlock, where)
            return TextPart(text=text.text, cache_control=text.cache_control)
        case "image":
            unsent.add_unknown_fields(block, ImageBlock, where, hints=("transformations",))
            image = convert_json(block, ImageBlock, where)
            url = _read_source(image.source, where)
            if url is not None:
                return ImagePart(image_url=ImageUrl(url=url), cache_control=image.cache_control)
        case "document":
            return _read_document(block, where, unsent)
        case str() as kind if kind:
            pass
        case _:
            raise ErrBadRequest(f"`{where}.type` is required", field=f"{where}.type")
    unsent.unmapped.append(where)
    return None


def _read_source(source: Source, where: str) -> str | None:
    """Return a source as a URL, None for one that only Anthropic can resolve."""
    match source:
        case Source(type="base64", media_type=str() as media_type, data=str() as data):
            return f"data:{media_type};base64,{data}"
        case Source(type="url", url=str() as url):
            return url
        case Source(type="base64" | "url"):
            needed = "`media_type` and `data`" if source.type == "base64" else "`url`"
            raise ErrBadRequest(f"`{where}.source` needs {needed}", field=f"{where}.source")
    return None


def _read_document(block: JsonObject, where: str, unsent: Unsent) -> Part | None:
    """Convert a document. One of plain text becomes a text: every dialect has texts, few have text files."""
    citations = block.get("citations")
    cites = isinstance(citations, dict) and citations.get("enabled") is True
    unsent.add_unknown_fields(block, DocumentBlock, where, hints=() if cites else ("citations",))
    document = convert_json(block, DocumentBlock, where)
    if document.source.type == "text" and document.source.data is not None:
        text = "\n\n".join(filter(None, (document.title, document.source.data)))
        return TextPart(text=text, cache_control=document.cache_control)
    url = _read_source(document.source, where)
    if url is None:
        unsent.unmapped.append(where)
        return None
    return FilePart(file=File(file_data=url, filename=document.title), cache_control=document.cache_control)
