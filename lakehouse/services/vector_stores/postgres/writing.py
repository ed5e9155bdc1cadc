"""Items into the tables of an index, with the statistics of their words and tokens, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.core.errors import ErrBadRequest, ErrConflict
from lakehouse.services.contracts.retrieval import Written
from lakehouse.services.contracts.vector_store import StoreWrite, make_not_found, make_replaced
from lakehouse.services.postgres.session import Session
from lakehouse.services.vector_stores.postgres import staging
from lakehouse.services.vector_stores.postgres.approximate import measure_if_grown
from lakehouse.services.vector_stores.postgres.filter_sql import make_condition
from lakehouse.services.vector_stores.postgres.records import Record, create_record, find_records, is_storable

_PLACES = "generate_series(0, octet_length(tokens) / 2 - 1) AS place"
"""The places of the tokens of a row, which are uint16, the low byte first."""
_NUMBER = "get_byte(tokens, 2 * place) + 256 * get_byte(tokens, 2 * place + 1)"

SCALE = """
UPDATE staged_items SET given = vector_send(vec), vec = l2_normalize(vec)
WHERE vector_norm(vec) NOT BETWEEN 1e-15 AND 1e15
"""
"""Lengths whose squares float32 cannot hold, for vectors of which only the direction counts."""


@dataclass(slots=True)
class Statistics:
    """What a transaction has added to an index, and taken from it."""

    items: int = 0
    documents: int = 0
    words: int = 0
    tokenized: int = 0


def write(session: Session, wanted: StoreWrite) -> Written:
    """Run a write. Raises ErrNotFound, ErrConflict."""
    if not is_storable(wanted.replace_source):
        raise ErrBadRequest("`source` must not have a NUL", field="source")
    record = _find_or_create(session, wanted)
    staging.prepare(session)
    writer = ItemWriter(session, record)
    if wanted.items:
        staging.stage(session, wanted.items)
    deleted = writer.delete(wanted)
    added = replaced = 0
    if wanted.items:
        added, replaced = writer.put(wanted.replace_source)
    after = writer.finish(wanted.source_state)
    return Written(added=added, replaced=replaced, deleted=deleted, length=after.length, version=after.version)


def _find_or_create(session: Session, wanted: StoreWrite) -> Record:
    record = find_records(session, [wanted.index], lock=True).get(wanted.index)
    if record is None:
        if not wanted.create:
            raise make_not_found(wanted.index)
        try:
            return create_record(session, wanted.options)
        except ErrConflict:  # another service was quicker, with a transaction that has ended by now
            record = find_records(session, [wanted.index], lock=True)[wanted.index]
    if record.options != wanted.options:
        raise make_replaced(wanted.index)
    return record


class ItemWriter:
    """Writes to one index, whose record is locked. What is written stands in `staged_items`."""

    def __init__(self, session: Session, record: Record) -> None:
        self.record = record
        self._session = session
        self._tables = record.tables
        self._change = Statistics()

    def delete(self, wanted: StoreWrite) -> int:
        """Delete by ids, by filter, and what a source has beside the staged items. Returns the number of items."""
        items = self._tables.items
        ids = [one for one in wanted.delete_ids if is_storable(one)]
        if ids:
            self._mark("id = ANY(%s)", (ids,))
        if wanted.delete_where is not None:
            condition = make_condition([wanted.delete_where], self.record.options.fields)
            self._mark(condition.text, condition.values)
        if wanted.replace_source:
            self._mark(
                f"source = %s AND NOT EXISTS (SELECT FROM staged_items s WHERE s.id = {items}.id)",
                (wanted.replace_source,),
            )
        return self.delete_marked() if ids or wanted.delete_where is not None or wanted.replace_source else 0

    def _mark(self, condition: str, values: tuple[object, ...]) -> None:
        """List items that are deleted."""
        self._session.execute(
            f"INSERT INTO staged_gone SELECT row, TRUE FROM {self._tables.items} WHERE {condition}"
            " ON CONFLICT DO NOTHING",
            values,
        )

    def delete_marked(self) -> int:
        """Delete the items that are listed in `staged_gone`. Returns their number."""
        self._forget_texts()
        deleted = self._session.execute(f"DELETE FROM {self._tables.items} USING staged_gone g WHERE {self._same('g')}")
        self._session.execute("DELETE FROM staged_gone")
        self._change.items -= deleted
        return deleted

    def _same(self, other: str) -> str:
        return f"{self._tables.items}.row = {other}.row"

    def put(self, source: str) -> tuple[int, int]:
        """Add the staged items and replace those with their ids. Returns how many were new and how many were not."""
        session, items, texts = self._session, self._tables.items, self._tables.texts
        if self.record.options.distance == "cosine":
            session.execute(SCALE)
        known = session.execute(
            f"""
            UPDATE staged_items s SET metadata = CASE WHEN s.metadata = '' THEN t.metadata ELSE s.metadata END,
                fields = CASE WHEN s.metadata = '' THEN i.fields ELSE s.fields END
            FROM {items} i JOIN {texts} t USING (row) WHERE i.id = s.id
            """
        )
        if known:
            session.execute(
                f"""
                INSERT INTO staged_gone SELECT i.row, FALSE FROM {items} i JOIN staged_items s USING (id)
                WHERE s.text IS NOT NULL
                """
            )
            self._forget_texts()
            session.execute("DELETE FROM staged_gone")
        session.execute(
            f"""
            INSERT INTO {items} (id, source, digest, fields, vec)
            SELECT id, CASE WHEN %s = '' THEN source ELSE %s END, digest, fields, vec
            FROM staged_items ORDER BY position
            ON CONFLICT (id) DO UPDATE SET source = excluded.source, digest = excluded.digest,
                fields = excluded.fields, vec = excluded.vec
            """,
            (source, source),
        )
        if known:
            session.execute(
                f"""
                UPDATE {texts} t SET metadata = s.metadata, given = s.given
                FROM staged_items s JOIN {items} i USING (id)
                WHERE t.row = i.row AND s.text IS NULL
                """
            )
        self._remember_texts(
            f"""
            SELECT i.row, s.text, s.metadata, s.given, s.tokens, s.words, s.counts, s.length, s.norm
            FROM staged_items s JOIN {items} i USING (id)
            WHERE NOT EXISTS (SELECT FROM {texts} t WHERE t.row = i.row)
            """
        )
        staged = session.fetch_one("SELECT count(*) FROM staged_items")
        added = (int(staged[0]) if staged else 0) - known
        self._change.items += added
        return added, known

    def _forget_texts(self) -> None:
        """Remove the texts of the rows in `staged_gone`, with their words and tokens."""
        session, tables = self._session, self._tables
        session.execute("ANALYZE staged_gone (row)")
        gone = f"{tables.texts} t JOIN staged_gone g USING (row)"
        found = session.fetch_one(
            f"""
            SELECT count(*), count(*) FILTER (WHERE length > 0), coalesce(sum(length), 0),
                count(*) FILTER (WHERE tokens <> '') FROM {gone}
            """
        )
        if found is None or not found[0]:
            return
        _, documents, words, tokenized = map(int, found)
        if documents:
            session.execute(
                f"""
                DELETE FROM {tables.words} w
                USING (SELECT t.row, unnest(string_to_array(t.words, ' ')) AS word FROM {gone}) d
                WHERE w.word = d.word AND w.row = d.row
                """
            )
        if tokenized:
            session.execute(
                f"""
                UPDATE {tables.tokens} k SET items = k.items - d.items
                FROM (SELECT {_NUMBER} AS token, count(*) AS items FROM {gone}, {_PLACES} GROUP BY 1) d
                WHERE k.token = d.token
                """
            )
        session.execute(f"DELETE FROM {tables.texts} t USING staged_gone g WHERE t.row = g.row")
        self._change.documents -= documents
        self._change.words -= words
        self._change.tokenized -= tokenized

    def remember_copies(self, source: Record) -> None:
        """Add the texts of the items in `staged_copies`, which are those of another index."""
        texts = source.tables.texts
        self._remember_texts(
            f"""
            SELECT c.new AS row, s.text, s.metadata, s.given, s.tokens, s.words, s.counts, s.length, s.norm
            FROM {texts} s JOIN staged_copies c ON c.old = s.row
            """
        )
        copied = self._session.fetch_one("SELECT count(*) FROM staged_copies")
        self._change.items += int(copied[0]) if copied else 0

    def _remember_texts(self, chosen: str) -> None:
        """Add texts, with their words and tokens."""
        session, tables = self._session, self._tables
        found = session.fetch_one(
            f"""
            WITH chosen AS MATERIALIZED ({chosen}),
            texts AS (
                INSERT INTO {tables.texts} (row, text, metadata, given, tokens, words, counts, length, norm)
                SELECT row, text, metadata, given, tokens, words, counts, length, norm FROM chosen
            ),
            words AS (
                INSERT INTO {tables.words} (word, row, count, norm)
                SELECT w.word, row, w.count::integer, norm FROM chosen,
                    unnest(string_to_array(words, ' '), string_to_array(counts, ' ')) AS w (word, count)
                WHERE length > 0 ORDER BY w.word, row
            ),
            tokens AS (
                INSERT INTO {tables.tokens} AS k (token, items)
                SELECT {_NUMBER}, count(*) FROM chosen, {_PLACES} WHERE tokens <> '' GROUP BY 1 ORDER BY 1
                ON CONFLICT (token) DO UPDATE SET items = k.items + excluded.items
            )
            SELECT count(*) FILTER (WHERE length > 0), coalesce(sum(length), 0), count(*) FILTER (WHERE tokens <> '')
            FROM chosen
            """
        )
        documents, words, tokenized = map(int, found or (0, 0, 0))
        self._change.documents += documents
        self._change.words += words
        self._change.tokenized += tokenized

    def finish(self, source_state: bytes = b"") -> Record:
        """Record what the index is after the write, which ends the transaction's work on it."""
        change = self._change
        self._session.execute(
            """
            UPDATE vector_indexes SET version = version + 1, length = length + %s, documents = documents + %s,
                words = words + %s, tokenized = tokenized + %s,
                source = CASE WHEN %s = ''::bytea THEN source ELSE %s END
            WHERE number = %s
            """,
            (
                change.items,
                change.documents,
                change.words,
                change.tokenized,
                source_state,
                source_state,
                self.record.number,
            ),
        )
        after = find_records(self._session, [self.record.options.name])[self.record.options.name]
        measure_if_grown(self._session, after)
        return after
