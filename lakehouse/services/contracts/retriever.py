"""The contract of a retriever: passages from several corpora for one question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lakehouse.services.contracts.values import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalQuery:
    """A search of several corpora.

    With `partial`, a corpus that fails or is too slow is listed in `Retrieval.failed`; without it, the error is raised.
    """

    text: str
    corpora: Sequence[str]
    k: int
    filter: Mapping[str, JsonValue] = field(default_factory=dict)
    exclude_ids: Sequence[str] = ()
    partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One piece of text from a corpus."""

    corpus: str
    id: str
    text: str
    distance: float
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """The passages in ascending order of distance, and the failed corpora, each with the reason."""

    passages: Sequence[Passage]
    failed: Mapping[str, str] = field(default_factory=dict)


class Retriever(Protocol):
    """Finds passages for a question."""

    async def retrieve(self, query: RetrievalQuery) -> Retrieval:
        """Search all corpora concurrently.

        Unless `partial` is set, the first failure of a corpus is raised and the other searches are cancelled.
        """
