"""The contract of an embedding model that computes in the process of its caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbeddingModel(Protocol):
    """A model whose tokens have vectors of their own. Every method is a pure function; none uses the network."""

    @property
    def name(self) -> str:
        """The name under which clients select the model, and which an index records."""

    @property
    def dimension(self) -> int:
        """The number of components of a vector."""

    @property
    def max_tokens(self) -> int:
        """The largest number of tokens of a text that is embedded as a whole."""

    @property
    def token_vectors(self) -> NDArray[np.float32]:
        """The vectors of all tokens, one a row."""

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.uint16]]:
        """Split each text into the numbers of its tokens, whatever its length."""

    def embed(self, tokens: Sequence[NDArray[np.uint16]]) -> NDArray[np.float32]:
        """Compute one vector a row. A text without tokens has a vector of zeros."""
