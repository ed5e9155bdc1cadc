"""Statements that do more than read tables: each is refused, naming it, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

from tests.services.queryd.sql_kit import PEOPLE, FileTables, open_sql

WRITES = """
INSERT INTO people VALUES (1)
UPDATE people SET id = 1
DELETE FROM people
TRUNCATE people
MERGE INTO people USING people p ON people.id = p.id WHEN MATCHED THEN DELETE
CREATE TABLE t (a INTEGER)
CREATE TEMP TABLE t AS SELECT 1
CREATE OR REPLACE VIEW people AS SELECT 666
CREATE VIEW v AS SELECT 1
CREATE SCHEMA s
CREATE SEQUENCE s
CREATE TYPE t AS ENUM ('a')
CREATE MACRO sum(x) AS 666
CREATE OR REPLACE TEMP MACRO sum(x) AS 666
CREATE FUNCTION f(x) AS x
CREATE SECRET s (TYPE s3)
CREATE PERSISTENT SECRET s (TYPE s3)
CREATE INDEX i ON people (id)
DROP TABLE people
DROP VIEW people
DROP SCHEMA main CASCADE
ALTER TABLE people RENAME TO p
COMMENT ON TABLE people IS 'x'
COPY people TO 'x.parquet'
COPY (SELECT 1) TO '/tmp/x.csv'
COPY people FROM 'x.csv'
COPY FROM DATABASE memory TO x
EXPORT DATABASE 'x'
IMPORT DATABASE 'x'
ATTACH ':memory:' AS x
ATTACH 'catalog.db'
DETACH memory
USE memory
INSTALL httpfs
LOAD httpfs
FORCE INSTALL httpfs
UPDATE EXTENSIONS
SET threads = 1
SET GLOBAL memory_limit = '1TB'
SET VARIABLE x = 1
SET search_path = 'x'
RESET threads
PRAGMA enable_verification
PRAGMA enable_progress_bar = NULL
PRAGMA version
CALL pragma_version()
CALL enable_logging()
VACUUM
CHECKPOINT
BEGIN
START TRANSACTION
COMMIT
ROLLBACK
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE p
EXPLAIN COPY people TO 'x.csv'
EXPLAIN ANALYZE DELETE FROM people
EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1
WITH w AS (INSERT INTO people VALUES (1) RETURNING *) FROM w
WITH w AS MATERIALIZED (DELETE FROM people RETURNING *) FROM w
/* SELECT */ DROP TABLE people
""".strip().split("\n")

READS = """
FROM read_csv('/etc/passwd')
FROM READ_CSV_AUTO('/etc/passwd')
FROM read_text('/etc/passwd')
FROM read_blob('/proc/self/environ')
FROM "read_text"('/etc/passwd')
FROM main.read_text('/etc/passwd')
FROM system.main.read_text('/etc/passwd')
FROM read_parquet('datasets/people/data/1.parquet')
FROM parquet_scan('datasets/people/data/1.parquet')
FROM parquet_metadata('datasets/people/data/1.parquet')
FROM parquet_schema('datasets/people/data/1.parquet')
FROM read_json('x.json')
FROM read_ndjson_objects('x.json')
FROM read_duckdb('x.db')
FROM sniff_csv('x.csv')
FROM glob('*')
FROM glob('spill/*')
FROM '/etc/passwd'
FROM 'datasets/people/data/1.parquet'
FROM "datasets/people/data/1.parquet"
FROM 'https://example.com/x.parquet'
FROM 's3://bucket/x.parquet'
FROM '../secret.csv'
FROM '*.csv'
SELECT (SELECT count(*) FROM read_text('/etc/passwd'))
SELECT * FROM people WHERE EXISTS (FROM read_text('/etc/passwd'))
SELECT * FROM people, LATERAL (FROM read_text(name))
SELECT * FROM people WHERE id IN (SELECT length(content) FROM read_text('/etc/passwd'))
SELECT [x FOR x IN (SELECT list(content) FROM read_text('/etc/passwd'))]
WITH a AS (FROM read_text('/etc/passwd')) FROM a
WITH RECURSIVE a AS (SELECT 1 UNION ALL FROM read_text('/etc/passwd')) FROM a
FROM people UNION ALL FROM read_text('/etc/passwd')
FROM (PIVOT read_csv('/etc/passwd') ON a IN (1) USING count(*))
DESCRIBE FROM read_text('/etc/passwd')
SUMMARIZE FROM read_text('/etc/passwd')
EXPLAIN FROM read_text('/etc/passwd')
FROM query('SELECT 1')
FROM query_table('people')
FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
FROM duckdb_settings()
FROM duckdb_secrets()
FROM duckdb_extensions()
FROM duckdb_temporary_files()
FROM duckdb_logs()
FROM pg_settings
FROM pg_catalog.pg_settings
FROM which_secret('x', 's3')
FROM pragma_storage_info('people')
FROM python_map_function()
FROM pandas_scan(1)
SELECT current_setting('allowed_directories')
SELECT pg_catalog.current_setting('temp_directory')
SELECT getenv('HOME')
SELECT write_log('x')
SELECT nextval('s')
SELECT json_deserialize_sql(json_serialize_sql('SELECT 1'))
""".strip().split("\n")

NOT_PARSED = ("syntax error", " statements: ", "A CTE needs a SELECT")
"""Words of a refusal by the parser: some versions of the engine do not know all of these statements."""

HIDDEN = (
    "--\rEXPLAIN ANALYZE CREATE MACRO sum(x) AS concat('\nEXPLAIN SELECT 1 --')",
    "/* /* */ EXPLAIN SELECT 1 -- */ EXPLAIN ANALYZE CREATE MACRO sum(x) AS 666",
)
"""Statements of which a query seems to be the whole, if comments are read otherwise than the engine reads them."""

CREATES = "EXPLAIN of CREATE: a statement can only read the tables of the lake"

NOT_ONE = (
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE people",
    ";;",
    "SELECT 1) FROM people; --",
    "SELECT 1) AS a, (SELECT 2",
)


async def test_statements_that_write_or_change_the_engine(tmp_path: Path) -> None:
    """403 with the verb; the next statement finds everything as it was."""
    tables = FileTables(tmp_path)
    tables.write("people", PEOPLE)
    before = sorted(tmp_path.rglob("*.parquet"))
    async with open_sql(tables) as sql:
        for statement in WRITES:
            status, message, _ = await sql.error(statement)
            assert status in (400, 403), (statement, status, message)
            assert status == 403 or any(word in message for word in NOT_PARSED), (statement, message)
        for statement in HIDDEN:
            assert (await sql.error(statement))[:2] == (403, CREATES), statement
        explained = "/* /* a */ explain */ -- \\\rEXPLAIN -- b\n ANALYZE /* c */ (FORMAT json) SELECT 'é' AS a -- d"
        assert (await sql.post(explained)).status_code == 200
        for statement in NOT_ONE:
            assert (await sql.error(statement))[0] == 400, statement
        assert await sql.rows("SELECT sum(id) FROM people") == [[15]]
        assert await sql.rows("SHOW TABLES") == [["people"]]
        assert await sql.rows("SELECT count(*) FROM duckdb_schemas() WHERE NOT internal") == [[0]]
        assert sql.engine.pool.started == 1
    assert sorted(tmp_path.rglob("*.parquet")) == before


async def test_statements_that_read_something_else(tmp_path: Path) -> None:
    """403 that names the function or the file, in the same words whether the file exists or not."""
    tables = FileTables(tmp_path)
    tables.write("people", PEOPLE)
    async with open_sql(tables) as sql:
        for statement in READS:
            status, message, _ = await sql.error(statement)
            assert status in (400, 403), (statement, status, message)
            assert status == 403 or "nextval" in statement or "getenv" in statement or "syntax" in message, (
                statement,
                message,
            )
            assert "root:" not in message
            assert str(tmp_path) not in message, (statement, message)
        known = await sql.error("FROM '/etc/passwd'")
        unknown = await sql.error("FROM '/etc/nothing'")
        assert known[1].replace("passwd", "nothing") == unknown[1]
        assert sql.engine.pool.started == 1


async def test_no_answer_has_a_path_of_the_host(tmp_path: Path) -> None:
    """The catalog, the plans and the errors of the engine know relative paths only."""
    tables = FileTables(tmp_path)
    plan = tables.write("people", PEOPLE)
    async with open_sql(tables) as sql:
        for statement in (
            "FROM duckdb_databases()", "FROM duckdb_tables()", "FROM duckdb_views()", "FROM information_schema.views",
            "EXPLAIN ANALYZE FROM people", "EXPLAIN (FORMAT json) FROM people", "FROM pragma_version()",
            "SELECT current_database(), current_schema(), current_user, version()", "FROM sqlite_master",
        ):  # fmt: skip
            response = await sql.post(statement)
            assert response.status_code == 200, (statement, response.text)
            assert str(tmp_path) not in response.text, statement
            assert "/root" not in response.text, statement
        (tmp_path / plan.files[0].path).unlink()
        response = await sql.post("SELECT sum(id) FROM people")
        assert response.status_code == 422
        assert str(tmp_path) not in response.text
