"""The list of models in Anthropic's form, which is asked for with the header `anthropic-version`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from lakehouse.chat.api.protocols import ModelCard
from lakehouse.core.errors import ErrBadRequest, ErrNotFound
from lakehouse.core.rfc3339 import format_time

VERSION_HEADER = "anthropic-version"

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000


class AnthropicModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model. A creation time that is not known is that of the epoch."""

    type: str = "model"
    id: str
    display_name: str
    created_at: str
    lifecycle: str = "active"


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the list. `has_more`: there are more models in the direction of the request."""

    data: Sequence[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


def make_anthropic_model(card: ModelCard) -> AnthropicModel:
    """One model."""
    return AnthropicModel(id=card.id, display_name=card.id, created_at=_format_created(card.created))


def _format_created(seconds: int) -> str:
    try:
        return format_time(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, OSError, ValueError):  # a provider's number that is no time
        return format_time(datetime.fromtimestamp(0, UTC))


def make_page(cards: Sequence[ModelCard], parameters: Mapping[str, str]) -> ModelPage:
    """The page that `limit`, `after_id` and `before_id` select. Raises ErrBadRequest, and ErrNotFound for an id that is
    not in the list."""
    limit = _read_limit(parameters.get("limit"))
    after, before = parameters.get("after_id"), parameters.get("before_id")
    if after and before:
        raise ErrBadRequest("`after_id` and `before_id` exclude each other", field="before_id")
    ids = [card.id for card in cards]
    if before:
        end = _find(ids, before, "before_id")
        start = max(0, end - limit)
        more = start > 0
    else:
        start = _find(ids, after, "after_id") + 1 if after else 0
        end = start + limit
        more = end < len(ids)
    page = [make_anthropic_model(card) for card in cards[start:end]]
    return ModelPage(
        data=page, has_more=more, first_id=page[0].id if page else None, last_id=page[-1].id if page else None
    )


def _read_limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_LIMIT)) and 1 <= int(text) <= MAX_LIMIT):
        raise ErrBadRequest(f"`limit` must be a number from 1 to {MAX_LIMIT}", field="limit")
    return int(text)


def _find(ids: Sequence[str], id: str, field: str) -> int:  # noqa: A002 - the name of the field
    if id not in ids:
        raise ErrNotFound(f"`{field}` is no model of the list")
    return ids.index(id)
