"""The documents of Qdrant's REST API as objects of its engine, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qdrant_edge as edge

Document = dict[str, Any]


class BadRequest(Exception):
    """A document that the API does not have, or a part of it that this server does not have."""


def read_filter(document: Document) -> edge.Filter:
    """A filter of conditions that must hold, should hold, must not hold."""
    if unknown := document.keys() - {"must", "should", "must_not"}:
        raise BadRequest(f"unknown field `{min(unknown)}`, expected one of `should`, `must`, `must_not`")
    parts: Document = {name: [_read_condition(one) for one in conditions] for name, conditions in document.items()}
    return edge.Filter(**parts)


def _read_condition(document: Document) -> Any:
    if document.keys() == {"has_id"}:
        return edge.HasIdCondition(set(document["has_id"]))
    if "key" not in document:
        return read_filter(document)
    key = document["key"]
    if document.keys() == {"key", "match"}:
        return edge.FieldCondition(key, match=_read_match(document["match"]))
    if document.keys() == {"key", "range"}:
        return edge.FieldCondition(key, range=edge.RangeFloat(**document["range"]))
    raise BadRequest("data did not match any variant of untagged enum Condition")


def _read_match(document: Document) -> Any:
    if document.keys() == {"value"}:
        return edge.MatchValue(document["value"])
    if document.keys() == {"any"}:
        return edge.MatchAny(document["any"])
    raise BadRequest("data did not match any variant of untagged enum MatchInterface")


def read_point(document: Document, sparse: frozenset[str]) -> edge.Point:
    """A point with named vectors."""
    if unknown := document.keys() - {"id", "vector", "payload"}:
        raise BadRequest(f"unknown field `{min(unknown)}`")
    vectors = {
        name: edge.SparseVector(vector["indices"], vector["values"]) if name in sparse else vector
        for name, vector in document["vector"].items()
    }
    return edge.Point(document["id"], vectors, document.get("payload") or {})


def read_query(document: Document) -> edge.QueryRequest:
    """A query: the nearest to a vector, or without one the points in the order of their ids."""
    known = {"query", "using", "filter", "params", "limit", "with_payload", "with_vector"}
    if unknown := document.keys() - known:
        raise BadRequest(f"unknown field `{min(unknown)}`")
    given, nearest = document.get("query"), None
    if isinstance(given, Mapping):
        nearest = edge.Query.Nearest(edge.SparseVector(given["indices"], given["values"]), document["using"])
    elif given is not None:
        nearest = edge.Query.Nearest(given, document["using"])
    params = document.get("params") or {}
    return edge.QueryRequest(
        limit=document.get("limit", 10),
        query=nearest,
        filter=read_filter(document["filter"]) if document.get("filter") else None,
        params=edge.SearchParams(**params),
        with_payload=document.get("with_payload", False),
        with_vector=document.get("with_vector", False),
    )


def _show_vectors(vectors: Any) -> Any:
    if not isinstance(vectors, Mapping):
        return vectors
    return {
        name: {"indices": vector.indices, "values": vector.values} if isinstance(vector, edge.SparseVector) else vector
        for name, vector in vectors.items()
    }


def show_record(record: edge.Record) -> Document:
    """A point of an answer."""
    point_id = record.id if isinstance(record.id, int) else str(record.id)
    return {"id": point_id, "payload": record.payload, "vector": _show_vectors(record.vector)}


def show_scored(point: edge.ScoredPoint) -> Document:
    """A point of an answer to a query."""
    point_id = point.id if isinstance(point.id, int) else str(point.id)
    return {
        "id": point_id,
        "version": point.version,
        "score": point.score,
        "payload": point.payload,
        "vector": _show_vectors(point.vector),
    }
