"""Filters as Chroma has them: conditions on one key, joined by `$and` and `$or`. Only a condition can be negated."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lakehouse.services.vector_stores.remote.conditions import (
    ALWAYS,
    NEVER,
    Every,
    Not,
    NumberRange,
    Some,
    Term,
    Tokens,
    make_field_token,
)

Document = dict[str, Any]
TOKENS, WORDS = "tokens", "words"
"""The keys of a record with the tokens of its metadata, and with the words of its text."""
NUMBER_KINDS = ("int", "float")
NOWHERE: Document = {TOKENS: {"$contains": "-"}}
"""No item has this token."""
_OPPOSITES = {"gte": "$lt", "gt": "$lte", "lte": "$gt", "lt": "$gte"}


def number_key(field: str) -> str:
    """The key of a declared field with numbers."""
    return f"number.{field.encode('utf-8', 'surrogatepass').hex()}"


def restrict_ranges(term: Term, fields: Collection[str]) -> tuple[Term, bool]:
    """A term that has ranges of these fields only, and whether it is still the same condition.

    Numbers are stored for declared fields, whose values are single numbers. Other ranges let through what has the
    field.
    """
    match term:
        case NumberRange(field, _) if field not in fields:
            return Tokens((make_field_token(field),)), False
        case Every(parts):
            found = [restrict_ranges(part, fields) for part in parts]
            return Every(tuple(part for part, _ in found)), all(same for _, same in found)
        case Some(parts):
            found = [restrict_ranges(part, fields) for part in parts]
            return Some(tuple(part for part, _ in found)), all(same for _, same in found)
        case Not(part):
            inner, same = restrict_ranges(part, fields)
            return (Not(inner), True) if same else (ALWAYS, False)
        case _:
            return term, True


def render_filter(term: Term) -> Document | None:
    """A filter; None for one that lets everything through."""
    return _render(_push_down(term, negated=False))


def _push_down(term: Term, *, negated: bool) -> Term:
    """The same term with `Not` before tokens and ranges only, and without parts that decide nothing."""
    match term:
        case Not(part):
            return _push_down(part, negated=not negated)
        case Every(parts) | Some(parts):
            pushed = [_push_down(part, negated=negated) for part in parts]
            if isinstance(term, Every) != negated:
                kept = tuple(part for part in pushed if part != ALWAYS)
                return NEVER if NEVER in kept else kept[0] if len(kept) == 1 else Every(kept)
            kept = tuple(part for part in pushed if part != NEVER)
            return ALWAYS if ALWAYS in kept else kept[0] if len(kept) == 1 else Some(kept)
        case _:
            return Not(term) if negated else term


def _render(term: Term) -> Document | None:
    if term == ALWAYS:
        return None
    if term == NEVER:
        return NOWHERE
    match term:
        case Every(parts):
            return {"$and": [_render(part) for part in parts]}
        case Some(parts):
            return {"$or": [_render(part) for part in parts]}
        case Tokens(tokens):
            return _join("$or", [{TOKENS: {"$contains": token}} for token in tokens])
        case Not(Tokens(tokens)):
            return _join("$and", [{TOKENS: {"$not_contains": token}} for token in tokens])
        case NumberRange(field, bounds):
            return _join("$and", [{number_key(field): {f"${name}": bound}} for name, bound in bounds])
        case Not(NumberRange(field, bounds)):
            outside = [{number_key(field): {_OPPOSITES[name]: bound}} for name, bound in bounds]
            return _join("$or", [*outside, {TOKENS: {"$not_contains": make_field_token(field)}}])
    raise TypeError(f"{term} was not pushed down")


def _join(operator: str, conditions: list[Document]) -> Document:
    return conditions[0] if len(conditions) == 1 else {operator: conditions}
