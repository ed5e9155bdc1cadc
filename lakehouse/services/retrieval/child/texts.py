"""The embedded model in the child: loaded with the first text, and the vectors of recent queries kept."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib import import_module
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from lakehouse.core.errors import ErrNotInstalled
from lakehouse.services.contracts.embedding_model import EmbeddingModel
from lakehouse.services.contracts.retrieval import IndexOptions

logger = logging.getLogger("lakehouse.retrieval")

Tokens = NDArray[np.uint16]

STEP = 128
"""Texts between two looks at the cancellation: about 10 ms."""
KEPT_QUERIES = 4096


class TextModel:
    """The embedded model, used by all threads. `name` is empty if no model is configured."""

    def __init__(self, target: str, name: str) -> None:
        self.name = name
        self._target = target
        self._lock = Lock()
        self._model: EmbeddingModel | None = None
        self._failure = ""
        self._queries: OrderedDict[str, tuple[NDArray[np.float32], Tokens]] = OrderedDict()

    def embeds(self, options: IndexOptions) -> bool:
        """Whether this is the model of an index, whose texts the engine then embeds itself."""
        return bool(self.name) and options.model == self.name

    def load(self) -> EmbeddingModel:
        """The model. Raises ErrNotInstalled with the reason."""
        with self._lock:
            if self._model is None and not self._failure:
                self._load()
            if self._model is None:
                raise ErrNotInstalled(f"the embedded model is not available: {self._failure}")
            return self._model

    def _load(self) -> None:
        if not self._target:
            self._failure = "none is configured"
            return
        module, _, function = self._target.partition(":")
        try:
            self._model = getattr(import_module(module), function)()
        except Exception as error:  # noqa: BLE001 - a package that is missing or damaged: the message says which
            self._failure = str(error)
            logger.warning("the embedded model is not available: %s", error)

    def tokenize(self, texts: Sequence[str], check: Callable[[], None]) -> list[Tokens]:
        """The tokens of texts."""
        model, found = self.load(), []
        for start in range(0, len(texts), STEP):
            check()
            found += model.tokenize(texts[start : start + STEP])
        return found

    def embed(self, tokens: Sequence[Tokens], check: Callable[[], None]) -> NDArray[np.float32]:
        """The vectors of texts by their tokens, of which the first `max_tokens` count."""
        model = self.load()
        vectors = np.zeros((len(tokens), model.dimension), np.float32)
        for start in range(0, len(tokens), STEP):
            check()
            part = [one[: model.max_tokens] for one in tokens[start : start + STEP]]
            vectors[start : start + len(part)] = model.embed(part)
        return vectors

    def embed_queries(self, texts: Sequence[str]) -> dict[str, tuple[NDArray[np.float32], Tokens]]:
        """The vector and the tokens of each query text. Called by the main thread only."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._queries]
        if missing:
            tokens = self.tokenize(missing, _never)
            for text, vector, own in zip(missing, self.embed(tokens, _never), tokens, strict=True):
                self._queries[text] = vector, own
        found = {}
        for text in texts:
            self._queries.move_to_end(text)
            found[text] = self._queries[text]
        while len(self._queries) > KEPT_QUERIES:
            self._queries.popitem(last=False)
        return found


def _never() -> None:
    """Queries are short: a batch of them is not interrupted."""
