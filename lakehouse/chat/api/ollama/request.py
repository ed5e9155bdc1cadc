"""Parses the requests of Ollama's form.

What `Request` has no field for is kept in `OllamaRequest.ollama_fields`. An Ollama behind this service is sent it; for
any other provider, what only concerns the runner of a model is left out (`dialects.encoding.ollama_fields`).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from lakehouse.asgi.json_body import convert_json, decode_json, validation_errors
from lakehouse.chat.api.ollama.messages import convert_messages, make_content, name_images
from lakehouse.chat.api.ollama.names import remove_tag, require_name
from lakehouse.chat.api.ollama.types import ChatParams, GenerateParams, ModelParams, OptionParams
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.request import Message, OllamaRequest
from lakehouse.core.errors import ErrBadRequest

OPTIONS = frozenset(OptionParams.__struct_fields__)
FIELDS = frozenset((*ChatParams.__struct_fields__, *GenerateParams.__struct_fields__))
"""The fields of the two forms. Each ignores those of the other, as Ollama does."""
PENALTIES = ("presence_penalty", "frequency_penalty")

FIELD_NAMES = {
    **{name: f"options.{name}" for name in ("temperature", "top_p", "seed", "stop", *PENALTIES)},
    "max_tokens": "options.num_predict",
}
"""The client's paths of fields that have another path in `Request`, for errors."""

UNSUPPORTED = {
    "template": "a prompt is formatted by the provider: send messages to /api/chat",
    "raw": "a prompt is formatted by the provider: send messages to /api/chat",
    "suffix": "no provider of this service fills in text before a suffix",
    "context": "this service keeps no conversations: send all messages to /api/chat",
    "width": "this service generates no images",
    "height": "this service generates no images",
    "steps": "this service generates no images",
}
"""Fields of `/api/generate` that change what is generated and cannot be represented, with the reason. An empty value
means the same as no field."""


UNLOAD = ("0", "0s", "0m", "0h")
"""Values of `keep_alive`, as text, with which a request without a prompt asks for a model to be unloaded."""


class LoadRequest(NamedTuple):
    """A request without a prompt, which asks for a model to be loaded, or with `keep_alive` 0 to be unloaded."""

    model: str
    reason: str


class _Options(msgspec.Struct):
    options: OptionParams


def parse_chat(data: bytes) -> OllamaRequest | LoadRequest:
    """Parse the body of `/api/chat`. Raises `ErrBadRequest` with the field that does not fit."""
    raw = decode_json(data, dict)
    given = convert_json(raw, ChatParams)
    _refuse_unsupported(raw)
    if not given.messages:
        return _make_load(raw, given)
    return _build_request(raw, given, convert_messages(given.messages), given.tools)


def parse_generate(data: bytes) -> OllamaRequest | LoadRequest:
    """Parse the body of `/api/generate`. Raises `ErrBadRequest` with the field that does not fit."""
    raw = decode_json(data, dict)
    given = convert_json(raw, GenerateParams)
    _refuse_unsupported(raw)
    if not given.prompt and not given.images:
        return _make_load(raw, given)
    system = (Message(role="system", content=given.system),) if given.system else ()
    prompt = Message(role="user", content=make_content(given.prompt, given.images, "images"))
    return _build_request(raw, given, (*system, prompt), None)


def _refuse_unsupported(raw: JsonObject) -> None:
    for name, reason in UNSUPPORTED.items():
        if raw.get(name):
            raise ErrBadRequest(f"`{name}` is not supported: {reason}", field=name)


def _make_load(raw: JsonObject, given: ModelParams) -> LoadRequest:
    reason = "unload" if str(raw.get("keep_alive")) in UNLOAD else "load"
    return LoadRequest(require_name(given.model, given.name), reason)


def _build_request(
    raw: JsonObject, given: ModelParams, messages: tuple[Message, ...], tools: list[JsonObject] | None
) -> OllamaRequest:
    options = _convert_options(given.options or {})
    name = require_name(given.model, given.name)
    with validation_errors():
        return OllamaRequest(
            model=remove_tag(name),
            model_name=name,
            messages=messages,
            temperature=options.temperature,
            top_p=options.top_p,
            max_tokens=options.num_predict if (options.num_predict or 0) > 0 else None,  # Ollama's -1: no limit
            stop=tuple(options.stop) if isinstance(options.stop, list) else options.stop,
            seed=options.seed,
            format=given.format or None,
            think=given.think,
            tools=tuple(tools) if tools else None,
            stream=given.stream is not False,
            field_names={**FIELD_NAMES, **name_images(messages, within_messages=isinstance(given, ChatParams))},
            extra=_collect_extra(given, options),
            ollama_fields=_collect_fields(raw, given),
        )


def _convert_options(given: JsonObject) -> OptionParams:
    """The options with fields of their own. Raises `ErrBadRequest` naming one that does not fit."""
    return convert_json({"options": given}, _Options).options


def _collect_extra(given: ModelParams, options: OptionParams) -> JsonObject:
    """The fields for which every dialect has a rule, under OpenAI's names."""
    extra = {name: getattr(options, name) for name in PENALTIES}
    extra |= {"logprobs": given.logprobs or None, "top_logprobs": given.top_logprobs or None}
    return {name: value for name, value in extra.items() if value is not None}


def _collect_fields(raw: JsonObject, given: ModelParams) -> JsonObject:
    """The fields that only Ollama has, and unknown ones."""
    fields = {
        name: value
        for name, value in raw.items()
        if name not in FIELDS and name not in UNSUPPORTED and value is not None
    }
    options = {
        name: value for name, value in (given.options or {}).items() if name not in OPTIONS and value is not None
    }
    return {**fields, **({"options": options} if options else {})}
