"""The results of a search in a vector store as JSON, in the form of those of the folder."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan
from typing import NamedTuple

import msgspec

from lakehouse.services.contracts.retrieval import Scores, SearchQuery
from lakehouse.services.contracts.vector_store import Candidate


class Result(NamedTuple):
    """A candidate that is a result, with its score, its token match and its cosine; NaN where it has none."""

    candidate: Candidate
    score: float | None = None
    token: float | None = None
    cosine: float = nan


def encode_results(results: Sequence[Result], query: SearchQuery, names: Sequence[str] = ()) -> bytes:
    """The JSON array of results; `names` are those of the corpora, none for a search of one index."""
    corpora = [b',"corpus":' + msgspec.json.encode(name) for name in names]
    return b"[" + b",".join(_encode(result, query, corpora) for result in results) + b"]"


def _encode(result: Result, query: SearchQuery, corpora: Sequence[bytes]) -> bytes:
    one = result.candidate
    distance = b"null" if one.distance is None else b"%.9g" % one.distance
    parts = [b'{"id":', msgspec.json.encode(one.id), b',"distance":', distance]
    if corpora:
        parts.append(corpora[one.corpus])
    if query.with_metadata and one.metadata:
        parts += (b',"metadata":', one.metadata)
    if result.score is not None:
        parts.append(b',"score":%.9g' % result.score)
        if query.with_scores:
            parts += (b',"scores":', msgspec.json.encode(_make_scores(result)))
    if query.with_text and one.text is not None:
        parts += (b',"text":', msgspec.json.encode(one.text))
    parts.append(b"}")
    return b"".join(parts)


def _make_scores(result: Result) -> Scores:
    one = result.candidate
    return Scores(
        keyword=one.keyword,
        cosine=None if isnan(result.cosine) else result.cosine,
        token=result.token,
        keyword_rank=one.keyword_rank,
        vector_rank=one.vector_rank,
    )
