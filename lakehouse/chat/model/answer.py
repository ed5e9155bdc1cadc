"""The answer to a request: as a provider gave it, and as the caller gets it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.tool_calls import AnyToolCall
from lakehouse.chat.model.usage import Usage, get_cache_write_tokens
from lakehouse.core.errors import Attempt

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Supplements(msgspec.Struct, frozen=True, kw_only=True):
    """The optional fields of an answer beside text, reasoning and tool calls, in OpenAI's shapes; absent when unset.

    `refusal` is part of `content` as well. `images` are parts of type `image_url`. `annotations` are citations. The
    last six are facts that the provider gives about the answer; `stop_sequence` is the text that ended it.
    """

    refusal: str | UnsetType = UNSET
    annotations: tuple[JsonObject, ...] | UnsetType = UNSET
    images: tuple[JsonObject, ...] | UnsetType = UNSET
    audio: JsonObject | UnsetType = UNSET
    logprobs: JsonObject | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    system_fingerprint: str | UnsetType = UNSET
    moderation: JsonObject | list[Any] | UnsetType = UNSET
    citations: list[Any] | UnsetType = UNSET
    search_results: list[Any] | UnsetType = UNSET
    stop_sequence: str | UnsetType = UNSET


NO_SUPPLEMENTS = Supplements()


class ProviderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of one provider, decoded from its dialect, before the dispatcher adds provider, time and attempts.

    `finish_reason` is None when the provider gave none. A provider's `extra_content` is dropped. Signed reasoning
    (`reasoning_details`) is kept: the next request must return it verbatim.
    """

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[AnyToolCall, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage = Usage()
    reasoning_details: tuple[JsonObject, ...] = ()
    supplements: Supplements = NO_SUPPLEMENTS


class AnswerFacts(Supplements, frozen=True, kw_only=True):
    """The facts of an answer that a whole answer and the end of a stream share.

    `model` is the name that the provider was sent, `provider` the provider that answered. `latency_ms` is the time
    since the call began, in milliseconds. `attempts` ends with the attempt that answered. `input_details` and
    `output_details` are the provider's detailed token counts under OpenAI's names.
    """

    model: str
    provider: str
    finish_reason: FinishReason
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    latency_ms: float
    attempts: tuple[Attempt, ...]
    reasoning_details: tuple[JsonObject, ...] | UnsetType = UNSET
    input_details: JsonObject | UnsetType = UNSET
    output_details: JsonObject | UnsetType = UNSET

    @property
    def cache_write_tokens(self) -> int | None:
        """Tokens of the input that were written to the provider's cache; `input_details` has them."""
        return get_cache_write_tokens(self.input_details)


class RelayedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer in the client's own form: its body as the provider sent it, but for the model's name."""

    body: bytes
    provider: str
    attempts: tuple[Attempt, ...]


class Answer(AnswerFacts, frozen=True):
    """A whole answer: its text, reasoning and tool calls beside the facts (`AnswerFacts`)."""

    model: str  # declared again, as is `provider`: positional fields come first in the JSON object
    provider: str
    content: str
    reasoning: str
    tool_calls: tuple[AnyToolCall, ...]
