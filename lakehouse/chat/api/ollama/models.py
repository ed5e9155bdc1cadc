"""The models in Ollama's form: `/api/tags`, `/api/show`, `/api/ps`.

`/api/tags` lists what `/v1/models` lists. A description comes from the model's own Ollama if it has one. For any other
model it is what this service assumes: tools, images unless the provider takes none, and the context length of
`[ollama] context_length`, unless the configuration says otherwise (`[providers.<name>.models]`); clients hide a model
without `tools`, and halve their prompts without a length.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol

from lakehouse.chat.api.ollama.names import remove_tag
from lakehouse.chat.dialects.lenient_json import as_object
from lakehouse.chat.model.listing import LoadedModel, ModelCard, ModelDescription
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.providers.model_router import add_tag
from lakehouse.core.rfc3339 import format_time

NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time, which Ollama's own clients show as unknown."""

API_VERSION = "0.14.0"
"""The release of Ollama whose form this is. Clients compare it: VS Code wants 0.6.4."""


class ModelDirectory(Protocol):
    """Knows the models of all providers."""

    async def models(self) -> Sequence[ModelCard]: ...

    async def describe(self, name: str) -> ModelDescription: ...

    async def list_loaded(self) -> Sequence[LoadedModel]: ...


def make_tags(cards: Sequence[ModelCard]) -> JsonObject:
    """The answer of `/api/tags`."""
    return {"models": [_make_entry(card) for card in cards]}


def _make_entry(card: ModelCard) -> JsonObject:
    """One line of the list. There are no files, so the size is 0 and the digest is made from the name."""
    name = add_tag(card.id)
    return {
        "name": name,
        "model": name,
        "modified_at": _format_created(card.created),
        "size": 0,
        "digest": sha256(card.id.encode()).hexdigest(),
        "details": _make_details(card.owned_by),
    }


def _format_created(seconds: int) -> str:
    try:
        return format_time(datetime.fromtimestamp(seconds, UTC)) if seconds else NEVER
    except (OverflowError, ValueError, OSError):  # a provider may write any number
        return NEVER


def _make_details(family: str) -> JsonObject:
    return {
        "parent_model": "",
        "format": "",
        "family": family,
        "families": [family],
        "parameter_size": "",
        "quantization_level": "",
    }


def make_show(name: str, described: ModelDescription, *, context_length: int) -> JsonObject:
    """The answer of `/api/show` for a model that is called `name`."""
    known, facts = described.document or {}, described.facts
    info = known.get("model_info") or _make_info(described.provider, facts.context or context_length)
    assumed: JsonObject = {
        "license": "",
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _make_details(described.provider),
        "capabilities": _list_capabilities(described),
        "modified_at": NEVER,
    }
    return {**assumed, **known, "model_info": {"general.basename": remove_tag(name), **as_object(info)}}


def _list_capabilities(described: ModelDescription) -> list[str]:
    """The words that Ollama has for what a model can do; what the configuration does not deny is assumed."""
    facts = described.facts
    said = {
        "completion": True,
        "tools": facts.tools is not False,
        "vision": described.images,
        "thinking": bool(facts.reasoning),
        "embedding": bool(facts.embeddings),
    }
    return [word for word, can in said.items() if can]


def _make_info(provider: str, context_length: int) -> JsonObject:
    return {"general.architecture": provider, f"{provider}.context_length": context_length}


def make_ps(loaded: Sequence[LoadedModel]) -> JsonObject:
    """The answer of `/api/ps`: each model as its Ollama describes it, under the name that it has here."""
    names = [add_tag(model.id) for model in loaded]
    pairs = zip(names, loaded, strict=True)
    return {"models": [{**model.document, "name": name, "model": name} for name, model in pairs]}
