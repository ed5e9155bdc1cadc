"""The four forms of clients: how a client of each asks, and what it reads in an answer.

Every answer and every stream is checked on the way: objects by the schema of the form's own client, streams by a state
machine of the form's public description.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from lakehouse.chat.api.anthropic.format import AnthropicFormat
from lakehouse.chat.api.ollama.format import CHAT
from lakehouse.chat.api.open_responses.format import ResponsesFormat
from lakehouse.chat.api.openai.format import OpenAIFormat
from lakehouse.chat.api.protocols import ApiFormat
from tools.kit import completion_stream, message_stream, ollama_lines, responses_stream

Document = dict[str, Any]

PNG = "iVBORw0KGgo="
TOOLS = ("f", "g")
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}

FAILED = "failed"
"""The reason of an answer that failed; its text is the message."""


class Said(NamedTuple):
    """An answer as its client reads it. `turn` is what the client sends back of it."""

    text: str
    reason: str
    reasoning: str = ""
    calls: Sequence[tuple[str, Document]] = ()
    counts: tuple[int, int] | None = None
    turn: Sequence[Document] = ()


class ClientForm(ABC):
    """A form; `path` is where its requests go."""

    name: ClassVar[str]
    path: ClassVar[str]
    format: ClassVar[ApiFormat]
    reasons: ClassVar[Mapping[str, str]]
    """What the form calls the reasons to stop: `stop`, `length`, `tool_calls`."""

    @abstractmethod
    def ask(self, model: str, *turns: Document, stream: bool, tools: bool = False, schema: bool = False) -> Document:
        """A request; the last of `turns` is the user's."""

    @abstractmethod
    def say(self, text: str, *, role: str = "user", image: bool = False) -> Document:
        """A turn of the user, or of the system or the developer, where the form has them."""

    @abstractmethod
    def answer_calls(self, said: Said) -> Sequence[Document]:
        """The turns with the results of calls: each result is the name of its tool."""

    @abstractmethod
    def read_whole(self, document: Document) -> Said:
        """Read a whole answer."""

    @abstractmethod
    def read_stream(self, text: str) -> Said:
        """Read a whole stream."""

    @abstractmethod
    def read_error(self, document: Document) -> str:
        """Return the words of an error that came in place of an answer."""


def make_function_tool(name: str) -> Document:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def read_calls(message: Document) -> list[tuple[str, Document]]:
    functions = [call["function"] for call in message.get("tool_calls") or ()]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


class ChatCompletions(ClientForm):
    """OpenAI's chat completions."""

    name = "chat_completions"
    path = "/v1/chat/completions"
    format = OpenAIFormat()
    reasons: ClassVar[Mapping[str, str]] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}

    def ask(self, model: str, *turns: Document, stream: bool, tools: bool = False, schema: bool = False) -> Document:
        request: Document = {"model": model, "messages": list(turns), "stream": stream}
        if stream:
            request["stream_options"] = {"include_usage": True}
        if tools:
            request["tools"] = list(map(make_function_tool, TOOLS))
        if schema:
            request["response_format"] = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
        return request

    def say(self, text: str, *, role: str = "user", image: bool = False) -> Document:
        url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
        return {"role": role, "content": [{"type": "text", "text": text}, url] if image else text}

    def answer_calls(self, said: Said) -> Sequence[Document]:
        calls = said.turn[0]["tool_calls"]
        return [{"role": "tool", "tool_call_id": call["id"], "content": call["function"]["name"]} for call in calls]

    def read_whole(self, document: Document) -> Said:
        choice = completion_stream.check_completion(document)
        return self._read(choice["message"], choice["finish_reason"], document["usage"])

    def read_stream(self, text: str) -> Said:
        stream = completion_stream.read_stream(text)
        if stream.error is not None:
            return Said(stream.error["message"], FAILED)
        assert stream.finish_reason is not None
        return self._read(stream.message, stream.finish_reason, stream.usage)

    def read_error(self, document: Document) -> str:
        assert {"message", "type", "param", "code"} <= set(document["error"])
        return str(document["error"]["message"])

    def _read(self, message: Document, reason: str, usage: Document | None) -> Said:
        reasoning = message.get("reasoning_content") or ""
        counts = None if usage is None else (usage["prompt_tokens"], usage["completion_tokens"])
        return Said(message["content"] or "", reason, reasoning, read_calls(message), counts, [message])


class Messages(ClientForm):
    """Anthropic's messages."""

    name = "messages"
    path = "/v1/messages"
    format = AnthropicFormat()
    reasons: ClassVar[Mapping[str, str]] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}

    def ask(self, model: str, *turns: Document, stream: bool, tools: bool = False, schema: bool = False) -> Document:
        request: Document = {"model": model, "max_tokens": 4000, "messages": list(turns), "stream": stream}
        if tools:
            request["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in TOOLS]
        if schema:
            request["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        return request

    def say(self, text: str, *, role: str = "user", image: bool = False) -> Document:
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        blocks = [{"type": "text", "text": text}, {"type": "image", "source": source}]
        return {"role": "system" if role == "developer" else role, "content": blocks if image else text}

    def answer_calls(self, said: Said) -> Sequence[Document]:
        calls = [block for block in said.turn[0]["content"] if block["type"] == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call["id"], "content": call["name"]} for call in calls]
        return [{"role": "user", "content": results}]

    def read_whole(self, document: Document) -> Said:
        message_stream.check_message(document)
        blocks = document["content"]
        usage = document["usage"]
        return Said(
            "".join(block["text"] for block in blocks if block["type"] == "text"),
            document["stop_reason"],
            "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
            [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
            (usage["input_tokens"], usage["output_tokens"]),
            [{"role": "assistant", "content": blocks}],
        )

    def read_stream(self, text: str) -> Said:
        message = message_stream.read_stream(text)
        return Said(message["error"]["message"], FAILED) if message["type"] == "error" else self.read_whole(message)

    def read_error(self, document: Document) -> str:
        assert (document["type"], type(document["error"]["type"])) == ("error", str)
        return str(document["error"]["message"])


class Responses(ClientForm):
    """OpenAI's responses."""

    name = "responses"
    path = "/v1/responses"
    format = ResponsesFormat()
    reasons: ClassVar[Mapping[str, str]] = {"stop": "completed", "length": "incomplete", "tool_calls": "completed"}

    def ask(self, model: str, *turns: Document, stream: bool, tools: bool = False, schema: bool = False) -> Document:
        request: Document = {"model": model, "input": list(turns), "stream": stream, "store": False}
        if tools:
            request["tools"] = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in TOOLS]
        if schema:
            request["text"] = {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}
        return request

    def say(self, text: str, *, role: str = "user", image: bool = False) -> Document:
        parts: list[Document] = [{"type": "input_text", "text": text}]
        if image:
            parts.append({"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"})
        return {"type": "message", "role": role, "content": parts}

    def answer_calls(self, said: Said) -> Sequence[Document]:
        calls = [item for item in said.turn if item["type"] == "function_call"]
        return [{"type": "function_call_output", "call_id": call["call_id"], "output": call["name"]} for call in calls]

    def read_whole(self, document: Document) -> Said:
        responses_stream.check_response(document)
        items = document["output"]
        if document["error"] is not None:
            return Said(document["error"]["message"], FAILED)
        usage = document["usage"]
        return Said(
            "".join(part["text"] for item in items if item["type"] == "message" for part in item["content"]),
            document["status"],
            "".join(part["text"] for item in items if item["type"] == "reasoning" for part in item["summary"]),
            [(item["name"], json.loads(item["arguments"])) for item in items if item["type"] == "function_call"],
            None if usage is None else (usage["input_tokens"], usage["output_tokens"]),
            items,
        )

    def read_stream(self, text: str) -> Said:
        return self.read_whole(responses_stream.check_stream(text))

    def read_error(self, document: Document) -> str:
        assert {"message", "type", "param", "code"} <= set(document["error"])
        return str(document["error"]["message"])


class Ollama(ClientForm):
    """Ollama's chat."""

    name = "ollama"
    path = "/api/chat"
    format = CHAT
    reasons: ClassVar[Mapping[str, str]] = {"stop": "stop", "length": "length", "tool_calls": "stop"}

    def ask(self, model: str, *turns: Document, stream: bool, tools: bool = False, schema: bool = False) -> Document:
        request: Document = {"model": model, "messages": list(turns), "stream": stream}
        if tools:
            request["tools"] = list(map(make_function_tool, TOOLS))
        if schema:
            request["format"] = SCHEMA
        return request

    def say(self, text: str, *, role: str = "user", image: bool = False) -> Document:
        turn: Document = {"role": "system" if role == "developer" else role, "content": text}
        return {**turn, "images": [PNG]} if image else turn

    def answer_calls(self, said: Said) -> Sequence[Document]:
        names = [call["function"]["name"] for call in said.turn[0]["tool_calls"]]
        return [{"role": "tool", "tool_name": name, "content": name} for name in names]

    def read_whole(self, document: Document) -> Said:
        return self._read(ollama_lines.check_answer(document), document)

    def read_stream(self, text: str) -> Said:
        answer = ollama_lines.read_lines(text)
        return Said(answer["error"], FAILED) if "error" in answer else self._read(answer["message"], answer)

    def read_error(self, document: Document) -> str:
        assert list(document) == ["error"]
        return str(document["error"])

    def _read(self, message: Document, answer: Document) -> Said:
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", ())]
        counts = (answer["prompt_eval_count"], answer["eval_count"])
        return Said(message["content"], answer["done_reason"], message.get("thinking", ""), calls, counts, [message])


FORMS: Sequence[ClientForm] = (ChatCompletions(), Messages(), Responses(), Ollama())
