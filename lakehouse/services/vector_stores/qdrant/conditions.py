"""Filters as Qdrant has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lakehouse.services.vector_stores.qdrant.points import DESCRIPTIONS, number_key
from lakehouse.services.vector_stores.remote.conditions import ALWAYS, Every, Not, NumberRange, Some, Term, Tokens

Document = dict[str, Any]

ITEMS: Document = {"has_id": list(DESCRIPTIONS)}
"""In `must_not`: the points that are no items."""


def render_filter(term: Term) -> Document | None:
    """A filter for a search; None for one that lets everything through. What has no vector is not found anyway."""
    return None if term == ALWAYS else {"must": [_render(term)]}


def render_items(term: Term) -> Document:
    """A filter that lets items through, and not the points that describe the index."""
    return {"must": [] if term == ALWAYS else [_render(term)], "must_not": [ITEMS]}


def render_ids(point_ids: Sequence[str]) -> Document:
    """A filter for points by their ids."""
    return {"must": [{"has_id": list(point_ids)}]}


def _render(term: Term) -> Document:
    match term:
        case Tokens(tokens):
            return {"key": "tokens", "match": {"value": tokens[0]} if len(tokens) == 1 else {"any": list(tokens)}}
        case NumberRange(field, bounds):
            found: Document = {}
            for name, bound in bounds:
                tighter = max if name in ("gte", "gt") else min
                found[name] = tighter(found.get(name, bound), bound)
            return {"key": number_key(field), "range": found}
        case Every(parts):
            return {"must": [_render(part) for part in parts]}
        case Some(()):
            return {"must": [{"has_id": []}]}
        case Some(parts):
            return {"should": [_render(part) for part in parts]}
        case Not(part):
            return {"must_not": [_render(part)]}
