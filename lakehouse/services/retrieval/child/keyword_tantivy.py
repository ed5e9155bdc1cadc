"""The keyword index on tantivy, with its English stemmer: searches, and the process that writes.

The process is used by one thread and the searcher by another one. The version of a commit is a document of its own
(field `version`), so it becomes durable in the same moment as the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import tantivy
from tantivy import Filter, Occur, Query, TextAnalyzerBuilder, Tokenizer

from lakehouse.services.retrieval.child.keyword import (
    MAX_QUERY_CHARACTERS,
    MAX_TERMS,
    Allowed,
    Floats,
    KeywordIndexError,
    ListRows,
    Rows,
    no_hits,
)
from lakehouse.services.retrieval.child.keyword_child import MARK, make_schema
from lakehouse.services.retrieval.child.keyword_files import check_files, remove_leftovers
from lakehouse.services.retrieval.child.keyword_process import KeywordProcess

LONGEST_TERM = 40
MAIN_SHARE = 0.5
"""Part of all rows from which the indexes of a search are filtered after it: a filter inside costs up to 4 ms."""
LONG_LIST = 20_000
"""Matches that are fetched to filter them; where more are needed, the rows that the filter lets through are listed."""


class TantivyIndex:
    """See `KeywordIndex`."""

    engine = "tantivy"

    def __init__(self, folder: Path) -> None:
        """Open or create the index. Raises KeywordIndexError for damaged files."""
        self._folder = folder
        self._process = KeywordProcess(folder)  # first: a copy of this process would keep files that are removed later
        try:
            remove_leftovers(folder)
            check_files(folder)
            self._schema = make_schema()
            self._index = tantivy.Index(self._schema, str(folder))
            self._index.config_reader("manual")
            self._reload()
            self.version = self._read_version()
        except (ValueError, OSError, KeywordIndexError) as error:  # of tantivy, of reading files, of checking them
            self._process.close()
            raise KeywordIndexError(f"the keyword index in {folder} cannot be opened: {error}") from error
        self._analyzer = make_analyzer()

    def add(self, rows: Sequence[int], index: int, texts: Sequence[str]) -> None:
        """See `KeywordIndex`."""
        self._process.add(rows, index, texts)

    def delete(self, rows: Sequence[int]) -> None:
        """See `KeywordIndex`."""
        self._process.delete(rows)

    def delete_index(self, index: int) -> None:
        """See `KeywordIndex`."""
        self._process.delete_index(index)

    def commit(self, version: int) -> None:
        """See `KeywordIndex`."""
        self._process.commit(version)
        self._reload()
        self.version = version

    def reset(self) -> None:
        """See `KeywordIndex`."""
        self._process.kill()
        remove_leftovers(self._folder)
        self._reload()
        self.version = self._read_version()

    def end_merges(self) -> None:
        """See `KeywordIndex`."""
        self._process.kill()

    def search(
        self,
        text: str,
        indexes: Sequence[int],
        limit: int,
        allowed: Allowed | None = None,
        rows: Rows | None = None,
        list_allowed: ListRows | None = None,
    ) -> tuple[Rows, Floats]:
        """See `KeywordIndex`."""
        searcher = self._searcher
        query = self._make_query(searcher, text)
        if query is None or not indexes or limit < 1:
            return no_hits()
        if rows is not None:
            return self._fetch_listed(searcher, query, indexes, limit, rows)

        def list_instead(size: int) -> tuple[Rows, Floats] | None:
            if list_allowed is None or size <= LONG_LIST:
                return None
            listed = list_allowed()
            few = len(listed) < 2 * size
            return self._fetch_listed(searcher, query, indexes, limit, listed) if few else None

        if self._share(searcher, indexes) < MAIN_SHARE:
            own = self._restrict(query, [self._any_index(indexes)])
            return fetch_allowed(searcher, own, limit, None, allowed, list_instead)
        return fetch_allowed(searcher, query, limit, indexes, allowed, list_instead)

    def close(self) -> None:
        """See `KeywordIndex`."""
        self._process.close()

    def _reload(self) -> None:
        self._index.reload()
        self._searcher = self._index.searcher()

    def _fetch_listed(
        self, searcher: tantivy.Searcher, query: Query, indexes: Sequence[int], limit: int, rows: Rows
    ) -> tuple[Rows, Floats]:
        if not len(rows):
            return no_hits()
        return fetch(searcher, self._restrict(query, [self._any_row(rows), self._any_index(indexes)]), limit)

    def _read_version(self) -> int:
        query = Query.term_query(self._schema, "number", MARK)
        marks = self._searcher.search(query, 1, count=False).hits
        versions = self._searcher.fast_field_values("version", [address for _, address in marks])
        return int(versions[0] or 0) if versions else 0

    def _make_query(self, searcher: tantivy.Searcher, text: str) -> Query | None:
        terms = list(dict.fromkeys(self._analyzer.analyze(text[:MAX_QUERY_CHARACTERS])))
        if len(terms) > MAX_TERMS:
            terms = sorted(terms, key=lambda term: searcher.doc_freq("text", term) or MARK)[:MAX_TERMS]
        if not terms:
            return None
        return Query.boolean_query([(Occur.Should, self._term("text", term)) for term in terms])

    def _term(self, field: str, value: str | int) -> Query:
        return Query.term_query(self._schema, field, value, "freq")

    def _any_row(self, rows: Rows) -> Query:
        return Query.term_set_query(self._schema, "row", rows.tolist())

    def _any_index(self, indexes: Iterable[int]) -> Query:
        return Query.term_set_query(self._schema, "number", list(indexes))

    def _restrict(self, query: Query, conditions: Iterable[Query]) -> Query:
        silent = [(Occur.Must, Query.const_score_query(condition, 0.0)) for condition in conditions]
        return Query.boolean_query([(Occur.Must, query), *silent])

    def _share(self, searcher: tantivy.Searcher, indexes: Sequence[int]) -> float:
        own = sum(searcher.doc_freq("number", index) for index in indexes)
        return own / max(searcher.num_docs, 1)


def make_analyzer() -> tantivy.TextAnalyzer:
    """The steps of tantivy's `en_stem`, for queries."""
    builder = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(LONGEST_TERM))
    return builder.filter(Filter.lowercase()).filter(Filter.stemmer("english")).build()


def fetch(searcher: tantivy.Searcher, query: Query, limit: int) -> tuple[Rows, Floats]:
    """The best rows of a query with their scores, without a count of all: tantivy then skips most of them."""
    hits = searcher.search(query, bound_limit(searcher, limit), count=False).hits
    rows = searcher.fast_field_values("row", [address for _, address in hits])
    return np.array(rows, dtype=np.int64), np.array([score for score, _ in hits], dtype=np.float32)


def fetch_allowed(
    searcher: tantivy.Searcher,
    query: Query,
    limit: int,
    indexes: Sequence[int] | None,
    allowed: Allowed | None,
    list_instead: Callable[[int], tuple[Rows, Floats] | None],
) -> tuple[Rows, Floats]:
    """The best rows that `allowed` lets through and that belong to `indexes` (None: all of the query do).

    Fetches more of the list until `limit` rows are there or it ends. The next length follows from the part that was
    let through so far; `list_instead` is asked with it, and may have all results by a search among the allowed rows.
    """
    size = bound_limit(searcher, limit if allowed is None else 2 * limit)
    while True:
        hits = searcher.search(query, size, count=False).hits
        addresses = [address for _, address in hits]
        rows = np.array(searcher.fast_field_values("row", addresses), dtype=np.int64)
        mask = np.ones(len(rows), dtype=np.bool_) if allowed is None else allowed(rows)
        if indexes is not None:
            mask = mask & np.isin(np.array(searcher.fast_field_values("number", addresses)), list(indexes))
        if len(hits) < size or np.count_nonzero(mask) >= limit:
            scores = np.array([score for score, _ in hits], dtype=np.float32)
            return rows[mask][:limit], scores[mask][:limit]
        share = max(int(np.count_nonzero(mask)), 1) / len(rows)
        size = bound_limit(searcher, max(4 * size, int(1.5 * limit / share)))
        if (found := list_instead(size)) is not None:
            return found


def bound_limit(searcher: tantivy.Searcher, limit: int) -> int:
    """At most one more than all documents, and at least 1: tantivy reserves memory for the limit at once."""
    return min(limit, searcher.num_docs + 1)
