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
    if not texts and with_metadata and results and results[0].score is None and not results[0].corpus:
        encoded = [  # the plain form, of which there are the most
            b"%b%.9g%b}" % (pieces[row].head, distance or 0.0, pieces[row].metadata)
            for row, distance, *_ in results
            if row in pieces
        ]
    else:
        encoded = [
            _encode(result, pieces[result.row], texts.get(result.row), with_metadata=with_metadata)
            for result in results
            if result.row in pieces
        ]
    return b"[" + b",".join(encoded) + b"]", len(encoded)


def _encode(result: Result, piece: Piece, text: bytes | None, *, with_metadata: bool) -> bytes:
    parts = [piece.head, b"null" if result.distance is None else b"%.9g" % result.distance]
    if result.corpus:
        parts += (b',"corpus":', result.corpus)
    if with_metadata:
        parts.append(piece.metadata)
    if result.score is not None:
        parts.append(b',"score":%.9g' % result.score)
    if result.scores is not None:
        parts += (b',"scores":', msgspec.json.encode(result.scores))
    if text is not None:
        parts += (b',"text":', text)
    parts.append(b"}")
    return b"".join(parts)
