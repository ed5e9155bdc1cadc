"""The seam between a provider and how it speaks: a provider is a dialect plus facts.

A dialect is pure code. It gives the bytes of a request and takes the bytes of an answer, whole or as they arrive; it
opens no socket, waits for nothing and knows no clock. What differs between providers that share a dialect is written
down as `Quirks`, never as a branch on a provider's name.

    encode(request, model=..., stream=..., quirks=...) -> the body to POST to base URL + `path`
    decode(body, quirks=...)                           -> Reply           (whole)
    parser(quirks=...)                                 -> StreamParser    (streamed)

`exchange.CallCodec` joins the three for one call and adds what no dialect has to know: answers in the other mode than
the one asked for, and answers that have to fit a JSON schema. Every failure is a `LakehouseError` with a class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.model.request import Request
from lakehouse.chat.model.usage import Usage

MAX_LINE = 8 * 1024 * 1024
"""Bytes of one line or event of a stream. Ollama sends a tool call in one line, and its own client allows 8 MB."""

MAX_ANSWER = 32 * 1024 * 1024
"""Bytes of a whole body, and characters of text, reasoning and arguments that a stream may add up to. Framing does not
count: a long and healthy stream carries hundreds of bytes of it per token, and none of that is kept."""

SchemaLevel = Literal["native", "json_object", "tool", "prompt"]
"""How a provider is made to answer in JSON: it takes the schema; it takes a JSON mode, and the schema goes into the
prompt; the schema becomes the parameters of the one tool that it must call; the prompt asks for it and that is all."""

ThinkStyle = Literal["none", "effort", "openrouter", "moonshot", "template"]
"""How chat completions are told to think: not at all; `reasoning_effort`; `reasoning{effort|enabled}`;
`thinking{type, effort}`; `chat_template_kwargs{enable_thinking}` (llama.cpp)."""


ThinkingStyle = Literal["budget", "adaptive", "always"]
"""How the messages form is told to think: with a budget in tokens; adaptively, with an effort (a budget is refused, and
so is any sampling parameter); adaptively by a model that cannot be told not to think."""


Capability = Literal[
    "file",
    "input_audio",
    "video_url",
    "name",
    "tool_name",
    "refusal",
    "audio",
    "annotations",
    "cache_control",
    "detail",
    "system_media",
    "assistant_media",
    "extra",
    "part_extra",
]
"""What a form may have a place for in a conversation: the kinds of parts; fields of messages (`tool_name` is `name` in
the result of a tool); `detail` of an image; parts that are no text in what the system or the assistant says; fields
that this service does not know, of messages and calls, and of parts."""


MAX_CHANGES = 100
"""How many names of fields are kept for the log: clients may make up any number of them."""


@dataclass(slots=True)
class Changes:
    """What had to be changed in a request to send it in a provider's form, for the log: names of the caller's fields.

    `left_out`: fields that the form has no place for, and without which the answer means the same. `adjusted`: fields
    that were sent with the nearest value that the form has.
    """

    left_out: list[str] = field(default_factory=list)
    adjusted: list[str] = field(default_factory=list)

    def leave_out(self, name: str, value: object = True) -> None:
        """Record that the field `name` is not sent, unless its `value` is None, which is none at all."""
        if value is not None and name not in self.left_out and len(self.left_out) < MAX_CHANGES:
            self.left_out.append(name)

    def adjust(self, name: str) -> None:
        """Record that the field `name` is sent with another value."""
        if name not in self.adjusted:
            self.adjusted.append(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What is particular about one provider, or one of its models, within its dialect. The defaults are OpenAI's.

    A dialect reads the facts that mean something in its form and passes over the rest.
    """

    provider: str = "upstream"
    """The name that errors carry."""

    # How a request is written
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    default_max_tokens: int | None = None
    """Sent when the caller set no limit. None: nothing is sent, except in the messages form, which demands one."""
    send_temperature: bool = True
    """False: `temperature` and `top_p` are never sent, for the provider refuses any but its own values."""
    send_user: bool = True
    developer_role: bool = True
    """False: messages of role `developer` are sent as `system`."""
    think: ThinkStyle = "effort"
    default_think: bool | str | None = None
    """What the provider is told when the caller says nothing about `think`; None: nothing."""
    thinking: ThinkingStyle = "budget"
    """Messages form: how thinking is switched on and off."""
    sampling_while_thinking: bool = False
    """Messages form: `temperature` and `top_p` may be sent along with thinking, which Anthropic refuses."""
    either_sampling: bool = False
    """Messages form: `temperature` and `top_p` are refused together, so that one which is 1, and so changes nothing, is
    left out."""
    web_search: bool = False
    """Messages form: the provider searches the web itself, with Anthropic's tool for it."""
    reasoning_key: str | None = None
    """The key of an assistant message under which its reasoning is sent back; None: it is not."""
    blank_reasoning: bool = False
    """An assistant message that calls tools and has no reasoning is sent with a blank one: a model that thinks refuses
    a history without it, and an empty string counts as none."""
    reasoning_details: bool = False
    """Signed and encrypted reasoning is sent back with the message that carried it, unchanged."""
    unsigned_thinking: bool = False
    """Messages form: reasoning without a signature is sent back as well, as a thinking block that has none."""
    empty_content: Literal["null", "omit", "empty"] = "null"
    """What stands for `content` in an assistant message that only calls tools."""
    text_parts: Literal["list", "join"] = "list"
    """What becomes of a content that is several text parts: a list of them, or one string with all of it where an
    upstream takes no list."""
    capabilities: frozenset[Capability] | None = None
    """What the upstream has a place for in a conversation; None: what its form has."""
    custom_tools: bool = False
    """Tools of type `custom`, which are called with free text, are taken."""
    server_tools: bool = False
    """Chat completions: tools of other types than `function` are taken, which the provider runs itself."""
    images: Literal["url", "data", "none"] = "url"
    """What images may be: remote and `data:` URLs, `data:` URLs only, or nothing."""
    schema: SchemaLevel = "native"
    schema_in_prompt: bool = False
    """The schema is described in the prompt even where it is enforced, for the model does not see the grammar."""
    schema_flavour: Literal["full", "moonshot"] = "full"
    """Which JSON Schema tools and `response_format` may use; what the flavour lacks is rewritten or left out."""
    include_usage: bool = True
    """`stream_options.include_usage` is asked for in streams."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Fields that every body carries; what the request itself says goes before them."""

    # How an answer is read
    tool_names: frozenset[str] = frozenset()
    """Of the tools that were offered, if they are known: with them a piece of a name is told from another name."""
    end_by_usage: bool = False
    """A stream may end with nothing but its usage: no finish reason and no end mark (OpenCode)."""
    inline_think: Literal["never", "tagged", "unopened"] = "never"
    """Whether reasoning leaks into the text: not known to; as a leading `<think>…</think>`; or with the opening tag
    missing as well, so that text is held back until the closing tag or the end is seen."""


class StreamParser(Protocol):
    """One answer as it arrives: `feed` what came, at the end of the body `flush` once, then `end`.

    Any split of the same bytes gives the same deltas. Comments and events with nothing to say give none.
    """

    @property
    def resolved(self) -> StreamParser:
        """What reads the rest as this would: itself, or what it has found out to be right for this answer. To be asked
        between two calls."""

    @property
    def complete(self) -> bool:
        """The answer is proven whole: its finish reason or end mark has been read, and `end` will not raise for a
        cut."""

    @property
    def has_pending_error(self) -> bool:
        """An error was met after the deltas that `feed` has just returned; the next call raises it."""

    @property
    def finished(self) -> bool:
        """The end mark has been read. Only accounting may follow, for which it is worth waiting a moment, not more."""

    @property
    def made_progress(self) -> bool:
        """Whether what was fed last held some part of the answer, be it one that is no delta yet: a fragment of a tool
        call, text that is held back. Comments and empty events hold none. To be asked when it gave no deltas."""

    @property
    def usage(self) -> Usage:
        """The tokens and the cost that are known so far."""

    def feed(self, data: bytes) -> list[Delta]:
        """What these bytes say.

        Raises a `LakehouseError` for an error that the provider sent, for an event that cannot be read and may have
        held a part of the answer (`incomplete_stream`), and for one over its bound: at once when no delta came before
        it in these bytes, else with the next call. Once raised it is raised by every call.
        """

    def flush(self) -> list[Delta]:
        """At the end of the body: what was held back, a last event without its blank line included. Raises as
        `feed`."""

    def end(self) -> ProviderAnswer:
        """The whole answer, its deltas added up. Calls `flush` if that was not done.

        Raises `incomplete_stream` when the stream ended before the answer was proven whole, `empty_response` when there
        is neither text nor reasoning nor a tool call in it.
        """


class Dialect(Protocol):
    """How a family of providers speaks."""

    @property
    def path(self) -> str:
        """Where requests are posted, after the provider's base URL: `/chat/completions`."""

    @property
    def framing(self) -> Literal["sse", "ndjson"]:
        """How a stream is cut into events."""

    @property
    def schema_steps(self) -> tuple[SchemaLevel, ...]:
        """The ways of asking for JSON that the form has words for, the strictest first."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the form has a place for in a conversation."""

    def encode(
        self, request: Request, *, model: str, stream: bool, quirks: Quirks, changes: Changes | None = None
    ) -> bytes:
        """The JSON body that asks `model`, which is the provider's own name for it. `changes` learns what is not sent
        as the caller wrote it.

        Raises `ErrBadRequest` naming the field for what this form or this provider cannot be asked.
        """

    def decode(self, body: bytes, *, quirks: Quirks) -> ProviderAnswer:
        """A whole answer. Raises what the provider's error means, `empty_response` for one that says nothing, and
        `upstream_error` for one that is not understood."""

    def parser(self, *, quirks: Quirks) -> StreamParser:
        """A reader for one streamed answer."""
