"""The shapes that cross the dispatcher: a request in, an answer or pieces of one out.

They are frozen, and validated where they are made: from JSON by `msgspec`, in a program by `Request.__post_init__`.
Tokens are counted by the provider and are None when it counted none; money is US dollars; times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from lakehouse.chat.model.parts import NO_SUPPLEMENTS as NO_SUPPLEMENTS
from lakehouse.chat.model.parts import AnyToolCall as AnyToolCall
from lakehouse.chat.model.parts import Audio as Audio
from lakehouse.chat.model.parts import AudioPart as AudioPart
from lakehouse.chat.model.parts import Custom as Custom
from lakehouse.chat.model.parts import CustomToolCall as CustomToolCall
from lakehouse.chat.model.parts import File as File
from lakehouse.chat.model.parts import FilePart as FilePart
from lakehouse.chat.model.parts import Function as Function
from lakehouse.chat.model.parts import ImagePart as ImagePart
from lakehouse.chat.model.parts import ImageUrl as ImageUrl
from lakehouse.chat.model.parts import JsonObject as JsonObject
from lakehouse.chat.model.parts import Part as Part
from lakehouse.chat.model.parts import Supplements as Supplements
from lakehouse.chat.model.parts import TextPart as TextPart
from lakehouse.chat.model.parts import ToolCall as ToolCall
from lakehouse.chat.model.parts import VideoPart as VideoPart
from lakehouse.chat.model.parts import VideoUrl as VideoUrl
from lakehouse.core.errors import Attempt

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One message of the conversation.

    `reasoning` and `reasoning_details` are what an earlier answer carried; providers that demand their reasoning back
    get it in their own way, signed blocks unchanged. So are `refusal`, `audio` and `annotations`.
    """

    role: Role
    content: str | tuple[Part, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_details: tuple[JsonObject, ...] = ()
    refusal: str | None = None
    audio: JsonObject | None = None
    annotations: tuple[JsonObject, ...] = ()
    cache_control: JsonObject | None = None

    def __post_init__(self) -> None:
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("`tool_call_id` is required in a message of role `tool`")
        said = self.tool_calls or (self.role == "assistant" and (self.refusal or self.audio))
        if self.content is None and not said:
            raise ValueError("`content` is required in a message without `tool_calls`")

    @property
    def text(self) -> str:
        """The text of the message, its text parts joined."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images of the message, in order."""
        if self.content is None or isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, ImagePart))


class OpenAIMessage(Message, frozen=True, kw_only=True):
    """A message that came in OpenAI's form with fields that this service does not know: of the message, of the parts of
    its content and of its tool calls, by their places. They are sent to providers that speak chat completions."""

    extra: JsonObject = {}
    part_extra: dict[int, JsonObject] = {}
    call_extra: dict[int, JsonObject] = {}


MAX_QUORUM = 16
"""How many models one request may ask at once: each of them is paid for."""


class Quorum(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask the models `of` all at once and answer when `agree` of them say the same."""

    of: tuple[str, ...]
    agree: int

    def __post_init__(self) -> None:
        if not 2 <= len(self.of) <= MAX_QUORUM:
            raise ValueError(f"`of` must name from 2 to {MAX_QUORUM} models")
        if not 1 <= self.agree <= len(self.of):
            raise ValueError(f"`agree` must be from 1 to {len(self.of)}, the number of models")


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A conversation and what is wanted of it. What the caller leaves out (None) is not sent to the provider.

    `messages` may be given as mappings. `options` goes to the provider's own options as it is; `max_tokens` is in
    tokens. With a `quorum`, its models are asked and `model` is not. Raises `msgspec.ValidationError` naming the field
    when something does not fit.
    """

    model: str
    messages: tuple[Message, ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    format: Literal["json"] | JsonObject | None = None
    think: bool | str | None = None
    tools: tuple[JsonObject, ...] | None = None
    tool_choice: str | JsonObject | None = None
    stream: bool = False
    fallbacks: tuple[str, ...] = ()
    options: JsonObject | None = None
    user: str | None = None
    quorum: Quorum | None = None

    def __post_init__(self) -> None:
        given = self.messages
        if not isinstance(given, tuple) or (
            not _OURS.issuperset(map(type, given)) and any(isinstance(message, Mapping) for message in given)
        ):
            converted = msgspec.convert({"messages": list(self.messages)}, _Messages, from_attributes=True)
            msgspec.structs.force_setattr(self, "messages", converted.messages)
        self._drop_empty()
        if not self.model.strip():
            raise ValueError("`model` must name a model")
        if not self.messages:
            raise ValueError("`messages` must not be empty")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError("`max_tokens` must be at least 1")
        if self.quorum is not None:
            self._check_quorum()

    def _drop_empty(self) -> None:
        """What is empty says nothing, and providers refuse an empty list: it is the same as left out. So is an empty
        string among the `stop` sequences."""
        if self.stop == "" or (isinstance(self.stop, tuple) and not all(self.stop)):
            msgspec.structs.force_setattr(self, "stop", tuple(filter(None, self.stop)))
        for name in ("stop", "tools", "user", "think", "options"):
            value = getattr(self, name)
            if value is not None and value is not False and not value:
                msgspec.structs.force_setattr(self, name, None)

    def _check_quorum(self) -> None:
        if self.format is None:
            raise ValueError("`format` is required with `quorum`: only what has a form can be compared")
        if self.stream:
            raise ValueError("`stream` must be false with `quorum`: there is no answer before enough models agree")
        if self.fallbacks:
            raise ValueError("`fallbacks` must be empty with `quorum`: a tier in `quorum.of` is a chain of its own")


class OpenAIRequest(Request, frozen=True, kw_only=True):
    """A request that came in OpenAI's form. `extra` are fields of it that this service does not know: they are sent as
    they are to a provider that speaks chat completions, and to no other. `format_label` is what `response_format` says
    beside the schema: `name`, `description` and `strict`, those of them that were given."""

    extra: JsonObject = {}
    format_label: JsonObject = {}


_OURS = frozenset({Message})


class _Messages(msgspec.Struct):
    messages: tuple[Message, ...]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens and money as the provider counted them: `input_tokens` includes cached ones, `output_tokens` reasoning."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    input_details: JsonObject | None = None
    output_details: JsonObject | None = None


class ProviderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider answered, decoded from its dialect, before the dispatcher adds who and how long.

    `finish_reason` is None when the provider gave none. `extra_content` of a provider is dropped, signed reasoning
    (`reasoning_details`) is kept, for it must be sent back verbatim.
    """

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[AnyToolCall, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage = Usage()
    reasoning_details: tuple[JsonObject, ...] = ()
    supplements: Supplements = NO_SUPPLEMENTS


class Answer(Supplements, frozen=True, kw_only=True):
    """A whole answer. `model` is the name the upstream was asked for; `attempts` ends with the one that answered.

    `input_details` and `output_details` are what the provider counted of the two besides, under OpenAI's names.
    """

    model: str
    provider: str
    content: str
    reasoning: str
    tool_calls: tuple[AnyToolCall, ...]
    finish_reason: FinishReason
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    latency_ms: float
    attempts: tuple[Attempt, ...]
    reasoning_details: tuple[JsonObject, ...] | msgspec.UnsetType = msgspec.UNSET
    input_details: JsonObject | msgspec.UnsetType = msgspec.UNSET
    output_details: JsonObject | msgspec.UnsetType = msgspec.UNSET


class ContentPiece(msgspec.Struct, frozen=True, tag_field="type", tag="content"):
    """Some more text of the answer."""

    text: str


class DetailedContentPiece(ContentPiece, frozen=True, tag_field="type", tag="content"):
    """Some more text with the probabilities of its tokens, or text of a refusal."""

    logprobs: JsonObject | msgspec.UnsetType = msgspec.UNSET
    refusal: bool | msgspec.UnsetType = msgspec.UNSET


class SupplementPiece(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="supplement"):
    """What the answer says beside text, reasoning and tool calls, see `Supplements`. `audio` is a piece of it."""

    annotations: tuple[JsonObject, ...] | msgspec.UnsetType = msgspec.UNSET
    images: tuple[JsonObject, ...] | msgspec.UnsetType = msgspec.UNSET
    audio: JsonObject | msgspec.UnsetType = msgspec.UNSET
    logprobs: JsonObject | msgspec.UnsetType = msgspec.UNSET


class ReasoningPiece(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """Some more of the model's reasoning."""

    text: str


class ToolCallPiece(msgspec.Struct, frozen=True, tag_field="type", tag="tool_call"):
    """A whole tool call."""

    tool_call: AnyToolCall


class Done(Supplements, frozen=True, kw_only=True, tag_field="type", tag="done"):
    """The last piece of a stream that is whole: an answer's fields without what was already streamed."""

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
    reasoning_details: tuple[JsonObject, ...] | msgspec.UnsetType = msgspec.UNSET
    input_details: JsonObject | msgspec.UnsetType = msgspec.UNSET
    output_details: JsonObject | msgspec.UnsetType = msgspec.UNSET


Delta = ContentPiece | ReasoningPiece | ToolCallPiece | SupplementPiece
"""What a dialect's stream parser yields."""

Piece = ContentPiece | ReasoningPiece | ToolCallPiece | SupplementPiece | Done
"""What a caller of `stream` sees: deltas, then exactly one `Done`; a failure is raised."""


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """A registered provider; `available` while none of its circuits is open, `default` if bare names go to it."""

    name: str
    available: bool
    default: bool


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A model that may be asked for: `id` is what a request says, `created` unix seconds (0 when nobody says)."""

    id: str
    owned_by: str
    created: int = 0


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a provider answers; `detail` says how, `ms` how fast."""

    name: str
    answers: bool
    detail: str
    ms: float
