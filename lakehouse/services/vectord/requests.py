"""The bodies of requests to vectord, and the checks that need no index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from lakehouse.asgi.body import BodyLimits
from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.index_names import check_index_name
from lakehouse.services.contracts.retrieval import Distance, FieldType, Rerank, SearchMode

OMITTED = msgspec.Raw()
"""A member that a request does not have."""

BODY_LIMITS = BodyLimits(max_size=64 * 1024 * 1024, max_size_key="64 MiB for a request to an index")
MAX_K = 1000
"""The most results of a search; a greater `k` is this one."""
MAX_DIMENSION = 65_536

Part = Literal["text", "metadata", "scores"]
"""What a hit has beside its id, its distance and its score."""


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /vectors/index`.

    `m`, `M`, `ef_search` and `ef_construction` are parameters of a graph index: accepted and without effect.
    """

    name: str
    dimension: int | None = None
    distance: Distance = "cosine"
    model: str = ""
    keyword: bool = True
    fields: dict[str, FieldType] = {}
    approximate: bool = False
    m: int | None = None
    M: int | None = None
    ef_search: int | None = None
    ef_construction: int | None = None

    def check(self) -> None:
        """Raise ErrBadRequest, with the field, for values out of range, and if dimension and model are both missing."""
        check_index_name(self.name)
        if self.dimension is None and not self.model:
            raise ErrBadRequest(
                "`dimension` is required: the number of components of a vector; or `model`, the embedding model of an"
                ' index of texts ("default" is the default one)',
                field="dimension",
            )
        if self.dimension is not None and not 1 <= self.dimension <= MAX_DIMENSION:
            raise ErrBadRequest(f"`dimension` must be between 1 and {MAX_DIMENSION:,}", field="dimension")


class AddRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `…/add`. The items are decoded one by one (`items`).

    `model` is that of the vectors; `truncate` cuts texts that are too long for the model of the index.
    """

    items: list[msgspec.Raw]
    model: str = ""
    truncate: bool = False


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"parts": "with"}):
    """The body of `…/search`: a vector, a text, or both."""

    vector: list[float] | None = None
    text: str | None = None
    k: int = 10
    mode: SearchMode | None = None
    weight: float | None = None
    rerank: Rerank = ""
    filter: msgspec.Raw = OMITTED
    model: str = ""
    parts: list[Part] | None = None

    def check(self) -> None:
        """Raise ErrBadRequest, with the field, for values that do not fit together."""
        if self.vector is None and self.text is None:
            raise ErrBadRequest("`vector` or `text` is required", field="vector")
        if self.text is not None and not self.text.strip():
            raise ErrBadRequest("`text` is empty", field="text")
        if self.k < 1:
            raise ErrBadRequest("`k` must be at least 1", field="k")
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise ErrBadRequest("`weight` must be between 0 (words only) and 1 (vectors only)", field="weight")
        if self.mode in ("keyword", "hybrid") and self.text is None:
            raise ErrBadRequest(f'`mode` "{self.mode}" needs a `text`', field="mode")
        check_filter(self.filter)

    @property
    def shown(self) -> Sequence[Part]:
        """What the hits have: the metadata, and with a text the scores, unless the request says otherwise."""
        if self.parts is not None:
            return self.parts
        return ("metadata",) if self.text is None else ("metadata", "scores")


class DeleteRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `DELETE …/items` and `POST …/delete`: ids, or a filter."""

    ids: list[str] | None = None
    filter: msgspec.Raw = OMITTED

    def check(self) -> None:
        """Raise ErrBadRequest unless exactly one of the fields is given."""
        if (self.ids is None) != is_given(self.filter):
            raise ErrBadRequest("exactly one of `ids` and `filter` is required", field="ids")
        check_filter(self.filter)


class MergeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `…/merge`: the index that the items are copied to."""

    dest: str
    clear_source: bool = False


class SyncRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `…/sync`; after the first one it may be empty. Several columns of text are joined by blank lines."""

    table: str | None = None
    key: str | None = None
    text: str | list[str] | None = None
    metadata: list[str] | None = None
    truncate: bool = False


def check_filter(given: msgspec.Raw) -> None:
    """Raise ErrBadRequest for a filter that is no JSON object."""
    if is_given(given) and not bytes(given).startswith(b"{"):
        raise ErrBadRequest('`filter` must be an object, such as {"year": {"gte": 2020}}', field="filter")


def is_given(value: msgspec.Raw) -> bool:
    """Whether an optional member of a request is there, and not null."""
    return bytes(value) not in (b"", b"null")
