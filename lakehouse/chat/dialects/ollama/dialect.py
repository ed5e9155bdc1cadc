"""Ollama's own chat, local and in the cloud.

Source: ollama/ollama api/types.go and server/routes.go. A stream is JSON objects, one per line; the last one has
`done: true` and the counts. After a token was repeated too often a stream ends without it and without an error; the
answer then counts as cut. `think` is on by default for models that support it, `stream` for all.
"""

from __future__ import annotations

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.ollama.decode import decode, make_parser
from lakehouse.chat.dialects.ollama.encode import SUPPORTED_JSON_MODES, encode
from lakehouse.chat.dialects.ollama.relay import OLLAMA_RELAY

OLLAMA = Dialect(
    form="ollama",
    path="/api/chat",
    framing="ndjson",
    json_modes=SUPPORTED_JSON_MODES,
    capabilities=frozenset({"tool_name", "system_media", "assistant_media", "ollama_fields"}),
    encode=encode,
    decode=decode,
    make_parser=make_parser,
    relay=OLLAMA_RELAY,
)
