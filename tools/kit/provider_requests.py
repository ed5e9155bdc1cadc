"""Answers of providers in the forms that have no function in `fake_providers`, and what every provider is sent."""

from __future__ import annotations

import httpx

from lakehouse import __version__
from tools.kit.fake_providers import Script, encode_json

MESSAGE = {"type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Hi."}]}
MESSAGES_ANSWER = Script(
    chunks=[(0, encode_json({**MESSAGE, "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 2}}))]
)
RESPONSE = {
    "id": "r",
    "object": "response",
    "status": "completed",
    "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}],
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
RESPONSES_ANSWER = Script(chunks=[(0, encode_json(RESPONSE))])

COMMON = {
    "user-agent": f"lakehouse/{__version__}",
    "accept-encoding": "identity",
    "content-type": "application/json",
}
HELLO = [{"role": "user", "content": "Hello?"}]


def headers_of(request: httpx.Request) -> dict[str, str]:
    """The headers that are ours: those of the connection are the transport's."""
    return {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
