"""Test doubles for programs that embed Lakehouse: scripted providers and upstreams.

`FakeProvider` stands in for a model provider without a socket and in virtual time; `open_upstream` runs a scripted
server on a real socket, for the gateway or for providers at a URL. `import lakehouse` does not import this module.
"""

from __future__ import annotations

from lakehouse.testing.providers import (
    SILENCE,
    FakeProvider,
    ProviderRequest,
    Script,
    ScriptedBody,
    completion,
    completion_event,
    completion_stream,
    encode_json,
    error_response,
    ollama_answer,
    ollama_line,
    ollama_stream,
)
from lakehouse.testing.upstreams import (
    ReceivedRequest,
    ScriptedUpstream,
    UpstreamScript,
    answer_with,
    never_answer,
    open_upstream,
    respond,
)

__all__ = [
    "SILENCE",
    "FakeProvider",
    "ProviderRequest",
    "ReceivedRequest",
    "Script",
    "ScriptedBody",
    "ScriptedUpstream",
    "UpstreamScript",
    "answer_with",
    "completion",
    "completion_event",
    "completion_stream",
    "encode_json",
    "error_response",
    "never_answer",
    "ollama_answer",
    "ollama_line",
    "ollama_stream",
    "open_upstream",
    "respond",
]
