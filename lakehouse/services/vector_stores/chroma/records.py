"""Items as records. Chroma keeps the keys of a record that a later upsert does not name, so each one names all."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lakehouse.services.contracts.filter_language import decode_metadata
from lakehouse.services.contracts.retrieval import Distance, IndexOptions, StoredItem
from lakehouse.services.contracts.vector_store import StoreItem
from lakehouse.services.vector_stores.chroma.conditions import NUMBER_KINDS, WORDS, number_key
from lakehouse.services.vector_stores.remote.conditions import list_numbers, make_source_token, make_tokens
from lakehouse.services.vector_stores.remote.vectors import measure, restore, unpack
from lakehouse.services.vector_stores.remote.words import count_words

Document = dict[str, Any]
VECTORLESS = "vectorless"
"""The token of an item without a vector. Chroma wants one of each record, so it has a placeholder."""


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of a record: our metadata as JSON, texts, tokens by which filters select, words with their counts,
    tokens of the model, and the length of a vector of which only the direction is kept."""

    id: str = ""
    document: str = ""
    text: str | None = None
    group: str = ""
    digest: str = ""
    pieces: str = ""
    norm: float = 0.0
    tokens: list[str] | None = None
    words: list[str] | None = None
    counts: list[int] | None = None
    length: int = 0

    @property
    def metadata(self) -> Mapping[str, object]:
        return decode_metadata(self.document.encode())

    @property
    def has_vector(self) -> bool:
        return VECTORLESS not in (self.tokens or ())


def read_fields(metadata: Mapping[str, object] | None) -> Fields:
    """The metadata of a record."""
    return msgspec.convert(metadata or {}, Fields)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is written: its embedding is float32 in Base64."""

    id: str
    embedding: str
    metadata: Document


def make_record(item: StoreItem, source: str, replaced: Fields | None, options: IndexOptions) -> Record:
    """The record of an item of a source. What the item does not say stays as `replaced` has it."""
    old = replaced or Fields()
    document = item.metadata.decode() if item.metadata else old.document
    keeps_text, counts = item.text is None, count_words(item)
    fields = Fields(
        id=item.id,
        document=document,
        text=old.text if keeps_text else item.text,
        group=source,
        digest=base64.b64encode(item.digest).decode(),
        pieces=old.pieces if keeps_text else base64.b64encode(item.tokens).decode(),
        words=old.words if keeps_text else list(counts),
        counts=old.counts if keeps_text else list(counts.values()),
        length=old.length if keeps_text else item.length,
    )
    return finish_record(fields, item.vector, options)


def finish_record(fields: Fields, vector: bytes, options: IndexOptions) -> Record:
    """A record with a vector, and with what its metadata are found by."""
    metadata = fields.metadata
    tokens = make_tokens(metadata)
    if fields.group:
        tokens.append(make_source_token(fields.group))
    if not vector:
        tokens.append(VECTORLESS)
        vector = array("f", [1.0, *([0.0] * (options.dimension - 1))]).tobytes()
    complete = msgspec.structs.replace(fields, tokens=tokens, norm=measure(vector, options.distance))
    document: Document = {name: value or None for name, value in msgspec.structs.asdict(complete).items()}
    document["text"] = complete.text
    numbers = list_numbers(metadata)
    for name, kind in options.fields.items():
        if kind in NUMBER_KINDS:
            document[number_key(name)] = numbers[name][0] if name in numbers else None
    if not options.keyword:
        document[WORDS] = document["counts"] = None
    embedding = array("f", unpack(vector, options.distance)).tobytes()
    return Record(id=fields.id, embedding=base64.b64encode(embedding).decode(), metadata=document)


def read_vector(embedding: Sequence[float], fields: Fields, distance: Distance) -> bytes:
    """The vector of a record as it was given, within rounding."""
    return restore(embedding, fields.norm, distance) if fields.has_vector else b""


def read_item(fields: Fields, vector: bytes) -> StoredItem:
    """The item of a record."""
    return StoredItem(
        id=fields.id, vector=vector, text=fields.text, metadata=fields.document.encode(), source=fields.group
    )


def to_distance(found: float, distance: Distance) -> float:
    """Chroma's distances as ours: it has 1 - cosine, 1 - inner product, and the square of the Euclidean distance."""
    if distance == "cosine":
        return min(max(found, 0.0), 2.0)
    return found - 1.0 if distance == "dot" else math.sqrt(max(found, 0.0))


def compare(embedding: Sequence[float], vector: Sequence[float], distance: Distance) -> float:
    """The distance of two vectors."""
    if distance == "euclidean":
        return math.dist(embedding, vector)
    product = math.fsum(one * two for one, two in zip(embedding, vector, strict=True))
    if distance == "dot":
        return -product + 0.0
    return min(max(1.0 - product / (math.hypot(*embedding) * math.hypot(*vector) or 1.0), 0.0), 2.0)
