"""A chat request.

Requests are frozen and validated on creation: from JSON by `msgspec`, in Python by `__post_init__`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from lakehouse.chat.model.parts import ImagePart, JsonObject, Part, TextPart
from lakehouse.chat.model.tool_calls import ToolCall

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One message of the conversation.

    `reasoning`, `reasoning_details`, `refusal`, `audio` and `annotations` are copied from an earlier answer. Providers
    that require their reasoning in the next request get it in their own format, signed blocks unchanged.
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
        replaced = self.tool_calls or (self.role == "assistant" and (self.refusal or self.audio))
        if self.content is None and not replaced:
            raise ValueError("`content` is required in a message without `tool_calls`")

    @property
    def text(self) -> str:
        """The text of the message: its text parts, joined."""
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
    """A message in OpenAI's form that has unknown fields.

    `extra` holds those of the message; `part_extra` and `call_extra` those of its content parts and tool calls, by
    index. Providers that speak chat completions receive them.
    """

    extra: JsonObject = {}
    part_extra: dict[int, JsonObject] = {}
    call_extra: dict[int, JsonObject] = {}


MAX_QUORUM = 16
"""Models that one request may ask at once. Each answer is paid for."""


class Quorum(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask all models in `of` at the same time; the request succeeds when `agree` of them give the same answer."""

    of: tuple[str, ...]
    agree: int

    def __post_init__(self) -> None:
        if not 2 <= len(self.of) <= MAX_QUORUM:
            raise ValueError(f"`of` must name from 2 to {MAX_QUORUM} models")
        if not 1 <= self.agree <= len(self.of):
            raise ValueError(f"`agree` must be from 1 to {len(self.of)}, the number of models")


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A conversation and the parameters of its answer. A parameter that is None is not sent to the provider.

    `messages` may be given as mappings. `options` is sent unchanged as the provider's own options. `max_tokens` is in
    tokens. With a `quorum`, its models are requested and `model` is not. Raises `msgspec.ValidationError` or ValueError
    with the name of the field that is wrong.
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

    if TYPE_CHECKING:  # `msgspec` makes the real one; this has the types that `__post_init__` accepts and converts

        def __init__(
            self,
            *,
            model: str,
            messages: Sequence[Message | Mapping[str, object]],
            temperature: float | None = None,
            top_p: float | None = None,
            max_tokens: int | None = None,
            stop: str | tuple[str, ...] | None = None,
            seed: int | None = None,
            format: Literal["json"] | JsonObject | None = None,  # noqa: A002 - the name of the field
            think: bool | str | None = None,
            tools: tuple[JsonObject, ...] | None = None,
            tool_choice: str | JsonObject | None = None,
            stream: bool = False,
            fallbacks: tuple[str, ...] = (),
            options: JsonObject | None = None,
            user: str | None = None,
            quorum: Quorum | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        messages = self.messages
        if not isinstance(messages, tuple) or (
            not _CONVERTED.issuperset(map(type, messages)) and any(isinstance(message, Mapping) for message in messages)
        ):
            converted = msgspec.convert({"messages": list(messages)}, _Messages, from_attributes=True)
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
        """Treat empty values, and empty strings among the `stop` sequences, as left out: providers refuse empty
        lists."""
        if self.stop is None and self.tools is None and self.user is None and self.think is None and not self.options:
            return
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
    """A request in OpenAI's form.

    `extra` holds its unknown fields; only providers that speak chat completions receive them, unchanged. `format_label`
    holds the `name`, `description` and `strict` of `response_format`, as far as they were given.
    """

    extra: JsonObject = {}
    format_label: JsonObject = {}


class TranslatedRequest(OpenAIRequest, frozen=True, kw_only=True):
    """A request that came in another form than chat completions.

    `unmapped` holds the paths, in the client's form, of what only a provider of that form can be sent: a call of any
    other provider fails with a 400 that names the first one, and its value if `unmapped_types` has it. `hints` holds
    the paths of what affects how a request is served or filed: it is left out, and the log names it. `field_names`
    gives the client's path for a path of `Request`, so that errors name the fields as the client wrote them. With
    `custom_as_functions`, a provider without custom tools is sent functions whose only argument is the input.
    `own_fields` are fields of the client's form, by name, that providers of that `form` (`dialects.base.Form`) are sent
    as the client wrote them.
    """

    form: str = ""
    own_fields: JsonObject = {}
    unmapped: tuple[str, ...] = ()
    unmapped_types: dict[str, str] = {}
    hints: tuple[str, ...] = ()
    field_names: dict[str, str] = {}
    custom_as_functions: bool = False


class OllamaRequest(TranslatedRequest, frozen=True, kw_only=True):
    """A request in Ollama's form.

    `ollama_fields` holds what only an Ollama has a place for, its `options` among them, and unknown fields.
    `model_name` is the model as the client wrote it, with its tag.
    """

    ollama_fields: JsonObject = {}
    model_name: str = ""


class AnthropicRequest(TranslatedRequest, frozen=True, kw_only=True):
    """A request in Anthropic's form.

    `document` is its JSON object as the client wrote it, which providers of the same form receive. `web_search` is
    Anthropic's own search among its tools. `tool_names` has the client's name of each tool whose name is too long for
    other forms. `leaves_thinking`: how much the model thinks is left to it, and `think` is only an effort.
    """

    document: JsonObject = {}
    web_search: JsonObject | None = None
    leaves_thinking: bool = False
    tool_names: dict[str, str] = {}


_CONVERTED = frozenset({Message})


class _Messages(msgspec.Struct):
    messages: tuple[Message, ...]
