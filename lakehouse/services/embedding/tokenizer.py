"""The tokenizer of Llama 2: byte-pair encoding of whole words, with a bounded cache of words.

A space becomes `▁`, and no merge of this vocabulary joins a character with a following `▁`, nor with a newline. So a
text is a sequence of units, each encoded by itself, whose results can be kept: a run of `▁` with the characters up to
the next one, or a newline. The tests compare the result with the library `tokenizers`, token for token.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACE = "▁"
CACHED_WORDS = 32_768
"""Words of one generation of the cache; two of them hold about 10 MB."""
CACHED_WORD_LENGTH = 48
"""Characters of the longest unit that is kept: longer ones are rarely seen twice."""

LONGEST_TOKEN = 16
"""Characters of the longest token. So a text of more than 16 n characters has more than n tokens."""

_SPECIAL = re.compile("(<unk>|<s>|</s>)")
_UNITS = re.compile(f"\n|{SPACE}+[^{SPACE}\n]*|[^{SPACE}\n]+")


class Model(msgspec.Struct, frozen=True):
    """The model in the file of the tokenizer: the token numbers, and the merges in the order of their rank."""

    vocab: dict[str, int]
    merges: list[str]


class TokenizerFile(msgspec.Struct, frozen=True):
    """The part of a file `tokenizer.json` that is used."""

    model: Model


class WordCache:
    """The encoded units of two generations: a full generation replaces the one before it.

    A unit that is asked for again moves to the current generation, so what is used often stays.
    """

    def __init__(self, size: int = CACHED_WORDS) -> None:
        self._size = size
        self.current: dict[str, bytes] = {}
        self._previous: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self.current) + len(self._previous)

    def get(self, unit: str) -> bytes | None:
        """The encoded unit, or None."""
        if (found := self.current.get(unit)) is None and (found := self._previous.get(unit)) is not None:
            self.put(unit, found)
        return found

    def put(self, unit: str, encoded: bytes) -> None:
        """Keep an encoded unit, unless it is too long."""
        if len(unit) <= CACHED_WORD_LENGTH:
            if len(self.current) >= self._size:
                self._previous, self.current = self.current, {}
            self.current[unit] = encoded


class LlamaTokenizer:
    """Encodes texts as numbers of tokens. `encoded` is the content of the file `tokenizer.json`.

    Raises msgspec.DecodeError for another file.
    """

    def __init__(self, encoded: bytes) -> None:
        model = msgspec.json.decode(encoded, type=TokenizerFile).model
        self._ranks = {merge: rank for rank, merge in enumerate(model.merges)}
        self._numbers = {token: number.to_bytes(2, "little") for token, number in model.vocab.items()}
        self.cache = WordCache()

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.uint16]]:
        """The tokens of each text, as the reference gives them without special tokens around the text."""
        return [np.frombuffer(self._encode_text(text), np.dtype("<u2")) for text in texts]

    def _encode_text(self, text: str) -> bytes:
        if "<" not in text:
            return self._encode_part(text)
        parts = _SPECIAL.split(text)  # every second part is a special token
        return b"".join(self._numbers[part] if n % 2 else self._encode_part(part) for n, part in enumerate(parts))

    def _encode_part(self, text: str) -> bytes:
        if not text:
            return b""
        units = _UNITS.findall(SPACE + text.replace(" ", SPACE))
        try:
            return b"".join(map(self.cache.current.__getitem__, units))
        except KeyError:
            return b"".join(map(self._encode_unit, units))

    def _encode_unit(self, unit: str) -> bytes:
        encoded = self.cache.get(unit)
        if encoded is None:
            encoded = b"".join(map(self._numbers.__getitem__, self._merge(self._split(unit))))
            self.cache.put(unit, encoded)
        return encoded

    def _split(self, unit: str) -> list[str]:
        """The symbols before any merge: characters of the vocabulary, and the bytes of the others."""
        symbols: list[str] = []
        for character in unit:
            if character in self._numbers:
                symbols.append(character)
            else:
                symbols += (f"<0x{byte:02X}>" for byte in character.encode("utf-8", "surrogatepass"))
        return symbols

    def _merge(self, symbols: list[str]) -> Iterator[str]:
        """Merge neighbours until no pair has a rank: the lowest rank first, of equal ones the leftmost.

        The queue has every pair that was seen, so the effort is n log n for any input. A pair whose symbols have
        changed since is skipped: a symbol that was merged into its left neighbour is empty.
        """
        last = len(symbols)
        after, before = list(range(1, last + 1)), list(range(-1, last - 1))
        queue: list[tuple[int, int, str]] = []

        def push(left: int) -> None:
            if left >= 0 and after[left] < last:
                pair = f"{symbols[left]} {symbols[after[left]]}"
                if (rank := self._ranks.get(pair)) is not None:
                    heapq.heappush(queue, (rank, left, pair))

        for left in range(last - 1):
            push(left)
        while queue:
            _, left, pair = heapq.heappop(queue)
            right = after[left]
            if right >= last or pair != f"{symbols[left]} {symbols[right]}":
                continue
            symbols[left] += symbols[right]
            symbols[right] = ""
            after[left] = after[right]
            if after[left] < last:
                before[after[left]] = left
            push(left)
            push(before[left])
        return filter(None, symbols)
