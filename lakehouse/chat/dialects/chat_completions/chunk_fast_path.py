"""Fast path for streamed chunks that hold text only, which most chunks of a stream do.

Skips: decoding of the whole chunk into a dict, and the inspection of its fields by `CompletionReader`. A chunk is
decoded into a struct of the fields that the reader accesses; if any field but the text has content, or another type
than usual, the chunk is left to the reader. Where the chunks of a stream differ only in their text, the struct is
skipped as well: the bytes around the text are compared with a template, and only the text is decoded.

Equality with the reader: `test_chunk_fast_path.test_it_gives_the_same_deltas_as_the_reader` (a property over chunks,
cuts and quirks). Budget line: `streamed chat of 200 pieces` (`python -m tools.bench.budget`).
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from lakehouse.chat.dialects.chat_completions.text_only_fields import (
    Empty,
    TextOnlyChoice,
    TextOnlyDocument,
    TextOnlyMessage,
)
from lakehouse.chat.dialects.decoding.text_template import TextTemplate

MAX_TEMPLATES = 8
"""Templates that are learned per stream. Some streams differ around the text in every chunk (OpenAI's `obfuscation`),
and some begin with chunks of another shape."""

_CONTENT = re.compile(rb'"content":\s*("(?:[^"\\]|\\.)*")')


class _Delta(TextOnlyMessage, gc=False, kw_only=True):
    content: str | None = None


class _Choice(TextOnlyChoice, gc=False, kw_only=True):
    delta: _Delta
    finish_reason: Literal[""] | None = None


class _Chunk(TextOnlyDocument, gc=False, kw_only=True):
    choices: list[_Choice]
    type: Any = None
    object: Any = None
    usage: Empty = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


_decode_struct = msgspec.json.Decoder(_Chunk).decode


class ChunkFastPath:
    """Decodes the text of one stream's chunks, see `event_parser.FastPath`."""

    def __init__(self) -> None:
        self._templates_left = MAX_TEMPLATES
        self._tier_read = self._fingerprint_read = False  # by the full reader
        self._template = TextTemplate(b"data: ", _CONTENT, _decode_text)

    def match_events(self, data: bytes) -> list[str] | None:
        """Return the texts of `data` if it is one or more whole events that match the template, else None."""
        return self._template.match_events(data)

    @property
    def frame(self) -> tuple[bytes, bytes] | None:
        """The bytes of the template before and after the text."""
        return self._template.frame

    def decode_text(self, data: bytes) -> str:
        """Return the text of a chunk that holds text only; empty for any other."""
        chunk = _decode_chunk(data)
        text = "" if chunk is None else chunk.choices[0].delta.content
        if not text or chunk is None:
            return ""
        if (chunk.service_tier or chunk.system_fingerprint) and self._has_new_metadata(chunk):
            return ""
        if self._templates_left:
            self._templates_left -= 1
            self._template.learn(data, text)
        return text

    def _has_new_metadata(self, chunk: _Chunk) -> bool:
        """Return whether the chunk has metadata that the reader has not read yet: the first value of each holds."""
        tier, fingerprint = bool(chunk.service_tier), bool(chunk.system_fingerprint)
        if tier <= self._tier_read and fingerprint <= self._fingerprint_read:
            return False
        self._tier_read, self._fingerprint_read = self._tier_read or tier, self._fingerprint_read or fingerprint
        return True


def _decode_chunk(data: bytes) -> _Chunk | None:
    """Return a chunk that holds text and metadata only, else None."""
    try:
        chunk = _decode_struct(data)
    except (ValueError, RecursionError):
        return None
    return None if len(chunk.choices) != 1 or "error" in (chunk.object, chunk.type) else chunk


def _decode_text(data: bytes) -> str:
    """Return the text of a chunk that holds text and metadata only; empty for any other."""
    chunk = _decode_chunk(data)
    return "" if chunk is None else chunk.choices[0].delta.content or ""
