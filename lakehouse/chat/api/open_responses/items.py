"""Items of a response's output, and the parts of their content, as JSON objects."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.chat.api.open_responses.tools import ToolNames
from lakehouse.chat.api.reasoning_envelope import encode_details
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_objects, as_string, decode_json
from lakehouse.chat.model.tool_calls import AnyToolCall, CustomToolCall

ID_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "image_generation_call": "ig",
}


def build_message(id: str, content: Sequence[JsonObject], status: str) -> JsonObject:  # noqa: A002
    """A message of the assistant."""
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": list(content)}


def build_text_part(
    text: str = "", annotations: Sequence[JsonObject] = (), logprobs: Sequence[JsonObject] = ()
) -> JsonObject:
    """A text of a message."""
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": list(logprobs)}


def build_refusal_part(text: str = "") -> JsonObject:
    """A refusal in a message."""
    return {"type": "refusal", "refusal": text}


def build_reasoning(id: str, text: str, details: Sequence[JsonObject], status: str) -> JsonObject:  # noqa: A002
    """Reasoning. `encrypted_content` is there if the provider signed or encrypted it: the provider gets `details` back
    when the client sends the item back."""
    summary = [{"type": "summary_text", "text": text}] if text else []
    item: JsonObject = {"id": id, "type": "reasoning", "status": status, "summary": summary}
    return {**item, "encrypted_content": encode_details(details)} if details else item


def build_call(id: str, call: AnyToolCall, names: ToolNames, status: str) -> JsonObject:  # noqa: A002
    """The call of a function or of a custom tool, under the name and namespace that the client knows."""
    sent = call.function.name
    name, namespace = names.split(sent)
    item: JsonObject = {"id": id, "call_id": call.id, "name": name, "status": status}
    if namespace is not None:
        item["namespace"] = namespace
    if get_call_type(call, names) == "custom_tool_call":
        return {**item, "type": "custom_tool_call", "input": _get_custom_input(call)}
    return {**item, "type": "function_call", "arguments": call.function.arguments}


def get_call_type(call: AnyToolCall, names: ToolNames) -> str:
    """Return the type of the item of a call."""
    custom = isinstance(call, CustomToolCall) or names.is_custom(call.function.name)
    return "custom_tool_call" if custom else "function_call"


def _get_custom_input(call: AnyToolCall) -> str:
    """Return the input of a custom tool, which is the only argument where the provider was sent a function."""
    arguments = call.function.arguments
    if isinstance(call, CustomToolCall):
        return arguments
    try:
        given = as_object(decode_json(arguments.encode("utf-8", "replace"))).get("input")
    except ValueError:
        return arguments
    return given if isinstance(given, str) else arguments


def build_image(id: str, image: JsonObject) -> JsonObject | None:  # noqa: A002
    """A generated image; None for one that is no `data:` URL, which the item cannot hold."""
    url = as_string(as_object(image.get("image_url")).get("url"))
    head, _, data = url.partition(";base64,")
    if not data or not head.startswith("data:image/"):
        return None
    kind = head.removeprefix("data:image/")
    return {"id": id, "type": "image_generation_call", "status": "completed", "result": data, "output_format": kind}


def get_image_url(image: JsonObject) -> str:
    """Return the URL of an image in a piece."""
    return as_string(as_object(image.get("image_url")).get("url"))


def flatten_annotation(annotation: JsonObject, offset: int) -> JsonObject:
    """Return an annotation with its fields beside its type, and its indexes counted from `offset` in the whole text."""
    kind = as_string(annotation.get("type"))
    inner = annotation.get(kind)
    if not isinstance(inner, dict):
        return annotation
    fields = dict(inner)
    for name in ("start_index", "end_index"):
        if isinstance(fields.get(name), int):
            fields[name] = max(0, fields[name] - offset)
    return {"type": kind, **fields}


def read_logprobs(logprobs: object) -> list[JsonObject]:
    """Return the tokens of a text with their probabilities, with the lists of bytes that OpenAI's clients expect."""
    return [_complete_token(token) for token in as_objects(as_object(logprobs).get("content"))]


def _complete_token(token: JsonObject) -> JsonObject:
    others = [_complete_bytes(other) for other in as_objects(token.get("top_logprobs"))]
    return {**_complete_bytes(token), "top_logprobs": others}


def _complete_bytes(token: JsonObject) -> JsonObject:
    if isinstance(token.get("bytes"), list):
        return token
    return {**token, "bytes": list(as_string(token.get("token")).encode())}
