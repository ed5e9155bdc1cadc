"""Raw lists of a search: by vector, by word, and what belongs to the candidates. All are of one state of the tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from lakehouse.services.contracts.vector_store import (
    Candidate,
    Candidates,
    CandidateSearch,
    CorpusSearch,
    make_replaced,
)
from lakehouse.services.postgres.session import Session
from lakehouse.services.vector_stores.postgres import approximate
from lakehouse.services.vector_stores.postgres.filter_sql import Sql, make_condition
from lakehouse.services.vector_stores.postgres.records import Record, find_records
from lakehouse.services.vector_stores.postgres.staging import write_vector
from lakehouse.services.vector_stores.postgres.tables import OPERATORS

MAX_WORDS = 64
"""Stems of a query; of more of them the rarest are searched, since common ones decide little and cost most."""
K1, B = 1.2, 0.75
"""The constants of BM25, those of the keyword index of the folder."""


@dataclass(slots=True)
class _Corpus:
    """One index of a search, and its candidates by row."""

    record: Record
    vector: str
    condition: Sql
    filtered: bool
    ranks: dict[int, int] = field(default_factory=dict)
    keywords: dict[int, tuple[int, float]] = field(default_factory=dict)
    exact: bool = True


def search(session: Session, wanted: CandidateSearch) -> Candidates:
    """Find candidates. Raises ErrConflict for an index that was replaced meanwhile."""
    records = find_records(session, [one.index for one in wanted.corpora])
    corpora = [_open(records, one) for one in wanted.corpora]
    for corpus in corpora:
        if wanted.nearest and corpus.vector:
            _find_nearest(session, corpus, wanted.nearest)
    if wanted.by_words and wanted.words:
        _find_words(session, corpora, wanted)
    found = [one for number, corpus in enumerate(corpora) for one in _read(session, number, corpus, wanted)]
    counted = _count_tokens(session, corpora, wanted)
    return Candidates(
        found=found,
        versions=[corpus.record.version for corpus in corpora],
        exact=[corpus.exact for corpus in corpora],
        frequencies=counted,
        documents=sum(corpus.record.tokenized for corpus in corpora) if counted else 0,
    )


def _open(records: dict[str, Record], wanted: CorpusSearch) -> _Corpus:
    record = records.get(wanted.index)
    if record is None or record.identity != wanted.identity:
        raise make_replaced(wanted.index)
    return _Corpus(
        record=record,
        vector=write_vector(wanted.vector) if wanted.vector else "",
        condition=make_condition(wanted.filters, record.options.fields),
        filtered=bool(wanted.filters),
    )


def _find_nearest(session: Session, corpus: _Corpus, limit: int) -> None:
    record, condition = corpus.record, corpus.condition
    distance = f"vec {OPERATORS[record.options.distance]} %s::vector"
    statement = f"SELECT row FROM {record.tables.items} WHERE vec IS NOT NULL AND {condition.text}"
    if approximate.serves(record, filtered=corpus.filtered, limit=limit):
        session.execute(approximate.BY_GRAPH)
        rows = session.fetch(f"{statement} ORDER BY {distance} LIMIT {limit}", (*condition.values, corpus.vector))
        session.execute("SET LOCAL enable_seqscan = on")
        corpus.exact = False
    else:
        # Materialized, since the order by distance would let the graph in; equal distances stay in their order.
        rows = session.fetch(
            f"""
            WITH far AS MATERIALIZED (
                SELECT row, {distance} AS distance FROM {record.tables.items} WHERE vec IS NOT NULL AND {condition.text}
            )
            SELECT row FROM far ORDER BY distance, row LIMIT {limit}
            """,
            (corpus.vector, *condition.values),
        )
    corpus.ranks = {row[0]: rank for rank, row in enumerate(rows, start=1)}


def _find_words(session: Session, corpora: list[_Corpus], wanted: CandidateSearch) -> None:
    """The best texts of all indexes by BM25, whose statistics are those of all of them together."""
    documents = sum(corpus.record.documents for corpus in corpora)
    words = sum(corpus.record.words for corpus in corpora)
    if not documents:
        return
    postings = " UNION ALL ".join(
        f"SELECT {number} AS corpus, word, row, count, norm FROM {corpus.record.tables.words} WHERE word = ANY(%s)"
        for number, corpus in enumerate(corpora)
    )
    values: list[object] = [list(wanted.words)] * len(corpora)
    values += [documents, MAX_WORDS]
    allowed = "TRUE"
    filtered = [(number, corpus) for number, corpus in enumerate(corpora) if corpus.filtered]
    if filtered:
        passing = []
        for number, corpus in filtered:
            rows_of = f"SELECT row FROM {corpus.record.tables.items} WHERE {corpus.condition.text}"
            passing.append(f"(corpus = {number} AND row IN ({rows_of}))")
        others = [str(number) for number, corpus in enumerate(corpora) if not corpus.filtered]
        allowed = " OR ".join([*passing, *([f"corpus IN ({', '.join(others)})"] if others else [])])
    inner = [value for _, corpus in filtered for value in corpus.condition.values]
    rows = session.fetch(
        f"""
        WITH postings AS MATERIALIZED ({postings}),
        weights AS MATERIALIZED (
            SELECT word, {K1 + 1} * ln(1 + (greatest(%s - count(*), 0) + 0.5::float8) / (count(*) + 0.5)) AS weight
            FROM postings GROUP BY word ORDER BY count(*), word LIMIT %s
        )
        SELECT corpus, row, sum(weight * count / (count + %s + %s * norm)) AS score
        FROM postings JOIN weights USING (word) WHERE {allowed}
        GROUP BY corpus, row ORDER BY score DESC, corpus, row LIMIT %s
        """,
        (*values, K1 * (1 - B), K1 * B * documents / max(words, 1), *inner, wanted.by_words),
    )
    for rank, (number, row, score) in enumerate(rows, start=1):
        corpora[number].keywords[row] = rank, float(score)


def _read(session: Session, number: int, corpus: _Corpus, wanted: CandidateSearch) -> list[Candidate]:
    """What belongs to the candidates of an index, the nearest first, then those by words."""
    rows = list(dict.fromkeys([*corpus.ranks, *corpus.keywords]))
    if not rows:
        return []
    record = corpus.record
    distance = f"vec {OPERATORS[record.options.distance]} %s::vector" if corpus.vector else "NULL::float8"
    columns = [
        "i.row",
        "i.id",
        distance,
        "t.metadata" if wanted.with_metadata else "NULL",
        "t.text" if wanted.with_text else "NULL",
        "t.tokens" if wanted.tokens else "NULL",
    ]
    found = session.fetch(
        f"SELECT {', '.join(columns)} FROM {record.tables.items} i JOIN {record.tables.texts} t USING (row)"
        " WHERE i.row = ANY(%s)",
        (*((corpus.vector,) if corpus.vector else ()), rows),
    )
    made: dict[int, Candidate] = {}
    for row, own, far, metadata, text, tokens in found:
        keyword_rank, keyword = corpus.keywords.get(row, (None, None))
        made[row] = Candidate(
            corpus=number,
            id=own,
            distance=None if far is None else max(far, 0.0) if record.options.distance != "dot" else far + 0.0,
            keyword=keyword,
            vector_rank=corpus.ranks.get(row),
            keyword_rank=keyword_rank,
            metadata=bytes(metadata or b""),
            text=None if text is None else bytes(text).decode(),
            tokens=bytes(tokens or b""),
        )
    return [made[row] for row in rows if row in made]


def _count_tokens(session: Session, corpora: list[_Corpus], wanted: CandidateSearch) -> list[int]:
    """In how many items of all indexes each of the query's tokens is."""
    if not wanted.tokens:
        return []
    counted: defaultdict[int, int] = defaultdict(int)
    for corpus in corpora:
        found = session.fetch(
            f"SELECT token, items FROM {corpus.record.tables.tokens} WHERE token = ANY(%s)", (list(wanted.tokens),)
        )
        for token, items in found:
            counted[token] += items
    return [counted[token] for token in wanted.tokens]
