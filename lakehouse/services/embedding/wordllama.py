"""The default embedding model: the packaged weights of `wordllama`, one vector a token, and their mean as a text's.

The weights and the tokenizer are two files of the package, which is neither imported nor asked to load them: its own
loader needs the network. It is a model of words: it knows nothing of their order, and takes 20 microseconds a query.

This module needs numpy, so it is imported in the child process of retrieval only (`retrieval.child`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lakehouse.services.embedding.names import WORDLLAMA, WORDLLAMA_DIMENSION, WORDLLAMA_MAX_TOKENS
from lakehouse.services.embedding.tokenizer import LONGEST_TOKEN, LlamaTokenizer
from lakehouse.services.embedding.weights import ModelUnavailable, find_package, read_checked, read_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tokens = NDArray[np.uint16]

PACKAGE = "wordllama"
WEIGHTS = "weights/l2_supercat_256.safetensors"
WEIGHTS_SHA256 = "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
TOKENIZER_SHA256 = "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68"


class EmbeddingModel:
    """The loaded model. `token_vectors` has one row a token, as it is in the file, not of unit length."""

    name = WORDLLAMA
    dimension = WORDLLAMA_DIMENSION
    max_tokens = WORDLLAMA_MAX_TOKENS

    def __init__(self, tokenizer: LlamaTokenizer, token_vectors: NDArray[np.float32]) -> None:
        self._tokenizer = tokenizer
        self.token_vectors = token_vectors

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text. More than `max_tokens` are more than the model takes: cut them, or refuse the text.

        Of a text that is certainly too long only the beginning is encoded, which suffices to see that.
        """
        end = self.max_tokens * LONGEST_TOKEN + 1
        return self._tokenizer.encode([text if len(text) <= end else text[:end] for text in texts])

    def embed(self, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
        """The vectors of texts, given by their tokens: the mean of the tokens' vectors, of unit length.

        The vector of a text without tokens is zero.
        """
        vectors = np.zeros((len(tokens), self.dimension), np.float32)
        for text, row in zip(tokens, vectors, strict=True):
            if len(text):
                self.token_vectors[text].sum(axis=0, out=row)  # its length is normalised below
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        vectors /= np.where(lengths > 0, lengths, 1.0)[:, np.newaxis]
        return vectors


def load_default_model() -> EmbeddingModel:
    """Load the packaged weights, in about a tenth of a second. Raises ModelUnavailable."""
    directory = find_package(PACKAGE)
    if directory is None:
        raise ModelUnavailable(f"the package {PACKAGE} is not installed: it is part of the extra `lake`")
    tokenizer = LlamaTokenizer(read_checked(directory / TOKENIZER, TOKENIZER_SHA256))
    weights = read_tensors(read_checked(directory / WEIGHTS, WEIGHTS_SHA256))["embedding.weight"]
    return EmbeddingModel(tokenizer, weights.astype(np.float32))
