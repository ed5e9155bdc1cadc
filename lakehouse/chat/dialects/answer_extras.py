"""What an answer says beside text, reasoning and tool calls: citations, images, audio, and how likely its tokens were.

All leaves in the shapes of OpenAI's chat completions, images in OpenRouter's (`images` of a message), whatever form it
arrives in.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

import msgspec

from lakehouse.chat.dialects.base import MAX_ANSWER
from lakehouse.chat.dialects.lenient_json import JsonObject, dump, mapping, objects, string
from lakehouse.chat.model.answer import NO_SUPPLEMENTS, Supplements

FACTS = ("service_tier", "system_fingerprint")
"""Strings that an answer, and each chunk of one, carries about itself. The first of each holds."""

RECORDS = ("moderation", "citations", "search_results")
"""The same for objects and lists. The last of each holds."""

MEDIA_TYPES = {"iVBOR": "png", "/9j/": "jpeg", "R0lG": "gif", "UklG": "webp"}
"""What base64 of each kind of image begins with."""


class Collected:
    """The supplements of one answer, put together."""

    def __init__(self) -> None:
        self.size = 0  # characters
        self.shown = False  # something that is an answer by itself: an image, sound
        self._facts: JsonObject = {}
        self._refusal: list[str] = []
        self._annotations: dict[str, JsonObject] = {}
        self._images: dict[str, JsonObject] = {}
        self._audio: JsonObject = {}
        self._sound: list[str] = []
        self._transcript: list[str] = []
        self._logprobs: dict[str, list[bytes]] = {}
        self._logprobs_size = 0

    def note(self, document: JsonObject) -> None:
        """What a whole answer or a chunk carries about itself."""
        for name in FACTS:
            if name not in self._facts and (value := string(document.get(name))):
                self._facts[name] = value
        for name in RECORDS:
            if (record := document.get(name)) and isinstance(record, dict | list):
                self._facts[name] = record

    def refuse(self, text: str) -> None:
        """More of a refusal, which is counted where it is told."""
        self._refusal.append(text)

    def annotate(self, annotations: Iterable[JsonObject]) -> list[JsonObject]:
        """Annotations; returns those that are new, for some servers repeat them all with each chunk."""
        return self._new(annotations, self._annotations)

    def show(self, images: Iterable[JsonObject]) -> list[JsonObject]:
        """Images; returns those that are new."""
        new = self._new(images, self._images)
        self.shown = self.shown or bool(new)
        return new

    def sound(self, audio: JsonObject) -> JsonObject:
        """Audio, whole or a piece of it; returns what of it says something."""
        told = {name: value for name, value in audio.items() if value is not None}
        for name, pieces in (("data", self._sound), ("transcript", self._transcript)):
            if piece := string(told.get(name)):
                pieces.append(piece)
                self.size += len(piece)
                self.shown = True
        self._audio |= told
        return told

    def rate(self, logprobs: JsonObject) -> None:
        """The probabilities of some more tokens, see `logprobs_of`. They are kept up to the bound of an answer; a
        stream, which has passed them on, goes on beyond that."""
        for name, tokens in logprobs.items():
            kept = self._logprobs.setdefault(name, [])
            if tokens and self._logprobs_size <= MAX_ANSWER:
                encoded = msgspec.json.encode(tokens)[1:-1]
                self._logprobs_size += len(encoded)
                kept.append(encoded)

    def all(self) -> Supplements:
        """What there is."""
        found: JsonObject = dict(self._facts)
        for name in ("citations", "search_results"):
            if isinstance(found.get(name), dict):
                del found[name]
        if self._refusal:
            found["refusal"] = "".join(self._refusal)
        if self._annotations:
            found["annotations"] = tuple(self._annotations.values())
        if self._images:
            found["images"] = tuple(self._images.values())
        if self._audio:
            joined = {"data": _joined(self._sound), "transcript": "".join(self._transcript)}
            found["audio"] = self._audio | {name: said for name, said in joined.items() if said}
        if self._logprobs and self._logprobs_size <= MAX_ANSWER:
            found["logprobs"] = {
                name: msgspec.json.decode(b"[%b]" % b",".join(tokens)) if tokens else None
                for name, tokens in self._logprobs.items()
            }
        return Supplements(**found) if found else NO_SUPPLEMENTS

    def _new(self, entries: Iterable[JsonObject], known: dict[str, JsonObject]) -> list[JsonObject]:
        new = []
        for entry in entries:
            mark = dump(entry)
            if mark not in known:
                known[mark] = entry
                self.size += len(mark)
                new.append(entry)
        return new


def _joined(sound: list[str]) -> str:
    """Base64 that came in pieces, as one. Pieces that were padded were encoded each for itself."""
    if not any(piece.endswith("=") for piece in sound[:-1]):
        return "".join(sound)
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, sound))).decode()
    except (binascii.Error, ValueError):
        return "".join(sound)


def logprobs_of(tokens: object, refused: object = None) -> JsonObject:
    """Lists of tokens with their logarithmic probabilities as OpenAI's `logprobs`; empty if there are none."""
    content, refusal = objects(tokens), objects(refused)
    if not content and not refusal:
        return {}
    return {
        "content": [_token(token) for token in content] or None,
        "refusal": [_token(token) for token in refusal] or None,
    }


def _token(token: JsonObject) -> JsonObject:
    """A token with all the fields that OpenAI's clients count on."""
    likely = [{"bytes": None, **other} for other in objects(token.get("top_logprobs"))]
    return {"bytes": None, **token, "top_logprobs": likely}


def annotation_of(flat: JsonObject, offset: int = 0) -> JsonObject:
    """An annotation of the responses form, whose fields stand beside its type, in the form of chat completions;
    `offset` is where in the whole text begins what its indexes are about."""
    kind = string(flat.get("type"))
    if not kind or isinstance(flat.get(kind), dict):
        return flat
    fields = {name: value for name, value in flat.items() if name != "type"}
    for name in ("start_index", "end_index"):
        if isinstance(fields.get(name), int):
            fields[name] += offset
    return {"type": kind, kind: fields}


def citation_of(citation: JsonObject, start: int, end: int) -> JsonObject:
    """A citation of the messages form, which belongs to a block of text, as an annotation of the text in the block."""
    kind = string(citation.get("type"))
    url = string(citation.get("url")) or string(citation.get("source"))
    place = {"start_index": start, "end_index": end}
    if url:
        title = string(citation.get("title")) or url
        return {"type": "url_citation", "url_citation": {"url": url, "title": title, **place, **_rest(citation)}}
    return {"type": kind or "citation", kind or "citation": {**_rest(citation), **place}}


def _rest(citation: JsonObject) -> JsonObject:
    known = ("type", "url", "source", "title")
    return {name: value for name, value in citation.items() if name not in known and value is not None}


def images_in(message: JsonObject) -> list[JsonObject]:
    """The images of a message: `images` of OpenRouter and Ollama, and parts of the content."""
    images = message.get("images")
    listed = images if isinstance(images, list) else []
    found = [image_of(image) if isinstance(image, str) else image for image in listed]
    found += [part for part in objects(message.get("content")) if part.get("type") in ("image_url", "output_image")]
    return [image for image in found if isinstance(image, dict)]


def image_of(data: str, kind: str = "") -> JsonObject | None:
    """An image of base64, or of a URL, as OpenRouter's."""
    if not data:
        return None
    if data.startswith(("data:", "http:", "https:")):
        return {"type": "image_url", "image_url": {"url": data}}
    kind = kind or next((name for start, name in MEDIA_TYPES.items() if data.startswith(start)), "png")
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}


def audio_in(message: JsonObject) -> JsonObject:
    """The audio of a message."""
    return mapping(message.get("audio"))
