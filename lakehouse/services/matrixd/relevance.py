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
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated

import msgspec
from trio.lowlevel import checkpoint

THRESHOLD = 0.3

PATH, FILE_NAME, DEFINED, TOKENS, PREFIX, ONLY_IMPORTED = 1.0, 0.6, 0.6, 0.4, 0.3, -0.5

SLICE = 16 * 1024
"""Characters that are read without a checkpoint, in about 2 ms."""
CHUNK_COST = 64
"""What a chunk or a name counts for besides its characters: no more than 256 of them without a checkpoint."""

_TOKEN, _TOKEN_END = re.compile(r"[^\W_]+"), re.compile(r"[\W_]")
_SYMBOL, _SYMBOL_END = re.compile(r"\w+"), re.compile(r"\W")


class Focus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: its path, and the symbols that it defines and imports."""

    path: str = ""
    defined_symbols: Sequence[str] = ()
    imported_symbols: Sequence[str] = ()


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


class Turns:
    """Counts the work between two checkpoints."""

    def __init__(self) -> None:
        self._left = SLICE

    def spend(self, cost: int) -> bool:
        """Count work that was done. Returns whether it is another task's turn."""
        self._left -= cost
        if self._left > 0:
            return False
        self._left = SLICE
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class FocusWords:
    """What chunks are compared with: all lower-case words of path and symbols, and what chunks mention of symbols.

    `prefix` is the first two segments of the path, or the only one.
    """

    path: str
    name: str
    prefix: Sequence[str]
    tokens: AbstractSet[str]
    defined: AbstractSet[str]
    imported: AbstractSet[str]


async def divide_chunks(request: RelevanceRequest) -> RelevanceAnswer:
    """Score all chunks, and divide them at the threshold. The event loop is left to others in between."""
    answer = RelevanceAnswer([], [])
    turns = Turns()
    focus = await read_focus(request.focus, turns)
    for chunk in request.chunks:
        score = round(await score_chunk(focus, chunk, turns), 6)
        (answer.kept if score >= request.threshold else answer.dropped).append(ScoredChunk(chunk.id, score))
    return answer


async def read_focus(focus: Focus, turns: Turns) -> FocusWords:
    """Read the words of the focus, once for all chunks."""
    return FocusWords(
        path=focus.path,
        name=focus.path.rpartition("/")[2],
        prefix=_find_prefix(focus.path),
        tokens=await _read_tokens([focus.path, *focus.defined_symbols, *focus.imported_symbols], turns),
        defined=await _find_symbols(focus.defined_symbols, turns),
        imported=await _find_symbols(focus.imported_symbols, turns),
    )


async def score_chunk(focus: FocusWords, chunk: Chunk, turns: Turns) -> float:
    """The sum of all signals of one chunk.

    The steps are as many as the chunk has words, whatever the size of the focus.
    """
    score = _score_path(focus, chunk)
    symbols = set[str]()
    for piece in _split(chunk.text, _SYMBOL_END):
        symbols.update(_SYMBOL.findall(piece))
        if turns.spend(len(piece)):
            await checkpoint()
    if not symbols.isdisjoint(focus.defined):
        score += DEFINED
    elif not symbols.isdisjoint(focus.imported):
        score += ONLY_IMPORTED
    tokens = await _read_tokens([chunk.text, chunk.path], turns)
    common = len(focus.tokens & tokens)
    if union := len(focus.tokens) + len(tokens) - common:
        score += TOKENS * common / union
    return score


def _score_path(focus: FocusWords, chunk: Chunk) -> float:
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


async def _find_symbols(names: Iterable[str], turns: Turns) -> AbstractSet[str]:
    """The last part of each name: `registry.Register` is mentioned as `Register`."""
    symbols = set[str]()
    for name in names:
        last = ""
        for piece in _split(name, _SYMBOL_END):
            if parts := _SYMBOL.findall(piece):
                last = parts[-1]
            if turns.spend(len(piece) + CHUNK_COST):
                await checkpoint()
        if last:
            symbols.add(last)
    return symbols


async def _read_tokens(texts: Iterable[str], turns: Turns) -> AbstractSet[str]:
    tokens = set[str]()
    for text in texts:
        for piece in _split(text, _TOKEN_END):
            tokens.update([token.lower() for token in _TOKEN.findall(piece)])
            if turns.spend(len(piece) + CHUNK_COST):
                await checkpoint()
    return tokens


def _split(text: str, end: re.Pattern[str]) -> Iterable[str]:
    """Cut a long text into pieces between two words. `end` is what no word has in it."""
    return (text,) if len(text) <= SLICE else _cut(text, end)


def _cut(text: str, end: re.Pattern[str]) -> Iterator[str]:
    start = 0
    while start < len(text):
        found = end.search(text, start + SLICE)
        stop = found.start() if found else len(text)
        yield text[start:stop]
        start = stop
