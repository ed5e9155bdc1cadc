"""OpenAI's chat completions, the dialect of OpenAI, OpenRouter, OpenCode, Kimi and llama.cpp.

Request and answer: https://platform.openai.com/docs/api-reference/chat. A stream is server-sent events whose data are
chunks. `[DONE]` ends it, but not every provider sends it, and OpenCode sends its cost after it.
"""

from __future__ import annotations

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.chat_completions.decode import decode, make_parser
from lakehouse.chat.dialects.chat_completions.encode import SUPPORTED_JSON_MODES, encode
from lakehouse.chat.dialects.chat_completions.relay import CHAT_COMPLETIONS_RELAY

CHAT_COMPLETIONS = Dialect(
    form="chat_completions",
    path="/chat/completions",
    framing="sse",
    json_modes=SUPPORTED_JSON_MODES,
    capabilities=frozenset(
        {
            "file",
            "input_audio",
            "name",
            "tool_name",
            "refusal",
            "audio",
            "annotations",
            "detail",
            "system_media",
            "assistant_media",
            "extra",
            "part_extra",
        }
    ),
    encode=encode,
    decode=decode,
    make_parser=make_parser,
    relay=CHAT_COMPLETIONS_RELAY,
)
