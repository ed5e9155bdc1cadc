"""What the engine does for indexes that another store has: checks, embedding, words and tokens, scores.

Every function is one call, without data of this folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lakehouse.core.errors import ErrNotInstalled, LakehouseError
from lakehouse.core.extras import install_hint, missing_modules
from lakehouse.services.contracts.retrieval import Item
from lakehouse.services.contracts.vector_store import StoreItem
from lakehouse.services.retrieval.child import fusion
from lakehouse.services.retrieval.child.items import check_batch, complete_options
from lakehouse.services.retrieval.child.keyword import MAX_QUERY_CHARACTERS
from lakehouse.services.retrieval.child.pending import make_failure
from lakehouse.services.retrieval.child.queries import check_per_corpus, check_query, embeds_text, make_vector
from lakehouse.services.retrieval.child.texts import TextModel, Tokens
from lakehouse.services.retrieval.child.token_match import TokenMatcher, rarity_of
from lakehouse.services.retrieval.messages import (
    CompleteOptions,
    Failure,
    PreparedQuery,
    PrepareItems,
    PrepareQuery,
    PreparingCall,
    ScoreCandidates,
    ScoredCandidate,
)

CHECK_EVERY = 64
"""Texts between two looks at the cancellation."""


class Preparation:
    """The calls. `model` is the embedded model."""

    def __init__(self, model: TextModel) -> None:
        self._model = model
        self._matcher: TokenMatcher | None = None

    def answer(self, call: PreparingCall, check: Callable[[], None]) -> object:
        """The reply to a call. `check` raises if it is cancelled."""
        if isinstance(call, CompleteOptions):
            return complete_options(call.options, self._model)
        if isinstance(call, PrepareItems):
            return self.prepare_items(call, check)
        if isinstance(call, PrepareQuery):
            return self.prepare_query(call)
        return self.score(call)

    def prepare_items(self, call: PrepareItems, check: Callable[[], None]) -> list[StoreItem]:
        """Check a batch, and give each item its vector, its words and its tokens."""
        options = call.options
        embeds = self._model.embeds(options)
        batch = check_batch(options, call.items, model=call.model, embeds=embeds, check=check)
        vectors, tokens = self._embed(batch, check) if embeds else ([one.vector for one in batch], [b""] * len(batch))
        made = []
        for at, (item, vector, own) in enumerate(zip(batch, vectors, tokens, strict=True)):
            if at % CHECK_EVERY == 0:
                check()
            counted = count_words(item.text) if item.text else Counter[str]()
            made.append(
                StoreItem(
                    id=item.id,
                    vector=vector,
                    text=item.text,
                    metadata=item.metadata,
                    source=item.source,
                    digest=item.digest,
                    words=" ".join(counted),
                    counts=" ".join(map(str, counted.values())),
                    length=counted.total(),
                    tokens=own,
                )
            )
        return made

    def _embed(self, batch: Sequence[Item], check: Callable[[], None]) -> tuple[list[bytes], list[bytes]]:
        """The vectors of the items, those that they lack from their texts, and their distinct tokens."""
        tokens = self._model.tokenize([item.text or "" for item in batch], check)
        vectors = [item.vector for item in batch]
        lacking = [at for at, vector in enumerate(vectors) if not vector]
        for at, vector in zip(lacking, self._model.embed([tokens[at] for at in lacking], check), strict=True):
            vectors[at] = vector.tobytes() if vector.any() else b""
        return vectors, [np.unique(one).astype("<u2").tobytes() if len(one) else b"" for one in tokens]

    def prepare_query(self, call: PrepareQuery) -> PreparedQuery:
        """Check a query, and give its vector for each index, its words and its tokens."""
        query = call.query
        check_query(query)
        if call.per_corpus_k:
            check_per_corpus(call.per_corpus_k)
        wanted = [
            embeds_text(given, query, options, self._model)
            for given, options in zip(call.vectors, call.options, strict=True)
        ]
        embedded: NDArray[np.float32] | None = None
        tokens: Tokens = np.empty(0, np.uint16)
        if any(wanted):
            embedded, tokens = self._model.embed_queries([query.text])[query.text]
        vectors: list[bytes] = []
        failures: list[Failure | None] = []
        for needed, given, options in zip(wanted, call.vectors, call.options, strict=True):
            try:
                vector = make_vector(given, query, options, embedded if needed else None)
            except LakehouseError as error:
                vectors.append(b"")
                failures.append(make_failure(error))
            else:
                vectors.append(b"" if vector is None else vector.tobytes())
                failures.append(None)
        words = list(count_words(query.text[:MAX_QUERY_CHARACTERS])) if query.mode != "vector" else []
        every = bool(call.options) and all(map(self._model.embeds, call.options))
        if query.mode == "hybrid":
            fusion.wants_match(query, words=every)  # refuses what cannot be asked for
        return PreparedQuery(
            vectors=vectors,
            failures=failures,
            words=words,
            tokens=np.unique(tokens).tolist() if query.mode == "hybrid" else [],
            words_model=every,
        )

    def score(self, call: ScoreCandidates) -> list[ScoredCandidate]:
        """Score the candidates of a hybrid search, the best first."""
        matches = fusion.wants_match(call.query, words=call.words_model) and bool(call.tokens)
        order, scores, matched = fusion.score_candidates(
            np.array(call.keyword, np.float32),
            np.array(call.cosine, np.float32),
            floor=call.floor,
            weight=fusion.choose_weight(call.query.weight, words=call.words_model),
            match=(lambda chosen: self._match(call, chosen)) if matches else None,
            reranked=max(fusion.RERANKED, call.query.k),
        )
        found = zip(order.tolist(), scores[order].tolist(), matched[order].tolist(), strict=True)
        return [ScoredCandidate(at, score, None if np.isnan(token) else token) for at, score, token in found]

    def _match(self, call: ScoreCandidates, chosen: fusion.Rows) -> fusion.Floats:
        vectors = self._model.load().token_vectors
        if self._matcher is None:
            self._matcher = TokenMatcher(vectors)
        documents = [np.frombuffer(call.documents[at], "<u2") for at in chosen.tolist()]
        sizes = np.array([len(one) for one in documents], np.int64)
        flat = np.concatenate(documents) if documents else np.empty(0, np.uint16)
        asked = np.array(call.tokens, np.uint16)
        frequencies = np.zeros(len(vectors), np.int64)
        if call.frequencies:
            frequencies[asked] = call.frequencies
            counted = call.counted
        else:
            frequencies = np.bincount(np.frombuffer(b"".join(call.documents), "<u2"), minlength=len(vectors))
            counted = sum(bool(one) for one in call.documents)
        return self._matcher.match(asked, flat, sizes, rarity_of(frequencies, counted))


def count_words(text: str) -> Counter[str]:
    """The stems of a text as the keyword index has them, with how often each occurs. Raises ErrNotInstalled."""
    return Counter(_load_analyzer()(text))


@cache
def _load_analyzer() -> Callable[[str], list[str]]:
    if absent := missing_modules("tantivy"):
        raise ErrNotInstalled(f"the search by words in a store {install_hint('lake', absent)}")
    from lakehouse.services.retrieval.child.keyword_tantivy import make_analyzer

    analyze: Callable[[str], list[str]] = make_analyzer().analyze
    return analyze
