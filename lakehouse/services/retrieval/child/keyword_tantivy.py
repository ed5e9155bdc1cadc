"""The keyword index on tantivy, with its English stemmer.

The writer is used by one thread and the searcher by another one. The version of a commit is a document of its own
(field `version`), so it becomes durable in the same moment as the rows.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tantivy
from tantivy import Document, Filter, Occur, Query, TextAnalyzerBuilder, Tokenizer

from lakehouse.services.retrieval.child.keyword import (
    MAX_LISTED_ROWS,
    MAX_QUERY_CHARACTERS,
    MAX_TERMS,
    Allowed,
    Floats,
    KeywordIndexError,
    ListRows,
    Rows,
    no_hits,
)

HEAP_SIZE = 32 * 2**20
"""Bytes that the writer collects before it writes a segment."""
LONGEST_TERM = 40
MAIN_SHARE = 0.5
"""Part of all rows from which the indexes of a search are filtered after it: a filter inside costs up to 4 ms."""
LONG_LIST = 20_000
"""Matches that are fetched to filter them; where more are needed, the rows that the filter lets through are listed."""
MARK = 2**63
"""In the field `number`: the document that has the version."""
FOOTER = struct.Struct("<II")
FOOTER_MAGIC = 1337


class TantivyIndex:
    """See `KeywordIndex`."""

    engine = "tantivy"

    def __init__(self, folder: Path) -> None:
        """Open or create the index. Raises KeywordIndexError for damaged files."""
        self._folder = folder
        try:
            remove_leftovers(folder)
            check_files(folder)
            self._schema = make_schema()
            self._index = tantivy.Index(self._schema, str(folder))
            self._index.config_reader("manual")
            self._reload()
            self.version = self._read_version()
            self._writer = self._index.writer(HEAP_SIZE, 1)
        except (ValueError, OSError) as error:  # what tantivy raises, and what reading the files raises
            raise KeywordIndexError(f"the keyword index in {folder} cannot be opened: {error}") from error
        self._analyzer = make_analyzer()

    def add(self, rows: Sequence[int], index: int, texts: Sequence[str]) -> None:
        """See `KeywordIndex`."""
        for row, text in zip(rows, texts, strict=True):
            document = Document()
            document.add_unsigned("row", row)
            document.add_unsigned("number", index)
            document.add_text("text", text)
            self._writer.add_document(document)

    def delete(self, rows: Sequence[int]) -> None:
        """See `KeywordIndex`."""
        for start in range(0, len(rows), MAX_LISTED_ROWS):
            part = np.array(rows[start : start + MAX_LISTED_ROWS], dtype=np.int64)
            self._writer.delete_documents_by_query(self._any_row(part))

    def delete_index(self, index: int) -> None:
        """See `KeywordIndex`."""
        self._writer.delete_documents_by_query(self._term("number", index))

    def commit(self, version: int) -> None:
        """See `KeywordIndex`."""
        # not delete_documents_by_term: in tantivy 0.27 it makes a signed term, which no unsigned field has
        self._writer.delete_documents_by_query(self._term("number", MARK))
        mark = Document()
        mark.add_unsigned("number", MARK)
        mark.add_unsigned("version", version)
        self._writer.add_document(mark)
        self._writer.commit()
        self._reload()
        self.version = version

    def reset(self) -> None:
        """See `KeywordIndex`."""
        self._writer.rollback()  # also starts the threads again that an error has ended
        remove_leftovers(self._folder)
        self._reload()
        self.version = self._read_version()

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
        self._writer.rollback()
        self._writer.wait_merging_threads()

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


def make_schema() -> tantivy.Schema:
    """Frequencies without positions: no query needs them."""
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", indexed=True, fast=True)
    builder.add_unsigned_field("number", indexed=True, fast=True)
    builder.add_unsigned_field("version", fast=True)
    builder.add_text_field("text", tokenizer_name="en_stem", index_option="freq")
    return builder.build()


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


def remove_leftovers(folder: Path) -> None:
    """Remove the files that the last commit does not name.

    A process that is killed during a commit leaves them. The next commit has the same number, and fails if its files
    are there.
    """
    listing = folder / "meta.json"
    if not listing.exists():
        return
    segments = read_segments(listing)
    for file in folder.iterdir():
        segment, _, rest = file.name.partition(".")
        number, is_deletion, _ = rest.partition(".del")
        if segment not in segments:
            unused = bool(segment) or file.name.startswith(".tmp")
        else:
            unused = bool(is_deletion) and number != segments[segment]
        if unused and file.name != listing.name:
            file.unlink()


def read_segments(listing: Path) -> dict[str, str]:
    """The segments of the last commit, each with the number of its file of deletions or an empty string.

    Raises KeywordIndexError.
    """
    try:
        segments = json.loads(listing.read_bytes())["segments"]
        return {
            segment["segment_id"].replace("-", ""): str((segment.get("deletes") or {}).get("opstamp", ""))
            for segment in segments
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeywordIndexError(f"{listing} is damaged") from error


def check_files(folder: Path) -> None:
    """Compare all files of the last commit with the checksums that tantivy wrote, which it does not do by itself.

    An index of 55,000 texts has 8 MB. Raises KeywordIndexError.
    """
    listing = folder / "meta.json"
    if not listing.exists():
        return
    for file in files_of(folder, read_segments(listing)):
        if not has_checksum(file):
            raise KeywordIndexError(f"{file} is damaged")


def files_of(folder: Path, segments: Iterable[str]) -> Iterator[Path]:
    """The files of some segments."""
    names = set(segments)
    return (file for file in folder.iterdir() if file.name.partition(".")[0] in names)


def has_checksum(file: Path) -> bool:
    """Whether the body of a file has the CRC-32 that its footer says: body, JSON, its length, a magic number."""
    content = memoryview(file.read_bytes())
    if len(content) < FOOTER.size:
        return False
    length, magic = FOOTER.unpack_from(content, len(content) - FOOTER.size)
    body = len(content) - FOOTER.size - length
    if magic != FOOTER_MAGIC or body < 0:
        return False
    try:
        footer = json.loads(bytes(content[body : body + length]))
        return bool(footer["crc"] == zlib.crc32(content[:body]))
    except (ValueError, KeyError, TypeError):
        return False
