"""A search as one task for each index that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from lakehouse.core.errors import ErrBadRequest, ErrConflict, LakehouseError
from lakehouse.services.contracts.retrieval import CorpusQuery, IndexOptions, SearchQuery
from lakehouse.services.retrieval.child.index import MemoryIndex
from lakehouse.services.retrieval.child.items import check_vectors
from lakehouse.services.retrieval.child.pending import Pending
from lakehouse.services.retrieval.child.quantization import to_search_space
from lakehouse.services.retrieval.child.scan import NOTHING, Found, Mask
from lakehouse.services.retrieval.child.texts import TextModel
from lakehouse.services.retrieval.messages import CANDIDATES, Search, SearchMany

MAX_K = 10_000


@dataclass(slots=True, kw_only=True)
class Task:
    """The search of one index. `vector` is in the search space; None if the query has none for it."""

    name: str
    filters: tuple[bytes, ...]
    given: bytes
    index: MemoryIndex | None = None
    vector: NDArray[np.float32] | None = None
    mask: Mask | None = None
    found: Found = NOTHING
    exact: bool = True
    failure: LakehouseError | None = None

    @property
    def opened(self) -> MemoryIndex:
        """The index of a task that has not failed, which is opened before anything else is done."""
        if self.index is None:
            raise RuntimeError(f"the index {self.name!r} is not open")
        return self.index


@dataclass(slots=True, kw_only=True)
class SearchRun:
    """One search: the calls that ask for it (equal ones share it), its query and its tasks."""

    pendings: list[Pending]
    query: SearchQuery
    tasks: list[Task]
    many: bool
    per_corpus_k: int
    tokens: NDArray[np.uint16] = field(default_factory=lambda: np.empty(0, np.uint16))
    body: bytes | None = None

    @property
    def list_length(self) -> int:
        """The number of nearest vectors of each index; in a hybrid search also that of texts by keywords, of all."""
        return max(CANDIDATES, self.query.k) if self.query.mode == "hybrid" else self.per_corpus_k

    @property
    def open_tasks(self) -> list[Task]:
        """The tasks that have not failed."""
        return [task for task in self.tasks if task.failure is None]


def make_run(pending: Pending) -> SearchRun:
    """The run of a call. Raises ErrBadRequest for a query that fits no index."""
    call = pending.call
    if isinstance(call, Search):
        check_query(call.query)
        task = make_task(CorpusQuery(index=call.index), call.query)
        return SearchRun(pendings=[pending], query=call.query, tasks=[task], many=False, per_corpus_k=call.query.k)
    if not isinstance(call, SearchMany):
        raise TypeError(f"{type(call).__name__} does not search")
    check_query(call.query)
    if not call.corpora:
        _refuse("corpora", "must name at least one index")
    check_per_corpus(call.per_corpus_k)
    tasks = [make_task(corpus, call.query) for corpus in call.corpora]
    return SearchRun(pendings=[pending], query=call.query, tasks=tasks, many=True, per_corpus_k=call.per_corpus_k)


def make_task(corpus: CorpusQuery, query: SearchQuery) -> Task:
    """The task of one index."""
    filters = tuple(document for document in (query.filter, corpus.filter) if document)
    return Task(name=corpus.index, filters=filters, given=corpus.vector or query.vector)


def check_query(query: SearchQuery) -> None:
    """Refuse what no index can answer."""
    if not 1 <= query.k <= MAX_K:
        _refuse("k", f"must be 1 to {MAX_K}")
    if query.mode == "vector" and not query.vector and not query.text:
        _refuse("vector", "is required, or a text")
    if query.mode != "vector" and not query.text:
        _refuse("text", f"is required for the mode {query.mode!r}")
    if query.weight is not None and not 0 <= query.weight <= 1:
        _refuse("weight", "must be 0 to 1")


def check_per_corpus(per_corpus_k: int) -> None:
    """Refuse a number of candidates that a search of several indexes cannot have."""
    if not 1 <= per_corpus_k <= MAX_K:
        _refuse("per_corpus_k", f"must be 1 to {MAX_K}")


def _refuse(field_name: str, what: str) -> NoReturn:
    raise ErrBadRequest(f"`{field_name}` {what}", field=field_name)


def needs_text(task: Task, query: SearchQuery, model: TextModel) -> bool:
    """Whether the engine embeds the text of the query for this task."""
    return embeds_text(task.given, query, task.opened.record.options, model)


def embeds_text(given: bytes, query: SearchQuery, options: IndexOptions, model: TextModel) -> bool:
    """Whether the engine embeds the text of a query for an index with these options."""
    return not given and bool(query.text) and model.embeds(options)


def prepare_vector(task: Task, query: SearchQuery, embedded: NDArray[np.float32] | None) -> None:
    """Set the vector of a task. Raises ErrBadRequest, ErrConflict."""
    task.vector = make_vector(task.given, query, task.opened.record.options, embedded)


def make_vector(
    given: bytes, query: SearchQuery, options: IndexOptions, embedded: NDArray[np.float32] | None
) -> NDArray[np.float32] | None:
    """The vector of a query in the search space of an index, None for none. Raises ErrBadRequest, ErrConflict."""
    if query.mode != "vector" and not options.keyword:
        _refuse("mode", f"cannot be {query.mode!r}: the index {options.name!r} has no keyword search")
    if given:
        return decode_vector(given, options, query.model)
    if embedded is not None and embedded.any():
        return to_search_space(embedded[None, :], options.distance).reshape(-1)
    if query.mode == "vector" and embedded is not None:
        _refuse("text", "has no words that the model knows")
    if query.mode != "keyword" and embedded is None:
        _refuse("vector", f"is required: the engine does not embed texts with the model {options.model!r}")
    return None


def decode_vector(vector: bytes, options: IndexOptions, model: str) -> NDArray[np.float32]:
    """The vector of a query in the search space of an index."""
    if model and options.model and model != options.model:
        raise ErrConflict(
            f"the query's vector is of the model {model!r}, and the index {options.name!r} of {options.model!r}",
            field="model",
        )
    if len(vector) != options.dimension * 4:
        _refuse(
            "vector",
            f"has {len(vector) // 4} components, and the index {options.name!r} has {options.dimension} dimensions",
        )
    decoded = np.frombuffer(vector, "<f4").reshape(1, -1)
    check_vectors(decoded, np.ones(1, np.bool_), options, lambda _: "vector")
    return to_search_space(decoded, options.distance).reshape(-1)
