"""A model that calls the tool that it is offered, and says what the tool has said: in each wire protocol.

It refuses a question that says so with a 400, and says hello to requests without a tool.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import trio

from lakehouse.testing.upstreams import ReceivedRequest, respond
from tools.kit.failing_providers import FAILURES
from tools.kit.service_with_providers import answer_hello, events, lines, streamed_response
from tools.kit.wires import find_wire

QUESTION = "How is the weather in Ghent?"
REFUSED = "Refuse this question."
WEATHER = "12 C and rain"
EDITED = "weather.txt"
EDIT = f"Write the weather in Ghent to {EDITED}."
COMMAND = f"echo {WEATHER}"

ARGUMENTS: dict[str, dict[str, str | bool]] = {
    "get_weather": {"city": "Ghent"},
    "exec_command": {"cmd": COMMAND},
    "Bash": {"command": COMMAND, "description": "Look at the weather"},
    "bash": {"command": COMMAND, "description": "Look at the weather"},
    "shell": {"command": COMMAND},
    "run_shell_command": {"command": COMMAND, "description": "Look at the weather", "is_background": False},
}
"""Arguments for the tool that clients offer: the one of the SDKs' programs, and those for commands of agents."""

Json = dict[str, Any]


class ModelReply(msgspec.Struct, frozen=True):
    """What the model answers: a text, or a call of a tool."""

    text: str = ""
    tool: str = ""

    @property
    def arguments(self) -> str:
        """The arguments of the call, in JSON."""
        return json.dumps(ARGUMENTS[self.tool])


async def converse(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Answer a request of any wire protocol."""
    if asked.method == "GET":
        await answer_hello(asked, stream)
        return
    wire = find_wire(asked)
    if REFUSED.encode() in asked.body:
        await stream.send_all(FAILURES["bad-request"].build(wire))
        return
    reply = _decide(asked.json)
    if asked.json.get("stream"):
        kind = "application/x-ndjson" if wire == "ollama" else "text/event-stream"
        await stream.send_all(streamed_response(_STREAMS[wire](reply), kind))
        await stream.aclose()
    else:
        await stream.send_all(respond(_ANSWERS[wire](reply)))


def _decide(asked: Json) -> ModelReply:
    if any(WEATHER in json.dumps(result) for result in _find_results(asked)):
        return ModelReply(text=f"The tool says {WEATHER}.")
    offered = [tool.get("function", tool).get("name") for tool in asked.get("tools") or ()]
    tool = next((name for name in ARGUMENTS if name in offered), "")
    if not tool and EDIT in json.dumps(asked):
        return ModelReply(text=f"The weather:\n\n{EDITED}\n```\n{WEATHER}\n```\n")
    return ModelReply(tool=tool) if tool else ModelReply(text="Hello.")


def _find_results(asked: Json) -> Iterable[Json]:
    for item in asked.get("messages") or asked.get("input") or ():
        if item.get("role") == "tool" or item.get("type") == "function_call_output":
            yield item
        elif isinstance(content := item.get("content"), list):
            yield from (part for part in content if part.get("type") == "tool_result")


def _make_function(reply: ModelReply, *, index: int | None = None) -> Json:
    function = {"name": reply.tool, "arguments": reply.arguments}
    return {**({} if index is None else {"index": index}), "id": "call_1", "type": "function", "function": function}


def _answer_completion(reply: ModelReply) -> Json:
    said: Json = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.tool:
        said["tool_calls"] = [_make_function(reply)]
    finish = "tool_calls" if reply.tool else "stop"
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish}
    return {"id": "c_1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": _USAGE}


_USAGE = {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26}
_RESPONSE_USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 6,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 26,
}


def _stream_completion(reply: ModelReply) -> bytes:
    delta: Json = {"tool_calls": [_make_function(reply, index=0)]} if reply.tool else {"content": reply.text}
    deltas: tuple[tuple[Json, str | None], ...] = (
        ({"role": "assistant", **delta}, None),
        ({}, "tool_calls" if reply.tool else "stop"),
    )
    base = {"id": "c_1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunks: list[Json] = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} for delta, finish in deltas
    ]
    return events(*chunks, {**base, "choices": [], "usage": _USAGE})


def _make_block(reply: ModelReply) -> Json:
    if reply.tool:
        return {"type": "tool_use", "id": "call_1", "name": reply.tool, "input": ARGUMENTS[reply.tool]}
    return {"type": "text", "text": reply.text}


def _answer_message(reply: ModelReply) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [_make_block(reply)],
        "stop_reason": "tool_use" if reply.tool else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 20, "output_tokens": 6},
    }


def _stream_message(reply: ModelReply) -> bytes:
    whole = _answer_message(reply)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": 20, "output_tokens": 1}}
    block: Json = {**_make_block(reply), **({"input": {}} if reply.tool else {"text": ""})}
    delta = (
        {"type": "input_json_delta", "partial_json": reply.arguments}
        if reply.tool
        else {"type": "text_delta", "text": reply.text}
    )
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    return events(
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 6}},
        {"type": "message_stop"},
        end=b"",
    )


def _make_item(reply: ModelReply, *, done: bool = True) -> Json:
    status = "completed" if done else "in_progress"
    if reply.tool:
        arguments = reply.arguments if done else ""
        named = {"call_id": "call_1", "name": reply.tool, "arguments": arguments}
        return {"id": "fc_1", "type": "function_call", "status": status, **named}
    content = [_make_part(reply.text)] if done else []
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}


def _make_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _answer_response(reply: ModelReply, *, done: bool = True) -> Json:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "completed" if done else "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "output": [_make_item(reply)] if done else [],
        "parallel_tool_calls": True,
        "temperature": 1,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1,
        "usage": _RESPONSE_USAGE if done else None,
    }


def _stream_response(reply: ModelReply) -> bytes:
    item = _make_item(reply)
    place = {"item_id": item["id"], "output_index": 0}
    if reply.tool:
        kind = "response.function_call_arguments"
        content: list[Json] = [
            {"type": f"{kind}.delta", **place, "delta": reply.arguments},
            {"type": f"{kind}.done", **place, "name": reply.tool, "arguments": reply.arguments},
        ]
    else:
        part, place = "response.content_part", {**place, "content_index": 0}
        content = [
            {"type": f"{part}.added", **place, "part": _make_part("")},
            {"type": "response.output_text.delta", **place, "delta": reply.text, "logprobs": []},
            {"type": "response.output_text.done", **place, "text": reply.text, "logprobs": []},
            {"type": f"{part}.done", **place, "part": _make_part(reply.text)},
        ]
    begun = _answer_response(reply, done=False)
    documents: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": _make_item(reply, done=False)},
        *content,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": _answer_response(reply)},
    ]
    return events(*({**document, "sequence_number": n} for n, document in enumerate(documents)), end=b"")


def _answer_ollama(reply: ModelReply, *, done: bool = True) -> Json:
    said: Json = {"role": "assistant", "content": reply.text}
    if reply.tool:
        said["tool_calls"] = [{"function": {"name": reply.tool, "arguments": ARGUMENTS[reply.tool]}}]
    return {
        "model": "m",
        "created_at": "2026-10-01T10:00:00Z",
        "message": said,
        "done": done,
        **({"done_reason": "stop", "prompt_eval_count": 20, "eval_count": 6} if done else {}),
    }


def _stream_ollama(reply: ModelReply) -> bytes:
    return lines(_answer_ollama(reply, done=False), _answer_ollama(ModelReply()))


_ANSWERS = {
    "chat_completions": _answer_completion,
    "messages": _answer_message,
    "responses": _answer_response,
    "ollama": _answer_ollama,
}
_STREAMS = {
    "chat_completions": _stream_completion,
    "messages": _stream_message,
    "responses": _stream_response,
    "ollama": _stream_ollama,
}
