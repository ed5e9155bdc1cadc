"""The models that an endpoint lists, and what it says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_objects, as_string
from lakehouse.cli.discovery.endpoint_client import EndpointClient

MAX_DESCRIBED = 20
"""Models of an Ollama that are asked for their descriptions."""

CONTEXT_FIELDS = ("context_length", "max_model_len", "max_context_length", "context_window", "max_input_tokens")
"""Of OpenRouter and Together, vLLM, Mistral and LM Studio, Groq, Anthropic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFacts:
    """A model, its context length in tokens (0 if not said), and the abilities that were said."""

    name: str
    context: int = 0
    abilities: Mapping[str, bool] | None = None


def read_models(document: JsonObject) -> tuple[ListedFacts, ...]:
    """The models of a list in OpenAI's or Anthropic's form; what cannot be understood is passed over."""
    return tuple(
        ListedFacts(name=name, context=_read_context(model), abilities=_read_abilities(model))
        for model in as_objects(document.get("data"))
        if (name := as_string(model.get("id")))
    )


def _read_context(model: JsonObject) -> int:
    places = (model, as_object(model.get("meta")))
    values = [place.get(field) for field in (*CONTEXT_FIELDS, "n_ctx", "n_ctx_train") for place in places]
    return next((value for value in values if _is_length(value)), 0)


def _is_length(value: object) -> TypeGuard[int]:
    return type(value) is int and value > 0


def _read_abilities(model: JsonObject) -> dict[str, bool] | None:
    """Mistral's `capabilities`, an object of booleans, and OpenRouter's lists."""
    said = as_object(model.get("capabilities"))
    found = {
        ability: value
        for ability, field in (("tools", "function_calling"), ("images", "vision"))
        if isinstance(value := said.get(field), bool)
    }
    inputs = as_object(model.get("architecture")).get("input_modalities")
    if isinstance(inputs, list):
        found["images"] = "image" in inputs
    parameters = model.get("supported_parameters")
    if isinstance(parameters, list):
        found["tools"], found["reasoning"] = "tools" in parameters, "reasoning" in parameters
    return found or None


async def describe_with_ollama(client: EndpointClient, root: str) -> tuple[ListedFacts, ...]:
    """The models of an Ollama, the first `MAX_DESCRIBED` of them with what it says about them."""
    tags = (await client.get(f"{root}/api/tags", client.bearer())).document
    names = [name for model in as_objects(tags.get("models")) if (name := as_string(model.get("name")))]
    described: list[ListedFacts] = []
    for name in names[:MAX_DESCRIBED]:
        shown = (await client.post(f"{root}/api/show", client.bearer(), {"model": name})).document
        described.append(ListedFacts(name=name, context=_find_length(shown), abilities=_read_ollama(shown)))
    return (*described, *(ListedFacts(name=name) for name in names[MAX_DESCRIBED:]))


def _find_length(shown: JsonObject) -> int:
    info = as_object(shown.get("model_info"))
    lengths = (value for key, value in info.items() if key.endswith(".context_length"))
    return next(filter(_is_length, lengths), 0)


def _read_ollama(shown: JsonObject) -> dict[str, bool] | None:
    said = shown.get("capabilities")
    if not isinstance(said, list):
        return None
    names = (("tools", "tools"), ("images", "vision"), ("reasoning", "thinking"))
    abilities = {ability: name in said for ability, name in names}
    return {**abilities, "embeddings": True} if "embedding" in said else abilities
