"""The results of a search as JSON, put together from pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from lakehouse.services.contracts.retrieval import Scores
from lakehouse.services.retrieval.child.pieces import Piece


class Result(NamedTuple):
    """One result before it is JSON. `corpus` is JSON, empty for a search of one index."""

    row: int
    distance: float | None
    score: float | None = None
    scores: Scores | None = None
    corpus: bytes = b""


def encode_results(
    results: Sequence[Result], pieces: Mapping[int, Piece], texts: Mapping[int, bytes], *, with_metadata: bool
) -> tuple[bytes, int]:
    """The JSON array of the results, and their number. A result whose row is deleted is left out."""
    encoded = []
    for result in results:
        piece = pieces.get(result.row)
        if piece is None:
            continue
        parts = [
            b'{"id":',
            piece.id,
            b',"distance":',
            b"null" if result.distance is None else b"%.9g" % result.distance,
        ]
        if result.corpus:
            parts += (b',"corpus":', result.corpus)
        if with_metadata and piece.metadata:
            parts += (b',"metadata":', piece.metadata)
        if result.score is not None:
            parts.append(b',"score":%.9g' % result.score)
        if result.scores is not None:
            parts += (b',"scores":', msgspec.json.encode(result.scores))
        if result.row in texts:
            parts += (b',"text":', texts[result.row])
        encoded.append(b"".join(parts))
    return b"[%s]" % b"},".join(encoded) if not encoded else b"[" + b"},".join(encoded) + b"}]", len(encoded)
