"""The fields beside the text of a completion or chunk, in one table for the three readers that depend on it.

The two fast paths decode these structs and leave an answer with a non-empty field to the full reader. The full reader
skips the inspection of a message in which `NON_TEXT_FIELDS` are all empty. A test compares the table with the fields
that the full reader accesses (`tests/chat/dialects/fast_paths/test_text_only_fields.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Empty = Literal[""] | Annotated[list[None], Meta(max_length=0)] | None
"""Values without content: null, an empty string, an empty list."""


class TextOnlyMessage(msgspec.Struct, gc=False, kw_only=True):
    """A message or delta; subclasses add `content`."""

    reasoning_content: Empty = None
    reasoning: Empty = None
    thinking: Empty = None
    reasoning_details: Empty = None
    refusal: Empty = None
    tool_calls: Empty = None
    function_call: Empty = None
    annotations: Empty = None
    images: Empty = None
    audio: Empty = None


class TextOnlyChoice(msgspec.Struct, gc=False, kw_only=True):
    """A choice; subclasses add the message or delta."""

    error: Empty = None
    usage: Empty = None
    logprobs: Empty = None


class TextOnlyDocument(msgspec.Struct, gc=False, kw_only=True):
    """A completion or chunk; subclasses add `choices` and what they can read besides."""

    error: Empty = None
    cost: None = None
    moderation: Empty = None
    citations: Empty = None
    search_results: Empty = None


NON_TEXT_FIELDS = TextOnlyMessage.__struct_fields__
"""Fields of a message besides its content. In most chunks of a stream they are absent or null."""
