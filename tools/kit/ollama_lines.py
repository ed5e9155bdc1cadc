"""A state machine of Ollama's streams of JSON lines, written from its public description of `/api/chat`.

The fields of each line are checked by the types of Ollama's client. It returns the document that a client puts together.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ollama import ChatResponse

Document = dict[str, Any]

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
COUNTS = ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")
REASONS = ("stop", "length", "content_filter")


def check_answer(answer: Document) -> Document:
    """Check a whole answer, or the last line of a stream, and return its message."""
    _check_line(answer)
    assert answer["done"] is True
    assert answer["done_reason"] in REASONS
    for name in COUNTS:
        assert name not in answer or (type(answer[name]) is int and answer[name] >= 0), name
    return dict(answer["message"])


def read_lines(text: str) -> Document:
    """Check a whole stream and return its answer; a stream that failed is returned as its last line, the error."""
    assert text.endswith("\n"), "a stream ends with a whole line"
    *rest, last = text.splitlines()  # as clients do it, at other characters as well
    content, thinking, calls = "", "", []
    for line in map(json.loads, rest):
        _check_line(line)
        assert line["done"] is False
        assert "done_reason" not in line
        content += line["message"]["content"]
        thinking += line["message"].get("thinking", "")
        calls += line["message"].get("tool_calls", [])
    end: Document = json.loads(last)
    if "error" in end:
        assert isinstance(end["error"], str)
        return end
    message = check_answer(end)
    whole = {"role": "assistant", "content": content + message["content"]}
    if thinking or message.get("thinking"):
        whole["thinking"] = thinking + message.get("thinking", "")
    if calls or message.get("tool_calls"):
        whole["tool_calls"] = calls + message.get("tool_calls", [])
    return {**end, "message": whole}


def _check_line(line: Document) -> None:
    ChatResponse.model_validate(line)
    assert isinstance(line["model"], str)
    assert TIME.fullmatch(line["created_at"]), line["created_at"]
    message = line["message"]
    assert message["role"] == "assistant"
    assert isinstance(message["content"], str)
    for call in message.get("tool_calls", ()):
        assert call["function"]["name"]
        assert isinstance(call["function"]["arguments"], dict)
