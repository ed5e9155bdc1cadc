"""What an answer holds besides text, reasoning and tool calls: citations, images, audio, probabilities, metadata."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

import msgspec

from lakehouse.chat.dialects.base import MAX_ANSWER
from lakehouse.chat.dialects.lenient_json import JsonObject, as_string, encode_json
from lakehouse.chat.model.answer import NO_SUPPLEMENTS, Supplements

KEEP_FIRST = ("service_tier", "system_fingerprint")
"""String fields of an answer and of each of its chunks; the first non-empty value of each holds."""

KEEP_LAST = ("moderation", "citations", "search_results")
"""Object and list fields of an answer and of each of its chunks; the last non-empty value of each holds."""


class SupplementsBuilder:
    """Assembles the supplements of one answer."""

    def __init__(self) -> None:
        self.size = 0  # characters
        self.has_media = False  # an image or sound, which is an answer without any text
        self._fields: JsonObject = {}
        self._refusal: list[str] = []
        self._annotations: dict[str, JsonObject] = {}
        self._images: dict[str, JsonObject] = {}
        self._audio: JsonObject = {}
        self._audio_data: list[str] = []
        self._transcript: list[str] = []
        self._logprobs: dict[str, list[bytes]] = {}
        self._logprobs_size = 0

    def add_fields(self, document: JsonObject) -> None:
        """Read the metadata of a whole answer or a chunk."""
        for name in KEEP_FIRST:
            if name not in self._fields and (value := as_string(document.get(name))):
                self._fields[name] = value
        for name in KEEP_LAST:
            if (record := document.get(name)) and isinstance(record, dict | list):
                self._fields[name] = record

    def set_stop_sequence(self, text: str) -> None:
        """Take the text that ended the answer; an empty one is none."""
        if text:
            self._fields["stop_sequence"] = text

    def add_refusal(self, text: str) -> None:
        """Add a piece of a refusal. Its characters are counted with the text of the answer."""
        self._refusal.append(text)

    def add_annotations(self, annotations: Iterable[JsonObject]) -> list[JsonObject]:
        """Add annotations; returns the new ones, because some servers repeat all of them with each chunk."""
        return self._add_new(annotations, self._annotations)

    def add_images(self, images: Iterable[JsonObject]) -> list[JsonObject]:
        """Add images; returns the new ones."""
        new = self._add_new(images, self._images)
        self.has_media = self.has_media or bool(new)
        return new

    def add_audio(self, audio: JsonObject) -> JsonObject:
        """Add audio, whole or a piece of it; returns its fields that are not null."""
        added = {name: value for name, value in audio.items() if value is not None}
        for name, pieces in (("data", self._audio_data), ("transcript", self._transcript)):
            if piece := as_string(added.get(name)):
                pieces.append(piece)
                self.size += len(piece)
                self.has_media = True
        self._audio |= added
        return added

    def add_logprobs(self, logprobs: JsonObject) -> None:
        """Add the probabilities of further tokens (`convert_logprobs`). They are kept up to `MAX_ANSWER`; a stream has
        delivered them already and continues beyond that."""
        for name, tokens in logprobs.items():
            kept = self._logprobs.setdefault(name, [])
            if tokens and self._logprobs_size <= MAX_ANSWER:
                encoded = msgspec.json.encode(tokens)[1:-1]
                self._logprobs_size += len(encoded)
                kept.append(encoded)

    def build(self) -> Supplements:
        """Return everything that was added."""
        fields: JsonObject = dict(self._fields)
        for name in ("citations", "search_results"):
            if isinstance(fields.get(name), dict):
                del fields[name]
        if self._refusal:
            fields["refusal"] = "".join(self._refusal)
        if self._annotations:
            fields["annotations"] = tuple(self._annotations.values())
        if self._images:
            fields["images"] = tuple(self._images.values())
        if self._audio:
            joined = {"data": _join_base64(self._audio_data), "transcript": "".join(self._transcript)}
            fields["audio"] = self._audio | {name: text for name, text in joined.items() if text}
        if self._logprobs and self._logprobs_size <= MAX_ANSWER:
            fields["logprobs"] = {
                name: msgspec.json.decode(b"[%b]" % b",".join(tokens)) if tokens else None
                for name, tokens in self._logprobs.items()
            }
        return Supplements(**fields) if fields else NO_SUPPLEMENTS

    def _add_new(self, entries: Iterable[JsonObject], known: dict[str, JsonObject]) -> list[JsonObject]:
        new = []
        for entry in entries:
            key = encode_json(entry)
            if key not in known:
                known[key] = entry
                self.size += len(key)
                new.append(entry)
        return new


def _join_base64(pieces: list[str]) -> str:
    """Return pieces of base64 as one string. Padded pieces were encoded separately and are encoded anew."""
    if not any(piece.endswith("=") for piece in pieces[:-1]):
        return "".join(pieces)
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)
