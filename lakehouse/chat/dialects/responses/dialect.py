"""OpenAI's responses, the dialect of OpenCode for GPT and Grok.

Shapes and events: https://platform.openai.com/docs/api-reference/responses and /responses-streaming, as typed in
openai-python `types/responses`. Nothing is stored at the provider: each request carries the whole conversation,
including encrypted reasoning. A stream is named events and is complete after `response.completed` or
`response.incomplete`. The dialect has neither `seed`, which is left out, nor `stop`, which is rejected: an answer that
continues past its stop is a different answer.
"""

from __future__ import annotations

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.responses.decode import decode, make_parser
from lakehouse.chat.dialects.responses.encode import SUPPORTED_JSON_MODES, encode
from lakehouse.chat.dialects.responses.relay import RESPONSES_RELAY

RESPONSES = Dialect(
    form="responses",
    path="/responses",
    framing="sse",
    json_modes=SUPPORTED_JSON_MODES,
    capabilities=frozenset({"file", "input_audio", "detail", "system_media"}),
    encode=encode,
    decode=decode,
    make_parser=make_parser,
    relay=RESPONSES_RELAY,
)
