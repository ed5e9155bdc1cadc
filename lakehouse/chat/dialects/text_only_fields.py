"""What may stand beside the text of an answer, in one table for all who look only for text.

Two readers decode nothing but plain text (`completion`, `glance`), because that is what nearly all answers and chunks
are. Whatever of these fields says something is left to the reader of the whole form.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Empty = Literal[""] | Annotated[list[None], Meta(max_length=0)] | None
"""What says nothing."""


class MessageBeside(msgspec.Struct, gc=False, kw_only=True):
    """The fields of a message, or of a delta."""

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


class ChoiceBeside(msgspec.Struct, gc=False, kw_only=True):
    """The fields of a choice."""

    error: Empty = None
    usage: Empty = None
    logprobs: Empty = None


class DocumentBeside(msgspec.Struct, gc=False, kw_only=True):
    """The fields of a completion, or of a chunk."""

    error: Empty = None
    cost: None = None
    moderation: Empty = None
    citations: Empty = None
    search_results: Empty = None


BESIDE_CONTENT = MessageBeside.__struct_fields__
"""What a message may say besides its content. Most chunks of a stream have none of it, or null."""
