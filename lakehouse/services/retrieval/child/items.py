"""The items of a batch, checked as a whole before anything of them is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from lakehouse.core.errors import ErrBadRequest, ErrConflict
from lakehouse.services.contracts.filter_language import decode_metadata
from lakehouse.services.contracts.index_names import check_index_name
from lakehouse.services.contracts.retrieval import FieldType, IndexOptions, Item
from lakehouse.services.retrieval.child.quantization import join_vectors
from lakehouse.services.retrieval.child.texts import TextModel

MAX_DIMENSION = 16_384
MAX_COMPONENT = 1e16
"""The largest component of a vector that is not compared by its angle: its square times 16,384 fits into float32."""
MAX_ID = 1024
CHECK_EVERY = 1024
"""Items between two looks at the cancellation."""

_TYPES: Mapping[FieldType, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "keyword": (str,),
}


def complete_options(options: IndexOptions, model: TextModel) -> IndexOptions:
    """The options of a new index with its dimension. Raises ErrBadRequest."""
    check_index_name(options.name)
    dimension = options.dimension
    if model.embeds(options):
        own = model.load().dimension
        if dimension not in (0, own):
            raise ErrBadRequest(f"`dimension` must be {own}, that of the model {options.model}", field="dimension")
        dimension = own
    if not 1 <= dimension <= MAX_DIMENSION:
        raise ErrBadRequest(f"`dimension` must be 1 to {MAX_DIMENSION}", field="dimension")
    return msgspec.structs.replace(options, dimension=dimension)


def check_batch(
    options: IndexOptions, items: Sequence[Item], *, model: str, embeds: bool, check: Callable[[], None]
) -> list[Item]:
    """Check a batch for an index, and return its items, of equal ids the last one only.

    `embeds` says whether the engine embeds the texts of the index. `check` raises if the call is cancelled. Raises
    ErrBadRequest with `field` and the position of the item.
    """
    if model and options.model and model != options.model:
        raise make_other_model(options, model)
    size = options.dimension * 4
    for position, item in enumerate(items):
        if position % CHECK_EVERY == 0:
            check()
        _check_item(item, position, options, size, embeds=embeds)
    vectors, given = join_vectors([item.vector for item in items], options.dimension)
    check_vectors(vectors, given, options, lambda at: f"items[{at}].vector")
    last = {item.id: position for position, item in enumerate(items)}
    return list(items) if len(last) == len(items) else [items[position] for position in sorted(last.values())]


def make_other_model(options: IndexOptions, model: str) -> ErrConflict:
    """The error of a vector of another model than the index's."""
    return ErrConflict(
        f"the vectors are of the model {model!r}, and those of the index {options.name!r} of {options.model!r}",
        field="model",
    )


def _check_item(item: Item, position: int, options: IndexOptions, size: int, *, embeds: bool) -> None:
    if not item.id or len(item.id) > MAX_ID or "\0" in item.id:
        _refuse(position, "id", f"must have 1 to {MAX_ID} characters and no NUL")
    if item.vector:
        if len(item.vector) != size:
            found = len(item.vector) // 4
            _refuse(position, "vector", f"has {found} components, and the index has {options.dimension} dimensions")
    elif item.text is None:
        _refuse(position, "vector", "is required, or a text that is embedded" if embeds else "is required")
    elif not embeds:
        _refuse(position, "vector", f"is required: the engine does not embed texts with the model {options.model!r}")
    if item.metadata:
        _check_metadata(item.metadata, position, options.fields)


def _check_metadata(metadata: bytes, position: int, fields: Mapping[str, FieldType]) -> None:
    try:
        decoded = decode_metadata(metadata)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _refuse(position, "metadata", "must be an object in UTF-8, with numbers that float64 can hold")
    for name, kind in fields.items():
        value = decoded.get(name)
        if value is not None and (not isinstance(value, _TYPES[kind]) or (type(value) is bool) != (kind == "bool")):
            _refuse(position, f"metadata.{name}", f"must be of the type {kind!r} that the index declares")


def _refuse(position: int, field: str, what: str) -> NoReturn:
    path = f"items[{position}].{field}"
    raise ErrBadRequest(f"`{path}` {what}", field=path, details={"item": position})


def check_vectors(
    vectors: NDArray[np.float32], given: NDArray[np.bool_], options: IndexOptions, path: Callable[[int], str]
) -> None:
    """Refuse numbers that cannot be compared. `path` names the field of a row."""
    unfit = _find_unfit(vectors, given, options)
    if unfit is not None:
        name = path(unfit[0])
        details = {"item": int(name.partition("[")[2].partition("]")[0])} if "[" in name else None
        raise ErrBadRequest(f"`{name}` {unfit[1]}", field=name, details=details)


def check_copied(options: IndexOptions, ids: Sequence[str], vectors: Sequence[bytes]) -> None:
    """Check stored items for another index: its distance may need what theirs does not. Raises ErrBadRequest."""
    unfit = _find_unfit(*join_vectors(vectors, options.dimension), options)
    if unfit is not None:
        raise ErrBadRequest(f"the vector of the item {ids[unfit[0]]!r} of `source` {unfit[1]}", field="source")


def _find_unfit(
    vectors: NDArray[np.float32], given: NDArray[np.bool_], options: IndexOptions
) -> tuple[int, str] | None:
    """The first row that cannot be compared, and why."""
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        return int(np.argmin(finite)), "has a component that is not a finite number"
    if options.distance == "cosine":
        zero = given & ~vectors.any(axis=1)
        return (int(np.argmax(zero)), "has a norm of zero, and the cosine needs a direction") if zero.any() else None
    large = (np.abs(vectors) > MAX_COMPONENT).any(axis=1)
    return (int(np.argmax(large)), f"has a component beyond {MAX_COMPONENT:g}") if large.any() else None
