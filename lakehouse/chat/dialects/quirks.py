"""Differences between providers, or between models of one provider, within a dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

JsonMode = Literal["native", "json_object", "tool", "prompt"]
"""How a JSON answer is requested, the strictest first: the provider enforces the schema; the provider has a JSON mode
and the schema goes into the prompt; the schema becomes the parameters of a tool that must be called; the prompt alone
requests JSON."""
JSON_MODES: tuple[JsonMode, ...] = get_args(JsonMode)
"""All modes, the strictest first."""

CompletionsThinking = Literal["none", "effort", "openrouter", "moonshot", "template"]
"""The field that controls thinking in chat completions: no field; `reasoning_effort`; `reasoning{effort|enabled}`;
`thinking{type, effort}`; `chat_template_kwargs{enable_thinking}` (llama.cpp)."""

MessagesThinking = Literal["budget", "adaptive", "always"]
"""How thinking is controlled in the messages dialect: a budget in tokens; adaptive with an effort (the provider rejects
a budget and every sampling parameter); adaptive for a model whose thinking cannot be disabled."""

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
    "ollama_fields",
    "top_k",
]
"""Parts of a conversation that not every dialect can represent: types of content parts; fields of messages (`tool_name`
is `name` in a tool result); `detail` of an image; parts other than text in system and in assistant messages; unknown
fields of messages and calls (`extra`) and of parts (`part_extra`); fields of Ollama's own requests; `top_k`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """The particulars of one provider or model. The defaults are OpenAI's. A dialect ignores the fields that do not
    apply to it."""

    provider: str = "upstream"
    """The name that errors carry."""

    # Requests
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    default_max_tokens: int | None = None
    """Sent when the caller set no limit. None: not sent, except in the messages dialect, where a limit is required."""
    send_temperature: bool = True
    """False: `temperature` and `top_p` are never sent, because the provider accepts only its own values."""
    send_user: bool = True
    developer_role: bool = True
    """False: messages of role `developer` are sent as `system`."""
    completions_thinking: CompletionsThinking = "effort"
    default_think: bool | str | None = None
    """Value for a request without `think`; None: nothing is sent."""
    messages_thinking: MessagesThinking = "budget"
    sampling_while_thinking: bool = False
    """Messages dialect: `temperature` and `top_p` may be sent along with thinking, which Anthropic rejects."""
    exclusive_sampling: bool = False
    """Messages dialect: the provider rejects `temperature` together with `top_p`. Whichever of them is 1 has no effect
    and is left out."""
    max_temperature: float | None = None
    """Messages dialect: the largest `temperature`; a larger one is sent as this."""
    forced_tools_while_thinking: bool = True
    """False: the provider rejects thinking together with a `tool_choice` that forces a call."""
    web_search: bool = False
    """Messages dialect: the provider has Anthropic's web search tool."""
    reasoning_key: str | None = None
    """Key of an assistant message under which its reasoning is sent back; None: it is not sent back."""
    placeholder_reasoning: bool = False
    """An assistant message with tool calls and without reasoning is sent with a blank one: thinking models reject a
    history without reasoning, and count an empty string as missing."""
    reasoning_details: bool = False
    """Signed and encrypted reasoning is sent back unchanged with its message."""
    unsigned_thinking: bool = False
    """Messages dialect: reasoning without a signature is sent back too, as a thinking block with an empty one."""
    empty_content: Literal["null", "omit", "empty"] = "null"
    """Value of `content` in an assistant message with tool calls only."""
    text_parts: Literal["list", "join"] = "list"
    """Content of several text parts: sent as a list, or joined for an upstream that accepts no list."""
    capabilities: frozenset[Capability] | None = None
    """What the upstream can represent in a conversation; None: the capabilities of the dialect."""
    custom_tools: bool = False
    """Tools of type `custom`, which are called with free text, are accepted."""
    server_tools: bool = False
    """Chat completions: tools of other types than `function`, which the provider runs itself, are accepted."""
    images: Literal["url", "data", "none"] = "url"
    """Accepted images: remote and `data:` URLs; `data:` URLs only; none."""
    json_mode: JsonMode = "native"
    schema_in_prompt: bool = False
    """The prompt describes the schema even where it is enforced, because the model does not see the grammar."""
    schema_subset: Literal["full", "moonshot"] = "full"
    """The JSON Schema that tools and `response_format` may use; other keywords are rewritten or dropped."""
    include_usage: bool = True
    """`stream_options.include_usage` is sent with streams."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every body; fields of the request override them."""

    # Answers
    tool_names: frozenset[str] = frozenset()
    """Names of the offered tools, if known: they decide whether a name in a fragment continues another name."""
    usage_ends_stream: bool = False
    """A stream may end after its usage, without finish reason and end mark (OpenCode)."""
    inline_think: Literal["never", "tagged", "unopened"] = "never"
    """Whether reasoning leaks into the text: not known to; as a leading `<think>…</think>`; or without the opening tag,
    so that text is held back until the closing tag or the end of the answer."""
