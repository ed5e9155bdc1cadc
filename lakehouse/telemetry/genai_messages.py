"""What was asked and answered, as the semantic conventions want it on a span: JSON of messages made of parts.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/; only for `[observe] trace_content`. Knows the shapes
of a conversation by their names alone, so it takes the chat group's own structs and plain mappings alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

MODALITIES = {"image_url": "image", "video_url": "video", "input_audio": "audio"}
"""What the parts are called that are no text."""


def input_messages(messages: object) -> str | None:
    """A list of messages as `gen_ai.input.messages`; None when there is none."""
    built = msgspec.to_builtins(messages)
    said = [{"role": message.get("role", ""), "parts": list(_parts(message))} for message in _objects(built)]
    if not said:
        return None
    return msgspec.json.encode(said).decode()


def output_messages(answer: object) -> str | None:
    """An answer (`content`, `reasoning`, `tool_calls`, `finish_reason`) as `gen_ai.output.messages`."""
    built = msgspec.to_builtins(answer)
    if not isinstance(built, dict):
        return None
    said = {"role": "assistant", "parts": list(_parts(built)), "finish_reason": built.get("finish_reason") or ""}
    return msgspec.json.encode([said]).decode()


def _parts(message: Mapping[str, object]) -> Iterator[dict[str, object]]:
    if reasoning := message.get("reasoning"):
        yield {"type": "reasoning", "content": reasoning}
    content = message.get("content")
    if message.get("role") == "tool":
        yield {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}
    elif isinstance(content, str):
        if content:
            yield {"type": "text", "content": content}
    else:
        yield from map(_part, _objects(content))
    for call in _objects(message.get("tool_calls")):
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        yield {
            "type": "tool_call",
            "id": call.get("id"),
            "name": function.get("name"),
            "arguments": function.get("arguments"),
        }


def _part(part: Mapping[str, object]) -> dict[str, object]:
    if part.get("type") == "text":
        return {"type": "text", "content": part.get("text")}
    kind = str(part.get("type"))
    inner = part.get(kind)
    known = inner if isinstance(inner, dict) else {}
    url = known.get("url") or known.get("file_data") or known.get("file_id")
    # An image in line is megabytes: that there was one is what a trace needs.
    shown = url if isinstance(url, str) and not url.startswith("data:") else "data:"
    return {"type": "uri", "modality": MODALITIES.get(kind, kind), "uri": shown}


def _objects(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list | tuple) else []
