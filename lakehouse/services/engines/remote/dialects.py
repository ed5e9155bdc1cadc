"""What the statements of each engine look like, as far as the check of a statement has to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse.services.engines.remote.statement_tokens import Lexer


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The statements of one engine.

    A statement is read by each of the `lexers`, and must be allowed as each of them reads it: a server of Flight SQL
    does not say which it uses. `queries` are the words with which a query begins, `shows` those of statements that show
    something. `functions` must not be called: they run programs or statements on other systems. `file_formats` are
    words before a quoted path, which is a file in the place of a table. With `named_parameters`, parameters have
    names or positions, else positions only.
    """

    engine: str
    lexers: tuple[Lexer, ...]
    queries: frozenset[str] = frozenset({"select", "with", "values", "table"})
    shows: frozenset[str] = frozenset({"show", "describe", "desc"})
    functions: frozenset[str] = frozenset()
    file_formats: frozenset[str] = frozenset()
    named_parameters: bool = False
    past: str = ""
    """How a statement reads a past snapshot of a table, for an error message."""


TRINO = Dialect(
    engine="Trino",
    lexers=(Lexer(),),
    functions=frozenset({"system.query", "system.raw_query", "system.procedure", "system.execute"}),
    past="table FOR VERSION AS OF n",
)
SPARK = Dialect(
    engine="Spark",
    lexers=(Lexer(names="`", strings="'\"", backslash=True, nested=True, hints=True, joined=True),),
    queries=frozenset({"select", "with", "values", "table", "from"}),
    functions=frozenset({"reflect", "try_reflect", "java_method"}),
    file_formats=frozenset({"avro", "binaryfile", "csv", "delta", "iceberg", "json", "orc", "parquet", "text", "xml"}),
    named_parameters=True,
    past="table VERSION AS OF n",
)
FLIGHT_SQL = Dialect(
    engine="Flight SQL",
    lexers=(
        Lexer(names='"`', strict=True),
        Lexer(names='"`', nested=True, strict=True),
        Lexer(names="`", strings="'\"", backslash=True, strict=True),
        Lexer(names="`", strings="'\"", backslash=True, nested=True, strict=True),
    ),
    queries=frozenset({"select", "with", "values", "table", "from"}),
    functions=SPARK.functions | TRINO.functions,
    file_formats=SPARK.file_formats,
    past="the server's own syntax",
)
DIALECTS: Mapping[str, Dialect] = {"trino": TRINO, "spark": SPARK, "flightsql": FLIGHT_SQL}
