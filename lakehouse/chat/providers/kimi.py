"""Kimi For Coding. The messages API is open to every client, chat completions to the clients of an allow-list.

Source: Kimi Code's overview, third-party-agents and error-reference pages; MoonshotAI/kimi-cli.
"""

from __future__ import annotations

from lakehouse.chat.dialects.base import Dialect, Form
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.base import Provider, ProviderEndpoint
from lakehouse.chat.providers.keys import Key
from lakehouse.config import ProviderEntry
from lakehouse.config.provider_values import WireName

MAX_TOKENS = 32768
"""Tokens. The output limit that the provider recommends; the messages API requires one."""

_MESSAGES = Quirks(
    provider="kimi",
    capabilities=frozenset({"cache_control"}),
    send_temperature=False,  # any but the model's own value is a 400
    default_max_tokens=MAX_TOKENS,
    reasoning_details=True,  # thinking blocks go back unchanged, with Kimi's own signatures (hermes-agent#17210)
    unsigned_thinking=True,
    forced_tools_while_thinking=False,
    images="data",
    json_mode="prompt",  # a forced tool is refused while thinking, and the newest models always think
    schema_subset="moonshot",
)

_CHAT = Quirks(
    provider="kimi",
    capabilities=CHAT_COMPLETIONS.capabilities - {"file", "input_audio", "refusal", "audio"} | {"video_url"},
    max_tokens_field="max_completion_tokens",
    developer_role=False,
    send_temperature=False,
    completions_thinking="moonshot",
    forced_tools_while_thinking=False,
    reasoning_key="reasoning_content",
    placeholder_reasoning=True,
    empty_content="omit",  # `""` beside tool calls is a 400 (kimi-cli#2621)
    images="data",
    json_mode="native",
    schema_subset="moonshot",
)


class Kimi(Provider):
    """`wire` is "messages", or "chat_completions" for a client on the provider's allow-list."""

    name = "kimi"

    def __init__(
        self,
        base_url: str,
        key: Key | None = None,
        *,
        wire: WireName = "messages",
        entry: ProviderEntry | None = None,
    ) -> None:
        super().__init__(base_url, key, entry=entry)
        dialect: Dialect = MESSAGES if wire == "messages" else CHAT_COMPLETIONS
        self._endpoint = self.make_endpoint(dialect, self.api_key if wire == "messages" else self.bearer)
        self._quirks = _MESSAGES if wire == "messages" else _CHAT

    def endpoint(self, model: str) -> ProviderEndpoint:  # noqa: ARG002
        return self._endpoint

    def base_quirks(self, model: str, request: Request, form: Form) -> Quirks:  # noqa: ARG002
        return self._quirks
