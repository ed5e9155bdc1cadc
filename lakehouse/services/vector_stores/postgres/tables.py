"""The tables of an index, and how they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.retrieval import Distance, IndexOptions
from lakehouse.services.postgres.session import Session

COMPONENT = "vectors"
SCRIPTS = (
    """
    CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
    CREATE TABLE vector_indexes (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE,
        options bytea NOT NULL,
        created_ms bigint NOT NULL,
        version bigint NOT NULL DEFAULT 1,
        length bigint NOT NULL DEFAULT 0,
        source bytea NOT NULL DEFAULT '',
        documents bigint NOT NULL DEFAULT 0,
        words bigint NOT NULL DEFAULT 0,
        tokenized bigint NOT NULL DEFAULT 0,
        recall double precision,
        recall_length bigint NOT NULL DEFAULT 0
    );
    """,
)
"""The table of all indexes. An index has tables of its own: to scan one costs nothing of another."""

MAX_DIMENSION = 16_000
"""Of pgvector."""
MAX_PLAIN = 1_500
"""Dimensions up to which a vector lies in the page of its row: a scan then reads nothing else."""
MAX_GRAPH = 2_000
"""Dimensions up to which pgvector makes a graph."""
OPERATORS: Mapping[Distance, str] = {"cosine": "<=>", "dot": "<#>", "euclidean": "<->"}
_CLASSES: Mapping[Distance, str] = {"cosine": "vector_cosine_ops", "dot": "vector_ip_ops", "euclidean": "vector_l2_ops"}


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of the tables of one index.

    `items` has what is scanned, `texts` what is shown, `words` how often each stem is in a text, `tokens` in how many
    items each token is. `texts.given` is a vector as it was given, where that of `items` is scaled.
    """

    number: int

    @property
    def items(self) -> str:
        return f"vector_items_{self.number}"

    @property
    def texts(self) -> str:
        return f"vector_texts_{self.number}"

    @property
    def words(self) -> str:
        return f"vector_words_{self.number}"

    @property
    def tokens(self) -> str:
        return f"vector_tokens_{self.number}"


def has_graph(options: IndexOptions) -> bool:
    """Whether an index has a graph for approximate searches."""
    return options.approximate and options.dimension <= MAX_GRAPH


def check_options(options: IndexOptions) -> None:
    """Raise ErrBadRequest for an index that pgvector cannot have."""
    if options.dimension > MAX_DIMENSION:
        raise ErrBadRequest(f"`dimension` must be 1 to {MAX_DIMENSION} in PostgreSQL", field="dimension")


def create_tables(session: Session, tables: Tables, options: IndexOptions) -> None:
    """Create the tables of an index, in the transaction that records it."""
    storage = "PLAIN" if options.dimension <= MAX_PLAIN else "EXTERNAL"
    session.execute(
        f"""
        CREATE TABLE {tables.items} (
            row bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            id text COLLATE "C" NOT NULL UNIQUE,
            source text COLLATE "C" NOT NULL,
            digest bytea NOT NULL,
            fields jsonb NOT NULL,
            vec vector({options.dimension})
        );
        ALTER TABLE {tables.items} ALTER vec SET STORAGE {storage};
        CREATE INDEX ON {tables.items} (source) WHERE source <> '';
        CREATE TABLE {tables.texts} (
            row bigint PRIMARY KEY,
            text bytea,
            metadata bytea NOT NULL,
            given bytea,
            tokens bytea NOT NULL,
            words text NOT NULL,
            counts text NOT NULL,
            length integer NOT NULL,
            norm integer NOT NULL
        );
        CREATE TABLE {tables.words} (
            word text COLLATE "C" NOT NULL,
            row bigint NOT NULL,
            count integer NOT NULL,
            norm integer NOT NULL,
            PRIMARY KEY (word, row) INCLUDE (count, norm)
        );
        CREATE TABLE {tables.tokens} (token integer PRIMARY KEY, items bigint NOT NULL) WITH (fillfactor = 50);
        """
    )
    if options.fields:
        session.execute(f"CREATE INDEX ON {tables.items} USING gin (fields jsonb_path_ops)")


def create_graph(session: Session, tables: Tables, options: IndexOptions) -> None:
    """Make the graph of all items that are there; later ones join it with their writes."""
    session.execute("SET LOCAL maintenance_work_mem = '256MB'")
    kind = _CLASSES[options.distance]
    session.execute(f"CREATE INDEX ON {tables.items} USING hnsw (vec {kind}) WITH (m = 16, ef_construction = 100)")


def drop_tables(session: Session, tables: Tables) -> None:
    """Drop the tables of an index."""
    session.execute(f"DROP TABLE {tables.items}, {tables.texts}, {tables.words}, {tables.tokens}")
