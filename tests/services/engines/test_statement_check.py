"""Which statements another engine is given: one, and one that reads, however it is written."""

from __future__ import annotations

import pytest

from lakehouse.core.errors import ErrBadRequest, ErrForbidden
from lakehouse.services.engines.remote.dialects import FLIGHT_SQL, SPARK, TRINO, Dialect
from lakehouse.services.engines.remote.statement_check import check_statement

EVERY = (TRINO, SPARK, FLIGHT_SQL)

READS = (
    "SELECT 1",
    "select * from t where a = 'DROP TABLE x; --'",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "VALUES (1), (2)",
    "TABLE people",
    "-- a comment; with a semicolon\nSELECT /* ; DROP */ 1",
    "WITH a AS (SELECT 1 AS x), b (y) AS (SELECT x FROM a) SELECT * FROM b",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r",
    "SELECT a FROM (WITH x AS (SELECT 1 AS a) SELECT a FROM x)",
    "SELECT replace(a, 'x', 'y'), insert, update FROM t",
    "SELECT a AS delete FROM t WHERE merge = 1",
    "SHOW TABLES",
    "DESCRIBE people",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN (TYPE LOGICAL, FORMAT JSON) SELECT 1",
    "EXPLAIN (SELECT 1)",
    "SELECT a.into FROM (SELECT 1 AS x) a",
)

FORBIDDEN = (
    ("DROP TABLE x", "DROP", 0),
    ("  insert into t values (1)", "INSERT", 2),
    ("/* SELECT */ DELETE FROM t", "DELETE", 13),
    ("-- SELECT 1\nUPDATE t SET a = 1", "UPDATE", 12),
    ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "INSERT", 21),
    ("WITH a AS (SELECT ')') DELETE FROM t", "DELETE", 23),
    ("WITH a AS (SELECT 1), b AS (DELETE FROM t RETURNING *) SELECT * FROM b", "DELETE", 28),
    ("EXPLAIN ANALYZE INSERT INTO t SELECT 1", "INSERT", 16),
    ("EXPLAIN (TYPE DISTRIBUTED) DROP TABLE t", "DROP", 27),
    ("SET SESSION a = 1", "SET", 0),
    ("CALL system.runtime.kill_query('x')", "CALL", 0),
    ("USE other.schema", "USE", 0),
    ("EXECUTE p", "EXECUTE", 0),
    ("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", "MERGE", 0),
    ("GRANT SELECT ON t TO u", "GRANT", 0),
    ("SELECT * INTO t FROM s", "INTO", 9),
    ("(SELECT 1) INTO OUTFILE '/tmp/x'", "INTO", 11),
    ("SELECT 1into t", "INTO", 8),
)

BAD = (
    ("", "no statement", None),
    ("  -- nothing\n ;", "no statement", None),
    ("SELECT 1; SELECT 2", "several statements", 8),
    ("SELECT 1; ; DROP TABLE x", "several statements", 8),
    ("SELEC 1", "syntax error at SELEC", 0),
    ("SELECT 'abc", "a string has no end", 7),
    ("SELECT 1 /* abc", "a comment has no end", 9),
    ("1 + 1", "does not begin with a word", 0),
    ("WITH a SELECT 1", "WITH is written as", 7),
    ("WITH a AS (SELECT 1", "a parenthesis is not closed", 10),
    ("EXPLAIN", "does not begin with a word", 7),
)


@pytest.mark.parametrize("dialect", EVERY, ids=lambda dialect: dialect.engine)
def test_statements_that_read(dialect: Dialect) -> None:
    for sql in READS:
        assert check_statement(sql, dialect).sql == sql
        assert check_statement(f"{sql} ; -- the end", dialect).sql == sql


@pytest.mark.parametrize("dialect", EVERY, ids=lambda dialect: dialect.engine)
def test_statements_that_do_more_are_named(dialect: Dialect) -> None:
    for sql, named, position in FORBIDDEN:
        with pytest.raises(ErrForbidden, match=named) as caught:
            check_statement(sql, dialect)
        assert caught.value.details == {"position": position}, sql


@pytest.mark.parametrize("dialect", EVERY, ids=lambda dialect: dialect.engine)
def test_statements_that_are_none(dialect: Dialect) -> None:
    for sql, words, position in BAD:
        with pytest.raises(ErrBadRequest, match=words) as caught:
            check_statement(sql, dialect)
        assert caught.value.field == "sql"
        assert caught.value.details == (None if position is None else {"position": position}), sql


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        (TRINO, "SELECT * FROM TABLE(postgresql.system.query(query => 'DELETE FROM t'))"),
        (TRINO, """SELECT * FROM TABLE("pg"."system"."query"(query => 'x'))"""),
        (SPARK, "SELECT reflect('java.lang.System', 'exit', 1)"),
        (SPARK, "SELECT `java_method`('java.lang.System', 'getenv', 'HOME')"),
        (SPARK, "SELECT TRANSFORM (a, b) USING 'sh -c id' AS x FROM t"),
        (SPARK, "SELECT * FROM parquet.`s3://bucket/other/file`"),
        (SPARK, "SELECT * FROM (MAP a, b USING 'sh -c id' AS x FROM t)"),
        (SPARK, "FROM t REDUCE a USING 'id' AS x"),
        (SPARK, "FROM t MAP a u\u017fing :program AS x"),
        (SPARK, "SELECT identifier('java_' || 'method')('java.lang.System', 'exit', 1)"),
        (SPARK, "FROM t INSERT INTO u SELECT *"),
        (SPARK, "FROM t INSERT OVERWRITE TABLE u SELECT *"),
        (SPARK, "-- \\\nSHOW TABLES\nDROP TABLE t"),
        (SPARK, """SELECT /*+ a('*/') */ reflect("a", "b"), '1' -- '"""),
        (SPARK, """SELECT /* /*+ */ reflect("a", "b"), '*/' -- '"""),
        (SPARK, r"""SELECT r'a''\' ' , reflect("a", "b") --'"""),
        (SPARK, r"""WITH a AS (SELECT r'\') INSERT INTO t SELECT * FROM a --')"""),
        (SPARK, "WITH a (SELECT 1) INSERT INTO t SELECT * FROM a"),
        (FLIGHT_SQL, "SELECT * FROM t INTO OUTFILE '/tmp/x'"),
        (FLIGHT_SQL, r"""WITH a AS (SELECT '\') INSERT INTO t SELECT 1 --')"""),
        (FLIGHT_SQL, r"""WITH a AS (SELECT '\') SELECT ') INSERT INTO t SELECT 1 --"""),
    ],
)
def test_what_an_engine_could_do_within_a_query(dialect: Dialect, sql: str) -> None:
    with pytest.raises(ErrForbidden):
        check_statement(sql, dialect)


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        (TRINO, r"SELECT 'a\' FROM t"),
        (TRINO, "SELECT \"a;b\", 'it''s' FROM t FOR VERSION AS OF 17"),
        (TRINO, "SELECT transform(a, x -> x + 1) FROM t"),
        (SPARK, r"SELECT 'it\'s; DROP', r'\' FROM t"),
        (SPARK, "SELECT transform(a, x -> x + 1) FROM t"),
        (SPARK, "SELECT /*+ BROADCAST(t) */ * /* a /* nested */ ; comment */ FROM t"),
        (SPARK, "FROM t SELECT a"),
        (SPARK, "SELECT identifier('a') FROM identifier('t') JOIN u USING (a)"),
        (SPARK, "SELECT 1 /* a comment \\\n*/ -- and one that ends with a backslash \\\n that has two lines\n + 1"),
        (SPARK, "SELECT parquet.`a` FROM parquet"),
        (SPARK, "DESC TABLE EXTENDED `a b`"),
        (FLIGHT_SQL, r"SELECT 'it\'s'"),
        (FLIGHT_SQL, r"SELECT 'a\'"),
    ],
)
def test_how_each_dialect_quotes(dialect: Dialect, sql: str) -> None:
    assert check_statement(sql, dialect).sql == sql


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("-- a\rSELECT 1\nDROP TABLE t", "a comment"),
        ("-- a\\\nSELECT 1\nDROP TABLE t", "a comment"),
        ("SELECT /*+ a('*/') */ 1", "a comment"),
        ("SELECT 1 /*! INTO OUTFILE '/tmp/x' */", "a comment"),
        ("SELECT $$ ' $$; DROP TABLE t --'", "a string"),
        ("SELECT $a$ ' $a$; DROP TABLE t --'", "a string"),
    ],
)
def test_what_servers_read_differently_is_refused_where_the_server_is_unknown(sql: str, what: str) -> None:
    with pytest.raises(ErrBadRequest, match=f"servers disagree on the end of {what}"):
        check_statement(sql, FLIGHT_SQL)


def test_what_may_be_sent_to_servers_that_differ() -> None:
    for sql in ("SELECT /*+ BROADCAST(t) */ a -- b\r\nFROM t WHERE a = $1 AND b = $2", "SELECT 1 -- C:\\a"):
        assert check_statement(sql, FLIGHT_SQL).is_query


@pytest.mark.parametrize("dialect", EVERY, ids=lambda dialect: dialect.engine)
def test_long_statements(dialect: Dialect) -> None:
    """The time of a check does not grow with the square of the length, and a limit bounds it."""
    calls = f"SELECT {'identifier(' * 20_000}1{')' * 20_000}"
    assert check_statement(calls, dialect).sql == calls
    for sql, words in (
        ("WITH a AS (" * 2000 + "SELECT 1" + ") SELECT 1" * 2000, "nested too deeply"),
        ("SELECT 1" + "+1" * 125_000, "more than 250000 words and symbols"),
        (f"SELECT '{'a' * 1_000_000}'", "has 1000009 characters"),
    ):
        with pytest.raises(ErrBadRequest, match=words):
            check_statement(sql, dialect)


@pytest.mark.parametrize("dialect", EVERY, ids=lambda dialect: dialect.engine)
def test_statements_that_show_are_no_queries(dialect: Dialect) -> None:
    for sql in ("/* a */ SHOW TABLES", "DESCRIBE t", "EXPLAIN SELECT 1"):
        assert not check_statement(sql, dialect).is_query
    for sql in ("-- show\nSELECT 1", "(SELECT 1)", "WITH a AS (SELECT 1) SELECT * FROM a", "VALUES (1)"):
        assert check_statement(sql, dialect).is_query
