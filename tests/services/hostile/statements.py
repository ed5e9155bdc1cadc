"""Statements against the lake, by what they try. `tests/services/queryd` has those of the statement check alone.

The tables of text have one statement a line; `canary` is a table of the lake.
"""

from __future__ import annotations

from collections.abc import Mapping


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line for line in text.strip().splitlines() if line)


READS_OF_FILES = _lines(r"""
FROM read_json_auto('/etc/passwd')
FROM read_json_objects('/etc/passwd')
FROM read_json_objects_auto('/etc/passwd')
FROM read_ndjson('/etc/passwd')
FROM read_ndjson_auto('/etc/passwd')
FROM parquet_file_metadata('datasets/**')
FROM parquet_kv_metadata('datasets/**')
FROM parquet_bloom_probe('datasets/x.parquet', 'a', 1)
FROM parquet_full_metadata('datasets/x.parquet')
FROM read_text(['/etc/passwd', '/etc/hosts'])
FROM read_blob('/proc/*/environ')
FROM read_csv(['/etc/passwd', 'lake.json'], header = false)
FROM read_avro('x.avro')
FROM read_xlsx('x.xlsx')
FROM sqlite_scan('catalog.db', 'iceberg_tables')
FROM postgres_scan('host=127.0.0.1', 'public', 'x')
FROM mysql_scan('host=127.0.0.1', 'x', 'y')
FROM iceberg_scan('datasets/canary')
FROM iceberg_metadata('datasets/canary')
FROM delta_scan('datasets/canary')
FROM st_read('/etc/passwd')
FROM arrow_scan(1, 2, 3)
FROM arrow_scan_dumb(1, 2, 3)
FROM seq_scan('canary')
FROM "READ_TEXT"('/etc/passwd')
FROM Read_Text ('/etc/passwd')
FROM /* a comment */ read_text /* another */ ('/etc/passwd')
FROM memory.main.read_text('/etc/passwd')
FROM read_text('/etc/' || 'passwd')
FROM read_text(chr(47) || 'etc/passwd')
FROM read_text((SELECT '/etc/passwd'))
FROM '/proc/self/environ'
FROM '/proc/1/environ'
FROM '/dev/zero'
FROM 'catalog.db'
FROM 'lake.json'
FROM 'lake.lock'
FROM 'objects/**'
FROM 'staging/*/*'
FROM 'datasets/*/data/*.parquet'
FROM 'datasets/**/*.metadata.json'
FROM "file:///etc/passwd"
FROM 'file:/etc/passwd'
FROM '\\host\share\x.csv'
FROM '~/.ssh/id_rsa'
FROM '/etc/passwd.csv'
TABLE '/etc/passwd.csv'
SELECT * FROM '/etc/passwd.csv' AS canary
""")
"""They read files of the host or of the lake."""

READS_IN_PLACES = tuple(
    place.replace("$", "(SELECT content FROM read_text('/etc/passwd'))")
    for place in _lines("""
SELECT id FROM canary ORDER BY $
SELECT city FROM canary GROUP BY city HAVING count(*) > length($)
SELECT id FROM canary QUALIFY row_number() OVER (PARTITION BY $) = 1
SELECT sum(id) FILTER (WHERE $ IS NULL) FROM canary
SELECT a.id FROM canary a JOIN canary b ON a.city = $
SELECT a.id FROM canary a LEFT JOIN canary b ON a.id = b.id AND $ IS NULL
SELECT list_transform([1, 2], x -> length($) + x)
SELECT CASE WHEN $ IS NULL THEN 1 ELSE 2 END
SELECT id FROM canary LIMIT (SELECT length($))
SELECT id FROM canary OFFSET (SELECT length($))
VALUES ($)
FROM (VALUES (1, $)) t(a, b)
SELECT {'a': $}
SELECT MAP {'a': $}
SELECT [$, 'x']
SELECT struct_pack(a := $)
SELECT COALESCE(NULL, $)
SELECT CAST($ AS BLOB)
SELECT * REPLACE ($ AS city) FROM canary
SELECT * FROM canary WHERE city LIKE $
SELECT * FROM canary WHERE id BETWEEN 1 AND length($)
SELECT $[1:5]
SELECT try_cast($ AS JSON)
SELECT ($).x
SELECT * FROM unnest([$])
SELECT * FROM generate_series(1, length($))
SELECT * FROM canary GROUP BY ALL HAVING $ IS NOT NULL
SELECT string_agg($, ',') OVER () FROM canary
SELECT id FROM canary UNION SELECT length($)
SELECT id FROM canary INTERSECT SELECT length($)
SELECT id FROM canary EXCEPT ALL SELECT length($)
WITH x AS MATERIALIZED (SELECT $) FROM x
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT length($) FROM r) FROM r LIMIT 1
FROM (SELECT 1) t, LATERAL (SELECT $) u
FROM canary ASOF JOIN (SELECT 1 AS id, $ AS c) u ON canary.id >= u.id
FROM canary POSITIONAL JOIN (SELECT $ AS c) u
FROM (UNPIVOT (SELECT $ AS a, 'x' AS b) ON a, b)
FROM (DESCRIBE SELECT $)
FROM (SUMMARIZE SELECT $)
EXPLAIN ANALYZE SELECT $
EXPLAIN (FORMAT json) SELECT $
SELECT error($)
""")
)
"""A reading subquery in each place of a statement."""

CONNECTIONS = _lines("""
FROM 'http://127.0.0.1:1/x.csv'
FROM 'https://example.com/x.json'
FROM 's3://bucket/*.parquet'
FROM 'gs://bucket/x.parquet'
FROM 'gcs://bucket/x.parquet'
FROM 'r2://bucket/x.parquet'
FROM 'az://container/x.parquet'
FROM 'hf://datasets/x/y.parquet'
FROM 'ftp://127.0.0.1/x.csv'
FROM read_csv('http://169.254.169.254/latest/meta-data/')
FROM read_parquet('s3://bucket/x.parquet')
ATTACH 'https://example.com/x.db'
ATTACH 'host=127.0.0.1' AS pg (TYPE postgres)
ATTACH 'x.sqlite' (TYPE sqlite)
ATTACH ''
ATTACH OR REPLACE ':memory:' AS memory
ATTACH IF NOT EXISTS 'spill/x.db' AS x (READ_ONLY)
COPY canary TO 'http://127.0.0.1:1/x.csv'
COPY canary TO 's3://bucket/x.parquet'
CREATE SECRET (TYPE http, BEARER_TOKEN 'x')
DROP SECRET x
""")
"""They connect to something."""

WRITES = _lines(r"""
INSERT OR REPLACE INTO canary VALUES (1, 'x')
INSERT INTO canary BY NAME SELECT 1 AS id
INSERT INTO canary DEFAULT VALUES
UPDATE canary SET city = 'x' FROM canary c WHERE c.id = canary.id
DELETE FROM canary USING canary c WHERE c.id = canary.id RETURNING *
COPY canary TO '/dev/stdout'
COPY canary TO 'spill/x' (FORMAT parquet, PARTITION_BY (city))
COPY (SELECT 1) TO 'datasets/canary/data/x.parquet'
COPY canary TO 'objects/x.csv'
COPY canary FROM PROGRAM 'id'
COPY canary TO PROGRAM 'id'
COPY canary TO '/tmp/x.duckdb' (FORMAT duckdb)
CREATE OR REPLACE TABLE canary AS SELECT 666 AS id
CREATE TABLE IF NOT EXISTS t AS FROM canary
CREATE TEMP VIEW canary AS SELECT 666 AS id
CREATE MACRO t() AS TABLE SELECT 1
CREATE TEMP MACRO count(x) AS 666
CREATE TYPE integer AS VARCHAR
CREATE UNIQUE INDEX i ON canary (id)
CREATE TRIGGER t AFTER INSERT ON canary BEGIN SELECT 1; END
ALTER TABLE canary ADD COLUMN x INTEGER
ALTER TABLE canary DROP COLUMN id
ALTER VIEW canary RENAME TO c
ALTER DATABASE memory RENAME TO x
ALTER SEQUENCE s OWNED BY canary
DROP TABLE IF EXISTS canary CASCADE
DROP MACRO sum
DROP TYPE integer
DROP DATABASE memory
TRUNCATE TABLE canary
WITH x AS (SELECT 1) INSERT INTO canary FROM x
WITH x AS (SELECT 1) DELETE FROM canary
FROM (INSERT INTO canary VALUES (1) RETURNING id)
SELECT * FROM (DELETE FROM canary RETURNING *)
""")
"""They write or define something."""

STATES = _lines(r"""
SET enable_external_access = true
SET lock_configuration = false
SET allow_unsigned_extensions = true
SET custom_extension_repository = 'http://127.0.0.1:1'
SET autoinstall_known_extensions = true
SET home_directory = '/root'
SET extension_directory = '/tmp'
SET secret_directory = '/tmp'
SET temp_directory = '/etc'
SET allowed_paths = ['/']
SET allowed_directories = ['/']
SET max_temp_directory_size = '1TB'
SET SESSION memory_limit = '1TB'
SET LOCAL threads = 64
SET schema = 'information_schema'
SET TimeZone = 'Asia/Tokyo'
SET default_null_order = 'nulls_first'
SET disabled_optimizers = 'filter_pushdown'
SET errors_as_json = false
SET python_scan_all_frames = true
SET VARIABLE canary = (SELECT 666)
RESET VARIABLE canary
RESET lock_configuration
PRAGMA threads = 64
PRAGMA memory_limit = '1TB'
PRAGMA database_list
PRAGMA show_tables
PRAGMA table_info('canary')
PRAGMA enable_profiling
PRAGMA profiling_output = '/tmp/x.json'
PRAGMA force_checkpoint
PRAGMA disable_optimizer
PRAGMA import_database('/tmp')
PRAGMA user_agent
CALL dbgen(sf = 100)
CALL disable_logging()
CALL truncate_duckdb_logs()
CALL force_checkpoint()
CALL pragma_database_size()
USE information_schema
USE memory.main
ANALYZE
VACUUM ANALYZE canary
FORCE CHECKPOINT
BEGIN TRANSACTION READ ONLY
ABORT
END
PREPARE p AS DROP TABLE canary
EXECUTE p(1)
DEALLOCATE ALL
LOAD '/tmp/x.duckdb_extension'
LOAD icu
INSTALL x FROM community
INSTALL 'http://127.0.0.1:1/x.duckdb_extension'
EXPLAIN PREPARE p AS SELECT 1
EXPLAIN SET threads = 1
EXPLAIN ATTACH 'x.db'
EXPLAIN EXPLAIN SELECT 1
EXPLAIN ANALYZE INSERT INTO canary VALUES (1)
EXPLAIN (ANALYZE) DELETE FROM canary
EXPLAIN (ANALYZE, FORMAT json) COPY canary TO 'x.csv'
EXPLAIN CALL pragma_version()
.shell id
.read /etc/passwd
\copy canary to x
""")
"""They configure, install, or leave state behind on the connection."""

REVELATIONS = _lines("""
FROM duckdb_memory()
FROM duckdb_variables()
FROM duckdb_optimizers()
FROM duckdb_prepared_statements()
FROM duckdb_log_contexts()
FROM duckdb_logs_parsed('FileSystem')
FROM duckdb_external_file_cache()
FROM duckdb_connection_count()
FROM duckdb_secret_types()
FROM duckdb_sequences()
FROM duckdb_dependencies()
FROM pragma_database_size()
FROM pragma_metadata_info('canary')
FROM pragma_user_agent()
FROM pragma_platform()
FROM pragma_last_profiling_output()
FROM checkpoint()
FROM sql_auto_complete('SEL')
FROM from_substrait('x')
FROM load_aws_credentials()
FROM dbgen(sf = 1)
SELECT current_setting('home_directory')
SELECT CURRENT_SETTING('secret_directory')
SELECT list_transform(['temp_directory'], x -> current_setting(x))
SELECT getenv('PATH')
""")
"""They show what the engine, its process or other requests are."""

REFUSED: Mapping[str, tuple[str, ...]] = {
    "files": READS_OF_FILES,
    "places": READS_IN_PLACES,
    "connections": CONNECTIONS,
    "writes": WRITES,
    "states": STATES,
    "revelations": REVELATIONS,
}


def _deep(opening: str, middle: str, closing: str, levels: int) -> str:
    return opening * levels + middle + closing * levels


EXHAUSTING: Mapping[str, str] = {
    "lpad": "SELECT length(lpad('a', 2000000000, 'x'))",
    "rpad": "SELECT length(rpad('a', 2000000000, 'xy'))",
    "lpad of rows": "SELECT sum(length(lpad('a', 400000000 + range::INT, 'x'))) FROM range(100)",
    "repeat": "SELECT length(repeat('x', 2000000000))",
    "repeat twice": "SELECT length(repeat(repeat('x', 1000000), 1000000))",
    "printf": "SELECT length(printf('%2000000000d', 1))",
    "format": "SELECT length(format('{:2000000000d}', 1))",
    "range": "SELECT range(2000000000)",
    "sum of range": "SELECT list_sum(range(100000000000))",
    "unnest": "SELECT count(*) FROM (SELECT unnest(range(100000000)) FROM range(10000))",
    "list of all": "SELECT list(range) FROM range(1000000000)",
    "strings of all": "SELECT length(string_agg(range::VARCHAR, ',')) FROM range(2000000000)",
    "cross join": "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range + b.range = 3",
    "recursive": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
    "recursive that doubles": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r, range(2)) SELECT count(*) FROM r",
    "pivot": "PIVOT (SELECT i, i AS j FROM range(30000) t(i)) ON j IN ("
    + ", ".join(map(str, range(20000)))
    + ") USING sum(i)",
    "sort to disk": "SELECT max(h) FROM (SELECT hash(range) h, repeat('x', 200) s FROM range(1000000000) ORDER BY s, h OFFSET 5)",
    "hash table": "SELECT count(*) FROM (SELECT DISTINCT hash(range), repeat(range::VARCHAR, 9) FROM range(1000000000))",
    "window": "SELECT max(x) FROM (SELECT sum(range) OVER (ORDER BY hash(range)) x FROM range(1000000000))",
    "levenshtein": "SELECT levenshtein(repeat('ab', 200000), repeat('ba', 200001))",
    "jaccard": "SELECT sum(jaccard(repeat('ab', 4000000), repeat('ba', 4000000 + range::INT))) FROM range(1000)",
    "regular expression": "SELECT sum(regexp_matches(repeat('a', 1000000) || range, '(a|aa)+$')::INT) FROM range(100000)",
    "replace": "SELECT length(replace(repeat('a', 30000000), 'a', repeat('b', 1000)))",
    "permutations": "SELECT count(*) FROM range(100) a, range(100) b, range(100) c, range(100) d, range(100) e, range(100) f",
    "bit strings": "SELECT length(bitstring('1', 2000000000))",
    "big numbers": "SELECT sum(factorial(30) % (range + 1)) FROM range(10000000000)",
    "quantiles": "SELECT quantile_cont(range, [0.1, 0.5]) FROM range(2000000000)",
    "histogram": "SELECT histogram(hash(range)) FROM range(1000000000)",
    "json of all": "SELECT json_group_array(range) FROM range(1000000000)",
    "nested lists": "SELECT " + _deep("[", "1", "]", 300),
    "sleep": "SELECT pg_sleep(3600)",
    "wide rows": "SELECT " + ", ".join(f"repeat('x', 3000000) || {i}" for i in range(500)),
}
"""They use up memory, temporary space or time: 422, 504, or the engine's sentence about a limit of a function."""

DEEP: Mapping[str, str] = {
    "parentheses": "SELECT " + _deep("(", "1", ")", 100_000),
    "lists": "SELECT " + _deep("[", "", "]", 20_000),
    "structs": "SELECT " + _deep("{'a': ", "1", "}", 5_000),
    "subqueries": _deep("SELECT * FROM (", "SELECT 1", ")", 3_000),
    "scalar subqueries": _deep("SELECT (", "SELECT 1", ")", 3_000),
    "functions": "SELECT " + _deep("abs(", "1", ")", 20_000),
    "negations": "SELECT " + "NOT " * 50_000 + "true",
    "signs": "SELECT " + "- " * 50_000 + "1",
    "sums": "SELECT " + "+".join(["1"] * 100_000),
    "conjunctions": "SELECT 1 WHERE " + " AND ".join(["1 = 1"] * 50_000),
    "concatenations": "SELECT " + " || ".join(["'a'"] * 50_000),
    "cases": "SELECT " + _deep("CASE WHEN true THEN ", "1", " END", 10_000),
    "casts": "SELECT 1" + "::INT" * 50_000,
    "types": "SELECT NULL::INT" + "[]" * 20_000,
    "subscripts": "SELECT NULL" + "[1]" * 50_000,
    "lambdas": "SELECT " + _deep("list_transform([1], x -> ", "x", ")", 500),
    "unions": " UNION ALL ".join(["SELECT 1"] * 10_000),
    "queries with names": "WITH "
    + ", ".join(f"c{i} AS (FROM {'canary' if i == 0 else f'c{i - 1}'})" for i in range(3_000))
    + " SELECT count(*) FROM c2999",
    "names that double": "WITH "
    + ", ".join(f"c{i} AS (SELECT 1 AS x{' ' if i == 0 else f' FROM c{i - 1} a, c{i - 1} b'})" for i in range(30))
    + " SELECT count(*) FROM c29",
    "joins": "SELECT count(*) FROM canary " + " ".join(f"JOIN canary c{i} USING (id)" for i in range(300)),
    "columns": "SELECT " + ", ".join(f"1 AS c{i}" for i in range(50_000)),
    "comments": "SELECT 1 " + "/* " * 50_000,
    "nested comments": "SELECT 1 " + _deep("/* ", "x", " */", 50_000),
    "long name": "SELECT 1 AS " + "x" * 2_000_000,
    "long text": "SELECT length('" + "x" * 3_000_000 + "')",
    "text without an end": "SELECT '" + "x" * 1_000_000,
    "long list": "SELECT 1 IN (" + ", ".join(map(str, range(200_000))) + ")",
    "semicolons": "SELECT 1" + ";" * 100_000,
    "statements": "SELECT 1;" * 20_000,
}
"""Texts that a parser or binder answers with a deep stack or a large tree."""

CRASHES: Mapping[str, str] = {
    "variant to text": "SELECT (repeat('[', 40000) || repeat(']', 40000))::JSON::VARIANT::VARCHAR",
    "variant to JSON": "SELECT (repeat('[', 30000) || repeat(']', 30000))::JSON::VARIANT::JSON",
    "variant bytes": "SELECT variant_bytes_to_variant(repeat(chr(3), 45000)::BLOB, ''::BLOB)",
    "structure": "SELECT json_structure(repeat('[', 100000) || repeat(']', 100000))",
    "structure of objects": """SELECT json_structure(repeat('{"a":', 100000) || '1' || repeat('}', 100000))""",
    "json to list": "SELECT from_json(repeat('[', 40000) || repeat(']', 40000), '[\"JSON\"]')",
    "json merge": """SELECT json_merge_patch(repeat('{"a":', 40000) || '1' || repeat('}', 40000), '{}')""",
    "json tree": "SELECT count(*) FROM json_tree(repeat('[', 40000) || repeat(']', 40000))",
    "json valid": "SELECT json_valid(repeat('[', 1000000) || repeat(']', 1000000))",
    "json pretty": "SELECT json_pretty(repeat('[', 40000) || repeat(']', 40000))",
    "serialized": "SELECT json_serialize_sql('SELECT ' || repeat('(', 60000) || '1' || repeat(')', 60000))",
    "serialized plan": "SELECT json_serialize_plan('SELECT ' || repeat('[', 3000) || repeat(']', 3000))",
    "deserialized": "SELECT json_deserialize_sql(repeat('[', 60000) || repeat(']', 60000))",
    "regular expression": "SELECT regexp_matches('a', repeat('(', 100000) || repeat(')', 100000))",
    "repetitions": "SELECT regexp_matches('a', repeat('(a{1,1000}){1,1000}', 3))",
    "strptime": "SELECT strptime(repeat('1', 100000), repeat('%d', 100000))",
    "strftime": "SELECT strftime(DATE '2026-01-01', repeat('%A', 1000000))",
    "format": "SELECT format('{' || repeat('0', 100000) || '}', 1)",
    "printf": "SELECT printf('%.2000000000f', 1.0)",
    "printf of stars": "SELECT printf('%*d', 1, 2)",
    "extreme dates": "SELECT count(*) FROM generate_series(TIMESTAMP '-infinity', TIMESTAMP 'infinity', INTERVAL 1 DAY)",
    "range of nothing": "SELECT range(9223372036854775807, -9223372036854775808, -1)",
    "bits": "SELECT (repeat('1', 10000000)::BIT << 2147483647)",
    "shift": "SELECT 1 << 9223372036854775807",
    "array": "SELECT NULL::INT[2147483647]",
    "decimal": "SELECT 1::DECIMAL(38, 38) * 1::DECIMAL(38, 38)",
    "enumeration": "SELECT enum_range(NULL::ENUM('a'))",
    "subscript": "SELECT [1][-9223372036854775808]",
    "slice": "SELECT 'abc'[-9223372036854775808:9223372036854775807:-1]",
    "modulo": "SELECT -9223372036854775808 // -1, -9223372036854775808 % -1",
    "sample": "SELECT count(*) FROM range(10) TABLESAMPLE reservoir(9223372036854775807)",
    "limit": "SELECT 1 LIMIT 18446744073709551615 OFFSET 18446744073709551615",
    "surrogates": r"SELECT '\ud800', E'\xff', chr(55296)",
    "chr": "SELECT chr(-1)",
    "unicode": "SELECT nfc_normalize(repeat(chr(769), 1000000))",
    "all types": "FROM test_all_types()",
    "cast of all": "SELECT COLUMNS(*)::VARCHAR FROM test_all_types()",
    "union": "SELECT union_value(a := 1)::UNION(b VARCHAR)",
    "columns": "SELECT COLUMNS('(a+)+$') FROM canary",
    "lambda": "SELECT list_reduce(range(100000), (a, b) -> a + b)",
    "progress bar": "PRAGMA enable_progress_bar = NULL",
    "at": "SELECT * FROM canary AT (VERSION => 99999999999999999999999999)",
    "internal error": "SELECT error('INTERNAL Error: x')",
    "json of an exception": """SELECT error('{"exception_type":"INTERNAL","exception_message":"x"}')""",
    "fatal": """SELECT error('{"exception_type":"Out of Memory","exception_message":"x"}')""",
}
"""They crash some version of the engine, or look as if they did: anything but 5xx other than 504."""
