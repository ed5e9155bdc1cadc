"""Items as points, and the points that describe an index.

The three descriptions are in the collection of the index itself, with the numbers 0 to 2 as ids, so that a write and
the version that it leads to are one entry of Qdrant's log. The id of an item's point is a digest of the item's id.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from lakehouse.services.contracts.filter_language import decode_metadata
from lakehouse.services.contracts.retrieval import Distance, IndexOptions, StoredItem
from lakehouse.services.contracts.vector_store import StoreItem
from lakehouse.services.vector_stores.qdrant.api import Payload, Point, SparseVector, Vectors, WrittenPoint
from lakehouse.services.vector_stores.remote.conditions import list_numbers, make_source_token, make_tokens
from lakehouse.services.vector_stores.remote.vectors import measure, restore, unpack
from lakehouse.services.vector_stores.remote.words import TextLengths, count_words, weigh_words

OPTIONS, VERSION, SOURCE = 0, 1, 2
DESCRIPTIONS = (OPTIONS, VERSION, SOURCE)
"""The points that describe an index: its options, its version and statistics, the state of its source."""


def number_key(field: str) -> str:
    """The path of a field's numbers in the payload, in characters that need no quotes."""
    return f"numbers.{_number_name(field)}"


def _number_name(field: str) -> str:
    return "f" + field.encode("utf-8", "surrogatepass").hex()


def make_point_id(item_id: str) -> str:
    """The id of an item's point."""
    return str(UUID(bytes=hashlib.blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()))


def make_point(
    item: StoreItem, source: str, replaced: Point | None, options: IndexOptions, average: float
) -> WrittenPoint:
    """The point of an item of a source. What the item does not say stays as `replaced` has it."""
    old = Payload() if replaced is None else replaced.fields
    metadata = item.metadata.decode() if item.metadata else old.metadata
    keeps_text = item.text is None
    decoded = decode_metadata(metadata.encode())
    payload = Payload(
        id=item.id,
        metadata=metadata,
        text=old.text if keeps_text else item.text,
        group=source,
        digest=base64.b64encode(item.digest).decode(),
        pieces=old.pieces if keeps_text else base64.b64encode(item.tokens).decode(),
        norm=measure(item.vector, options.distance),
        tokens=[*make_tokens(decoded), *([make_source_token(source)] if source else [])],
        numbers={_number_name(field): numbers for field, numbers in list_numbers(decoded).items()},
    )
    words = None if replaced is None or replaced.vector is None else replaced.vector.words
    if options.keyword and not keeps_text:
        weighed = weigh_words(count_words(item), item.length, average)
        words = SparseVector(weighed.positions, weighed.weights) if weighed.positions else None
    return WrittenPoint(
        id=make_point_id(item.id), vector=Vectors(_unpack(item.vector, options.distance), words), payload=payload
    )


def copy_point(point: Point, source: IndexOptions, dest: IndexOptions) -> WrittenPoint:
    """A point of one index for another one."""
    vector = read_vector(point, source.distance)
    payload = msgspec.structs.replace(point.fields, norm=measure(vector, dest.distance))
    words = None if point.vector is None or not dest.keyword else point.vector.words
    return WrittenPoint(id=point.id, vector=Vectors(_unpack(vector, dest.distance), words), payload=payload)


def describe(options: IndexOptions, identity: str, created_ms: int) -> WrittenPoint:
    """The point with the options of an index."""
    payload = Payload(index=msgspec.json.encode(options).decode(), identity=identity, created=created_ms)
    return WrittenPoint(id=OPTIONS, vector=Vectors(), payload=payload)


def describe_version(version: int, lengths: TextLengths) -> WrittenPoint:
    """The point with the version of an index and the lengths of its texts."""
    payload = Payload(version=version, texts=lengths.texts, words=lengths.words)
    return WrittenPoint(id=VERSION, vector=Vectors(), payload=payload)


def describe_source(state: bytes) -> WrittenPoint:
    """The point with the state of an index's source."""
    return WrittenPoint(id=SOURCE, vector=Vectors(), payload=Payload(source=state.decode()))


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What the descriptions of an index say."""

    options: IndexOptions
    identity: str
    created_ms: int
    version: int
    lengths: TextLengths
    source: bytes


def read_description(points: Sequence[Point]) -> Description | None:
    """The description of an index; None while it is being created."""
    found = {point.id: point.fields for point in points}
    if OPTIONS not in found:
        return None
    version = found.get(VERSION, Payload())
    return Description(
        options=msgspec.json.decode(found[OPTIONS].index, type=IndexOptions),
        identity=found[OPTIONS].identity,
        created_ms=found[OPTIONS].created,
        version=version.version,
        lengths=TextLengths(version.texts, version.words),
        source=found.get(SOURCE, Payload()).source.encode(),
    )


def read_item(point: Point, distance: Distance, *, with_vector: bool) -> StoredItem:
    """The item of a point."""
    fields = point.fields
    return StoredItem(
        id=fields.id,
        vector=read_vector(point, distance) if with_vector else b"",
        text=fields.text,
        metadata=fields.metadata.encode(),
        source=fields.group,
    )


def read_vector(point: Point, distance: Distance) -> bytes:
    """The vector of a point as it was given, within rounding."""
    if point.vector is None or point.vector.dense is None:
        return b""
    return restore(point.vector.dense, point.fields.norm, distance)


def read_metadata(point: Point) -> Mapping[str, object]:
    """The metadata of an item."""
    return decode_metadata(point.fields.metadata.encode())


def to_distance(score: float, distance: Distance) -> float:
    """The distance that belongs to the score of a query."""
    if distance == "cosine":
        return min(max(1.0 - score, 0.0), 2.0)
    return -score + 0.0 if distance == "dot" else score


def _unpack(vector: bytes, distance: Distance) -> list[float] | None:
    return unpack(vector, distance) if vector else None
