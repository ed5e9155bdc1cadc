"""The passages for a question: items of corpora, found by matrixd, and rows of tables, found by words with SQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

import msgspec
import trio
from msgspec import UNSET

from lakehouse.ask.answer import Passage
from lakehouse.ask.request import AskRequest
from lakehouse.ask.table_search import MAX_ROWS, Column, find_words, make_statement, read_rows, searched_columns
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrNotFound, ErrUpstream

PASSAGE_TOKENS = 700
"""The tokens that a passage may have on average: what does not fit into `k` times as many is left out by matrixd."""

MAX_TEXT = 8_000
"""Characters of a passage. A longer item is cut: its answer shows what the model was given."""

PLAYBOOKS = "playbook_memory"
"""The index of past queries, which is no corpus to answer from."""

TRACES = "pathway_memory"
"""The index of pathwayd's traces, which has those that are retired as well."""

T = TypeVar("T")


class DataServices(Protocol):
    """Calls data services by name, such as `gateway.service_calls.ServiceCalls`."""

    async def call(
        self, service: str, method: str, path: str, document: object = None, *, context: RequestContext
    ) -> bytes: ...


class Retrieved(NamedTuple):
    """The passages, numbered from 1, and what the reader of the answer has to know about the search."""

    passages: tuple[Passage, ...]
    warnings: tuple[str, ...]


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    corpus: str
    id: str
    text: str | None = None
    distance: float | None = None
    score: float | None = None
    metadata: dict[str, Any] | None = None


class _Context(msgspec.Struct, frozen=True, kw_only=True):
    passages: tuple[_Found, ...]
    failed: dict[str, str] = {}


class _Index(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    model: str | None = None


class _Indexes(msgspec.Struct, frozen=True, kw_only=True):
    indexes: tuple[_Index, ...]


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    columns: tuple[Column, ...]
    row_count: int
    snapshot_id: str


class _Rows(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[tuple[object, ...], ...]


async def retrieve(request: AskRequest, services: DataServices, context: RequestContext) -> Retrieved:
    """Find the passages for a request. Its corpora and its tables are searched at the same time.

    At most `request.limit` passages are taken, in turn the best one of the corpora and of each table. Raises the errors
    of the services, alone or in groups; a failure of one search cancels the others.
    """
    search = _Search(request, services, context)
    lists: list[Sequence[Passage]] = [()] * (1 + len(request.tables))

    async def search_corpora() -> None:
        lists[0] = await search.find_items()

    async def search_table(position: int, table: str) -> None:
        lists[position] = await search.find_rows(table)

    async with trio.open_nursery() as nursery:
        if request.corpora != ():
            nursery.start_soon(search_corpora)
        for position, table in enumerate(request.tables, 1):
            nursery.start_soon(search_table, position, table)
    merged = list(_take_in_turn(lists))[: request.limit]
    numbered = [msgspec.structs.replace(passage, n=number) for number, passage in enumerate(merged, 1)]
    return Retrieved(tuple(numbered), tuple(sorted(search.warnings)))


class _Search:
    """The searches of one request, and their warnings."""

    def __init__(self, request: AskRequest, services: DataServices, context: RequestContext) -> None:
        self.warnings: list[str] = []
        self._request = request
        self._services = services
        self._context = context

    async def find_items(self) -> tuple[Passage, ...]:
        """The items of the corpora, the nearest first; those without a text are left out.

        One failing corpus fails the search, unless no corpora were named: then the others are searched.
        """
        corpora = self._request.corpora
        if corpora is None:
            corpora = await self._list_corpora()
        if not corpora:
            return ()
        limit = self._request.limit
        document = {
            "query_text": self._request.question,
            "corpora": [_choose(name) for name in corpora],
            "k": limit,
            "max_tokens": PASSAGE_TOKENS * limit,
            "partial": self._request.corpora is None,
        }
        body = await self._services.call("matrixd", "POST", "/matrix/context", document, context=self._context)
        found = _decode("matrixd", body, _Context)
        self.warnings += [f"the corpus {name} was not searched: {why}" for name, why in found.failed.items()]
        return tuple(_make_passage(item, item.text) for item in found.passages if item.text and item.text.strip())

    async def _list_corpora(self) -> tuple[str, ...]:
        """The indexes that hold texts."""
        body = await self._services.call("matrixd", "GET", "/matrix/corpora", context=self._context)
        listed = _decode("matrixd", body, _Indexes).indexes
        return tuple(index.name for index in listed if index.model and index.name != PLAYBOOKS)

    async def find_rows(self, table: str) -> tuple[Passage, ...]:
        """The rows of a table that have words of the question, the best first."""
        words = find_words(self._request.question)
        manifest = await self._describe(table)
        columns = searched_columns(manifest.columns)
        if not words or not columns:
            return ()
        if manifest.row_count > MAX_ROWS:
            self.warnings.append(f"of the {manifest.row_count:,} rows of {table} the first {MAX_ROWS:,} were searched")
        sql, params = make_statement(table, columns, words, self._request.limit)
        query = {"sql": sql, "engine": "duckdb", "params": params, "snapshot": manifest.snapshot_id}
        body = await self._services.call("queryd", "POST", "/sql", query, context=self._context)
        rows = read_rows(table, columns, _decode("queryd", body, _Rows).rows)
        return tuple(
            Passage(
                n=0,
                table=table,
                id=row.key,
                text=_cut(row.text),
                metadata={"row": row.number, "key": row.key_column, "snapshot_id": manifest.snapshot_id},
            )
            for row in rows
        )

    async def _describe(self, table: str) -> _Manifest:
        path = f"/catalog/manifest/{quote(table)}"
        try:
            body = await self._services.call("catalogd", "GET", path, context=self._context)
        except ErrNotFound as error:
            position = self._request.tables.index(table)
            raise ErrNotFound(f"`tables[{position}]`: {error.message}", field=f"tables[{position}]") from error
        return _decode("catalogd", body, _Manifest)


def _choose(corpus: str) -> str | dict[str, object]:
    """The corpus as matrixd has it. Nothing is answered from traces that are retired."""
    return {"name": corpus, "filter": {"not": {"retired": True}}} if corpus == TRACES else corpus


def _make_passage(item: _Found, text: str) -> Passage:
    return Passage(
        n=0,
        corpus=item.corpus,
        id=item.id,
        text=_cut(text),
        distance=UNSET if item.distance is None else item.distance,
        score=UNSET if item.score is None else item.score,
        metadata=UNSET if item.metadata is None else item.metadata,
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _decode(service: str, body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{service} answered with a document that is not understood: {error}"
        raise ErrUpstream(message, provider=service, error_class="upstream_error") from error


def _take_in_turn(lists: Iterable[Sequence[Passage]]) -> Iterator[Passage]:
    """The first passage of each list, then the second ones, and so on."""
    for turn in zip_longest(*lists):
        yield from (passage for passage in turn if passage is not None)
