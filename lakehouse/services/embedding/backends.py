"""What computes vectors: the interface of a model's backend, and what it returns for each text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from lakehouse.core.errors import ErrUnprocessable
from lakehouse.services.embedding.cache import Embedded


class TooLong(msgspec.Struct, frozen=True):
    """A text that the model does not take as a whole. `tokens` and `limit` are None if the backend does not know."""

    tokens: int | None = None
    limit: int | None = None

    def error(self, model: str, position: int) -> ErrUnprocessable:
        """The error for the client."""
        length = "" if self.tokens is None else f"has {self.tokens} tokens and "
        limit = "" if self.limit is None else f" of {self.limit} tokens"
        return ErrUnprocessable(
            f"`texts[{position}]` {length}is longer than the limit{limit} of the model {model}: shorten it, or send "
            '`"truncate": true`',
            field=f"texts[{position}]",
            details={"item": position, "tokens": self.tokens, "limit": self.limit},
        )


Outcome = Embedded | TooLong


class Backend(Protocol):
    """One model with one dimension. It is made for a batch and keeps nothing.

    A call has at most `max_batch` texts with at most `max_size` characters together (or one text), and at most
    `concurrency` calls are under way at a time.
    """

    @property
    def max_batch(self) -> int: ...
    @property
    def max_size(self) -> int: ...
    @property
    def concurrency(self) -> int: ...

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Sequence[Outcome]:
        """Compute the vectors, in the order of the texts. Raises a LakehouseError.

        A cancelled call has closed its connection to the provider.
        """
