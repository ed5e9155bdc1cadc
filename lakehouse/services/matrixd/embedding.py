"""The vectors of a question: one for each embedding model among the indexes that are searched.

The engine embeds texts for indexes of the embedded model by itself, in the batch of the search; for all others the
vector comes from the embedder. An index without a model was filled with vectors of `[embedd] default_model`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.services.contracts.embedder import Embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionEmbedder:
    """The embedder with the names of its default model and of the model that the engine has itself."""

    embedder: Embedder
    default_model: str
    embedded_model: str

    def resolve(self, model: str) -> str:
        """The name of the model, the default one's for an empty name."""
        return model or self.default_model

    async def embed(self, text: str, model: str) -> bytes:
        """The vector of a question, as float32. Raises what the embedder raises."""
        return (await self.embedder.embed([text], model=model, kind="query")).vectors

    def model_for(self, index_model: str, wanted: str = "") -> str:
        """The model that embeds a question for an index: the wanted one, else that of the index; empty: the engine."""
        model = wanted or index_model or self.default_model
        return "" if model == index_model == self.embedded_model else model

    async def embed_for(self, text: str, model: str) -> bytes:
        """The vector of a question from the model that `model_for` gave; empty if the engine embeds the text."""
        return await self.embed(text, model) if model else b""
