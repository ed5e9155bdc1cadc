"""What a provider of each dialect was sent: its requests, read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Document = dict[str, Any]


class Sent(NamedTuple):
    """What a provider was sent: texts by role, tools, and of each earlier call its name and its result."""

    texts: Sequence[tuple[str, str]]
    tools: Sequence[str]
    results: Sequence[tuple[str, str]]


def read_sent(dialect: str, body: Document) -> Sent:
    """Read a request in a dialect."""
    return READERS[dialect](body)


def _read_messages(body: Document) -> Sent:
    """Chat completions and Ollama."""
    texts, results = [], []
    names: dict[str, str] = {}
    for turn in body["messages"]:
        for call in turn.get("tool_calls") or ():
            names[call.get("id", call["function"]["name"])] = call["function"]["name"]
        if turn["role"] == "tool":
            key = turn.get("tool_call_id") or turn["tool_name"]
            results.append((names[key], turn["content"]))
        elif turn["role"] != "assistant":
            texts.append((turn["role"], _join(turn["content"])))
    return Sent(texts, [tool["function"]["name"] for tool in body.get("tools", ())], results)


def _read_blocks(body: Document) -> Sent:
    system = body.get("system")
    texts = [("system", _join(system))] if system else []
    results = []
    names: dict[str, str] = {}
    for turn in body["messages"]:
        blocks = turn["content"] if isinstance(turn["content"], list) else [{"type": "text", "text": turn["content"]}]
        names |= {block["id"]: block["name"] for block in blocks if block["type"] == "tool_use"}
        results += [
            (names[block["tool_use_id"]], _join(block["content"])) for block in blocks if block["type"] == "tool_result"
        ]
        if turn["role"] != "assistant" and (text := _join([block for block in blocks if block["type"] == "text"])):
            texts.append((turn["role"], text))
    return Sent(texts, [tool["name"] for tool in body.get("tools", ())], results)  # fmt: skip


def _read_items(body: Document) -> Sent:
    texts = [("system", body["instructions"])] if body.get("instructions") else []
    results = []
    names: dict[str, str] = {}
    for item in body["input"]:
        if item.get("type") == "function_call":
            names[item["call_id"]] = item["name"]
        elif item.get("type") == "function_call_output":
            results.append((names[item["call_id"]], _join(item["output"])))
        elif item.get("role", "assistant") != "assistant":
            texts.append((item["role"], _join(item["content"])))
    return Sent(texts, [tool["name"] for tool in body.get("tools", ())], results)


def _join(content: str | list[Document]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


READERS: Mapping[str, Callable[[Document], Sent]] = {
    "chat_completions": _read_messages,
    "messages": _read_blocks,
    "responses": _read_items,
    "ollama": _read_messages,
}
