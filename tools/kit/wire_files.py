"""The answers in `wire/`, and what each is expected to mean.

They were written for tests, after the providers' source, documentation and bug reports; `basis` in the manifest says which.
None is a recording: names, ids, keys and counts are invented.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks

WIRE = Path(__file__).parents[2] / "tests" / "data" / "wire"
MANIFEST: list[dict[str, Any]] = json.loads((WIRE / "manifest.json").read_text())["files"]

OTHER_CALLS = ("models", "key", "tags", "show", "version", "embed", "usage", "usages", "load")
"""Files that answer something else than a chat."""

PROVIDERS = {"ollama-cloud": "ollama_cloud", "kimi-coding": "kimi"}
"""Names in the manifest that are not ours."""


def provider_of(entry: dict[str, Any]) -> str:
    name: str = entry["provider"]
    return PROVIDERS.get(name, name)


def dialect_of(entry: dict[str, Any]) -> Dialect:
    if "messages" in entry["file"]:
        return MESSAGES
    return OLLAMA if entry["provider"].startswith("ollama") else CHAT_COMPLETIONS


def quirks_of(entry: dict[str, Any]) -> Quirks:
    return Quirks(provider=provider_of(entry), usage_ends_stream=entry["provider"] == "opencode")


def chats(suffix: str) -> list[dict[str, Any]]:
    """The entries of chat answers with status 200 in files of this kind."""
    return [
        entry
        for entry in MANIFEST
        if entry["file"].endswith(suffix)
        and not entry["file"].startswith("error_")
        and entry["file"].removesuffix(suffix).rpartition("_")[2] not in OTHER_CALLS
    ]


def streams() -> list[dict[str, Any]]:
    return [*chats(".sse"), *chats(".ndjson")]


def body_of(entry: dict[str, Any]) -> bytes:
    return (WIRE / str(entry["file"])).read_bytes()


def errors() -> list[dict[str, Any]]:
    return [entry for entry in MANIFEST if entry["file"].startswith("error_")]


def error_of(entry: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of an error file."""
    wrapper = json.loads((WIRE / entry["file"]).read_text())
    body = wrapper["body_text"].encode() if "body_text" in wrapper else json.dumps(wrapper["body"]).encode()
    return wrapper["status"], list(wrapper["headers"].items()), body
