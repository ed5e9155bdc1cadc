"""Messages and answers of a chat as attributes of a span, for `[observe] trace_content`.

The encoding follows the semantic conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/): JSON
of messages with parts. Fields are looked up by name, so structs of the chat and plain mappings are both accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

MODALITIES = {"image_url": "image", "video_url": "video", "input_audio": "audio"}
"""The modality of each part that is not text."""


def encode_input_messages(messages: object) -> str | None:
    """Encode a list of messages as `gen_ai.input.messages`; None for an empty list."""
    built = msgspec.to_builtins(messages)
    encoded = [
        {"role": message.get("role", ""), "parts": list(_encode_parts(message))} for message in _select_objects(built)
    ]
    if not encoded:
        return None
    return msgspec.json.encode(encoded).decode()


def encode_output_messages(answer: object) -> str | None:
    """Encode an answer (`content`, `reasoning`, `tool_calls`, `finish_reason`) as `gen_ai.output.messages`."""
    built = msgspec.to_builtins(answer)
    if not isinstance(built, dict):
        return None
    message = {
        "role": "assistant",
        "parts": list(_encode_parts(built)),
        "finish_reason": built.get("finish_reason") or "",
    }
    return msgspec.json.encode([message]).decode()


def _encode_parts(message: Mapping[str, object]) -> Iterator[dict[str, object]]:
    if reasoning := message.get("reasoning"):
        yield {"type": "reasoning", "content": reasoning}
    content = message.get("content")
    if message.get("role") == "tool":
        yield {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}
    elif isinstance(content, str):
        if content:
            yield {"type": "text", "content": content}
    else:
        yield from map(_encode_part, _select_objects(content))
    for call in _select_objects(message.get("tool_calls")):
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        yield {
            "type": "tool_call",
            "id": call.get("id"),
            "name": function.get("name"),
            "arguments": function.get("arguments"),
        }


def _encode_part(part: Mapping[str, object]) -> dict[str, object]:
    if part.get("type") == "text":
        return {"type": "text", "content": part.get("text")}
    kind = str(part.get("type"))
    inner = part.get(kind)
    known = inner if isinstance(inner, dict) else {}
    url = known.get("url") or known.get("file_data") or known.get("file_id")
    # An inline image can have megabytes; a trace records only its presence.
    shown = url if isinstance(url, str) and not url.startswith("data:") else "data:"
    return {"type": "uri", "modality": MODALITIES.get(kind, kind), "uri": shown}


def _select_objects(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list | tuple) else []
