"""Which model a name selects.

| name | model |
|---|---|
| empty | `[embedd] default_model`; if that is empty too, the packaged one |
| `wordllama-256` | the packaged default model |
| `all-minilm-l6-v2`, the stem of the file of `[embedd] model` | llama.cpp in a child process |
| `provider/model` | a provider of the configuration |
| any other | Ollama at `[embedd] provider_url` |
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Literal, NamedTuple

from lakehouse.core.errors import ErrBadRequest, ErrProviderNotFound
from lakehouse.services.embedding.names import WORDLLAMA

RouteName = Callable[[str], tuple[str, str]]
"""The provider and the model of a name; without a provider's prefix it is Ollama's. Raises ErrBadRequest."""

Kind = Literal["packaged", "local", "ollama", "openai"]
OLLAMAS = frozenset({"ollama", "ollama_cloud"})
"""The providers with Ollama's native API by default."""

MAX_KNOWN = 256
"""Names whose models are remembered."""


class Selection(NamedTuple):
    """A model. `name` is what answers and indexes call it, and the same for all names that select it."""

    name: str
    kind: Kind
    provider: str
    model: str


class ModelNames:
    """The names of the models. `local` are those of GGUF files; `default` is the one of the empty name.

    `ollamas` are the providers with Ollama's native API.
    """

    def __init__(
        self,
        route: RouteName,
        *,
        default: str = "",
        local: Collection[str] = (),
        ollamas: Collection[str] = OLLAMAS,
    ) -> None:
        self._route = route
        self._ollamas = ollamas
        self._default = default or WORDLLAMA
        self._local = frozenset(local)
        self._known = lru_cache(MAX_KNOWN)(self._find)

    def select(self, name: str) -> Selection:
        """The model of a name. Raises ErrBadRequest for a prefix alone, ErrProviderNotFound for an unknown file."""
        return self._known(name)

    def _find(self, name: str) -> Selection:
        name = name or self._default
        if name == WORDLLAMA:
            return Selection(name, "packaged", "", name)
        own = name.removeprefix("local/")
        if own in self._local:
            return Selection(own, "local", "local", own)
        provider, model = self._route(name)
        if provider == "local":
            raise ErrProviderNotFound(
                f"the embedded models for embeddings are {', '.join(sorted((WORDLLAMA, *self._local)))}: {own} is none "
                "of them (the key `model` in [embedd] names a GGUF file)",
                provider=provider,
            )
        if not model:
            raise ErrBadRequest("`model` names a provider but no model", field="model")
        if provider not in self._ollamas:
            return Selection(f"{provider}/{model}", "openai", provider, model)
        plain = provider == "ollama" and model not in self._local and model != WORDLLAMA and "/" not in model
        return Selection(model if plain else f"{provider}/{model}", "ollama", provider, model)
