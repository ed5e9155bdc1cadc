"""Conversion of supplements of every dialect to the shapes of OpenAI's chat completions; images to OpenRouter's shape
(`images` of a message)."""

from __future__ import annotations

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_objects, as_string

MEDIA_TYPES = {"iVBOR": "png", "/9j/": "jpeg", "R0lG": "gif", "UklG": "webp"}
"""Image formats by the beginning of their base64."""


def convert_logprobs(content_tokens: object, refusal_tokens: object = None) -> JsonObject:
    """Return lists of tokens with logarithmic probabilities as OpenAI's `logprobs`; empty without tokens."""
    content, refusal = as_objects(content_tokens), as_objects(refusal_tokens)
    if not content and not refusal:
        return {}
    return {
        "content": [_complete_token(token) for token in content] or None,
        "refusal": [_complete_token(token) for token in refusal] or None,
    }


def _complete_token(token: JsonObject) -> JsonObject:
    """Return a token with all fields that OpenAI's clients expect."""
    alternatives = [{"bytes": None, **other} for other in as_objects(token.get("top_logprobs"))]
    return {"bytes": None, **token, "top_logprobs": alternatives}


def convert_annotation(flat: JsonObject, offset: int = 0) -> JsonObject:
    """Return an annotation of the responses dialect, with fields beside its type, in the shape of chat completions.
    `offset` is the position in the whole text from which its indexes count."""
    kind = as_string(flat.get("type"))
    if not kind or isinstance(flat.get(kind), dict):
        return flat
    fields = {name: value for name, value in flat.items() if name != "type"}
    for name in ("start_index", "end_index"):
        if isinstance(fields.get(name), int):
            fields[name] += offset
    return {"type": kind, kind: fields}


def convert_citation(citation: JsonObject, start: int, end: int) -> JsonObject:
    """Return a citation of the messages dialect, which belongs to a text block, as an annotation of the block's text,
    `start` to `end`."""
    kind = as_string(citation.get("type"))
    url = as_string(citation.get("url")) or as_string(citation.get("source"))
    position = {"start_index": start, "end_index": end}
    details = _get_details(citation)
    if url:
        title = as_string(citation.get("title")) or url
        return {"type": "url_citation", "url_citation": {"url": url, "title": title, **position, **details}}
    return {"type": kind or "citation", kind or "citation": {**details, **position}}


def _get_details(citation: JsonObject) -> JsonObject:
    converted = ("type", "url", "source", "title")
    return {name: value for name, value in citation.items() if name not in converted and value is not None}


def find_images(message: JsonObject) -> list[JsonObject]:
    """Return the images of a message: `images` of OpenRouter and Ollama, and image parts of the content."""
    images = message.get("images")
    listed = images if isinstance(images, list) else []
    found = [build_image(image) if isinstance(image, str) else image for image in listed]
    found += [part for part in as_objects(message.get("content")) if part.get("type") in ("image_url", "output_image")]
    return [image for image in found if isinstance(image, dict)]


def build_image(data: str, kind: str = "") -> JsonObject | None:
    """Return base64 data, or a URL, in OpenRouter's shape; None for an empty string. Without `kind` the format is
    detected from the data."""
    if not data:
        return None
    if data.startswith(("data:", "http:", "https:")):
        return {"type": "image_url", "image_url": {"url": data}}
    kind = kind or next((name for start, name in MEDIA_TYPES.items() if data.startswith(start)), "png")
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}


def find_audio(message: JsonObject) -> JsonObject:
    """Return the audio of a message."""
    return as_object(message.get("audio"))
