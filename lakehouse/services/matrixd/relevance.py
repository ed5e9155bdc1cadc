"""The relevance of chunks of text to a source file: which of them belong in the context of a question about the file.

The score is a sum of signals; a chunk is kept from a threshold on.

    +1.0          the chunk is of the file, or mentions its path
    +0.6          else: the chunk mentions the name of the file
    +0.6          the chunk mentions a symbol that the file defines
    +0.4 x share  of the tokens that file and chunk have in common (Jaccard)
    +0.3          the paths begin with the same two segments
    -0.5          the chunk mentions symbols that the file imports, and none that it defines
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Annotated

import msgspec
import trio

THRESHOLD = 0.3

PATH, FILE_NAME, DEFINED, TOKENS, PREFIX, ONLY_IMPORTED = 1.0, 0.6, 0.6, 0.4, 0.3, -0.5

SLICE = 64 * 1024
"""Characters of chunks that are scored without a checkpoint."""
CHUNK_COST = 256
"""What a chunk counts for besides its characters: no more than 256 chunks without a checkpoint."""

_TOKEN = re.compile(r"[^\W_]+")
_SYMBOL = re.compile(r"\w+")


class Focus(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """The file: its path, and the symbols that it defines and imports."""

    path: str = ""
    defined_symbols: Sequence[str] = ()
    imported_symbols: Sequence[str] = ()

    @cached_property
    def tokens(self) -> frozenset[str]:
        """The lower-case words of path and symbols."""
        return _read_tokens([self.path, *self.defined_symbols, *self.imported_symbols])

    @cached_property
    def defined(self) -> frozenset[str]:
        """What chunks mention of the defined symbols."""
        return frozenset(_find_symbols(self.defined_symbols))

    @cached_property
    def imported(self) -> frozenset[str]:
        """What chunks mention of the imported symbols."""
        return frozenset(_find_symbols(self.imported_symbols))

    @cached_property
    def name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]

    @cached_property
    def prefix(self) -> Sequence[str]:
        """The first two segments of the path, or the only one."""
        return _find_prefix(self.path)


class Chunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One piece of text, and the path of the file that it is from."""

    id: str
    text: str = ""
    path: str = ""


class RelevanceRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `/matrix/relevance`."""

    focus: Focus
    chunks: Annotated[list[Chunk], msgspec.Meta(max_length=100_000)]
    threshold: float = THRESHOLD


class ScoredChunk(msgspec.Struct, frozen=True):
    """The id of a chunk, and its score."""

    id: str
    score: float


class RelevanceAnswer(msgspec.Struct, frozen=True):
    """The kept and the dropped chunks, each in the order of the request."""

    kept: list[ScoredChunk]
    dropped: list[ScoredChunk]


async def divide_chunks(request: RelevanceRequest) -> RelevanceAnswer:
    """Score all chunks, and divide them at the threshold. The event loop is left to others in between."""
    answer = RelevanceAnswer([], [])
    left = SLICE
    for chunk in request.chunks:
        score = round(score_chunk(request.focus, chunk), 6)
        (answer.kept if score >= request.threshold else answer.dropped).append(ScoredChunk(chunk.id, score))
        left -= len(chunk.text) + len(chunk.path) + CHUNK_COST
        if left <= 0:
            left = SLICE
            await trio.lowlevel.checkpoint()
    return answer


def score_chunk(focus: Focus, chunk: Chunk) -> float:
    """The sum of all signals of one chunk.

    The steps are as many as the chunk has words, whatever the size of the focus, which is read once.
    """
    score = _score_path(focus, chunk)
    symbols = frozenset(_SYMBOL.findall(chunk.text))
    if not symbols.isdisjoint(focus.defined):
        score += DEFINED
    elif not symbols.isdisjoint(focus.imported):
        score += ONLY_IMPORTED
    tokens = _read_tokens([chunk.text, chunk.path])
    common = len(focus.tokens & tokens)
    if union := len(focus.tokens) + len(tokens) - common:
        score += TOKENS * common / union
    return score


def _score_path(focus: Focus, chunk: Chunk) -> float:
    if not focus.path:
        return 0.0
    score = 0.0
    if chunk.path == focus.path or focus.path in chunk.text:
        score = PATH
    elif focus.name and (focus.name in chunk.text or chunk.path.rpartition("/")[2] == focus.name):
        score = FILE_NAME
    if len(focus.prefix) == 2 and focus.prefix == _find_prefix(chunk.path):
        score += PREFIX
    return score


def _find_prefix(path: str) -> Sequence[str]:
    return path.split("/", 2)[:2]


def _find_symbols(names: Iterable[str]) -> Iterable[str]:
    """The last part of each name: `registry.Register` is mentioned as `Register`."""
    for name in names:
        if parts := _SYMBOL.findall(name):
            yield parts[-1]


def _read_tokens(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(token.lower() for text in texts for token in _TOKEN.findall(text))
