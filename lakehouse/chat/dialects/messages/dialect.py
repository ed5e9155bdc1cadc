"""Anthropic's messages, the dialect of OpenCode for Claude, Qwen and MiniMax, and of Kimi for every client.

Request, answer and events: https://docs.anthropic.com/en/api/messages and /messages-streaming. A stream is named events
and is complete after `message_stop`. Thinking blocks carry a signature and are sent back unchanged. The dialect has
neither `seed`, which is left out, nor a JSON mode, for which a tool stands in.
"""

from __future__ import annotations

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.messages.decode import decode, make_parser
from lakehouse.chat.dialects.messages.encode import SUPPORTED_JSON_MODES, encode
from lakehouse.chat.dialects.messages.relay import MESSAGES_RELAY

MESSAGES = Dialect(
    form="messages",
    path="/messages",
    framing="sse",
    json_modes=SUPPORTED_JSON_MODES,
    capabilities=frozenset({"file", "cache_control", "top_k"}),
    encode=encode,
    decode=decode,
    make_parser=make_parser,
    relay=MESSAGES_RELAY,
)
