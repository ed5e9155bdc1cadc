"""Parquet and Arrow: every value as it was, in the next type that holds it, and damaged files refused."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.services.ingest.format_kit import Reader, arrow, messages, parquet

AT = 1_593_382_653_123_456_789  # 2020-06-28 22:17:33.123456789
TEXT = "2020-06-28 22:17:33.123456789"
Decimal = decimal.Decimal


def column(values: list[Any], type_: Any) -> Any:
    return pa.array(values, type_)


COMMON = [
    # the type of Arrow, a value, the type in the table, its text, what is said
    (pa.bool_(), True, "BOOLEAN", "true", ""),
    (pa.int8(), -8, "INTEGER", "-8", ""),
    (pa.int64(), 2**63 - 1, "BIGINT", "9223372036854775807", ""),
    (pa.uint8(), 255, "INTEGER", "255", "unsigned integers of 8 bits"),
    (pa.uint32(), 2**32 - 1, "BIGINT", "4294967295", "unsigned integers of 32 bits"),
    (pa.uint64(), 2**64 - 1, "DECIMAL(20,0)", "18446744073709551615", "unsigned integers of 64 bits"),
    (pa.float32(), 1.5, "FLOAT", "1.5", ""),
    (pa.float64(), float("nan"), "DOUBLE", "nan", ""),
    (pa.string(), "é", "VARCHAR", "é", ""),
    (pa.large_string(), "", "VARCHAR", "", ""),
    (pa.binary(), b"\xff\x00", "BLOB", "\\xFF\\x00", ""),
    (pa.binary(2), b"ab", "BLOB", "ab", ""),
    (pa.date32(), dt.date(2024, 2, 29), "DATE", "2024-02-29", ""),
    (pa.date64(), dt.date(2024, 2, 29), "DATE", "2024-02-29", ""),
    (pa.timestamp("s"), dt.datetime(2024, 1, 5), "TIMESTAMP", "2024-01-05 00:00:00", ""),
    (pa.timestamp("us"), AT // 1000, "TIMESTAMP", "2020-06-28 22:17:33.123456", ""),
    (pa.timestamp("ns"), AT // 1000 * 1000, "TIMESTAMP", "2020-06-28 22:17:33.123456", ""),
    (pa.timestamp("ns"), AT, "VARCHAR", TEXT, "nanoseconds are kept"),
    (pa.timestamp("ns", "Europe/Berlin"), AT, "VARCHAR", TEXT + "+00", "nanoseconds are kept"),
    (pa.timestamp("us", "Europe/Berlin"), AT // 1000, "TIMESTAMP WITH TIME ZONE", "2020-06-28 22:17:33.123456+00", ""),
    (pa.time32("ms"), 1, "VARCHAR", "00:00:00.001", "times of day"),
    (pa.time64("us"), 3_600_000_000, "VARCHAR", "01:00:00", "times of day"),
    (pa.time64("ns"), 123, "VARCHAR", "00:00:00.000000123", "times of day"),
    (pa.time64("ns"), 1_000, "VARCHAR", "00:00:00.000001", "times of day"),
    (pa.duration("ns"), 5, "BIGINT", "5", "whole numbers of nanoseconds"),
    (pa.decimal128(30, 10), Decimal("12345678901234567890.123456789"), "DECIMAL(30,10)", "12345678901234567890.1234567890", ""),
    (pa.decimal256(38, 2), Decimal("1.50"), "DECIMAL(38,2)", "1.50", ""),
    (pa.decimal256(50, 10), Decimal("1.5"), "VARCHAR", "1.5000000000", "decimals of 50 digits"),
    (pa.list_(pa.int32()), [1, None], "INTEGER[]", "[1, NULL]", ""),
    (pa.list_(pa.uint16(), 2), [1, 2], "INTEGER[]", "[1, 2]", "unsigned"),
    (pa.list_(pa.timestamp("ns")), [AT], "VARCHAR[]", f"['{TEXT}']", "nanoseconds"),
    (pa.struct([("x", pa.uint64()), ("y", pa.string())]), {"x": 1, "y": "z"}, 'STRUCT("x" DECIMAL(20,0), "y" VARCHAR)', "{'x': 1, 'y': z}", "unsigned"),
    (pa.map_(pa.string(), pa.int16()), [("a", 1)], "MAP(VARCHAR, INTEGER)", "{a=1}", ""),
    (pa.uuid(), uuid.UUID(int=5).bytes, "UUID", "00000000-0000-0000-0000-000000000005", ""),
    (pa.dictionary(pa.int8(), pa.string()), "red", "VARCHAR", "red", "an enumeration"),
    (pa.null(), None, "VARCHAR", None, "without a type"),
]  # fmt: skip
ARROW_ONLY = [
    (pa.float16(), 1.5, "FLOAT", "1.5", "16 bits"),
    (pa.string_view(), "x", "VARCHAR", "x", ""),
    (pa.binary_view(), b"x", "BLOB", "x", ""),
    (pa.list_view(pa.int64()), [1], "BIGINT[]", "[1]", ""),
    (pa.decimal32(5, 2), Decimal("1.50"), "DECIMAL(5,2)", "1.50", ""),
    (pa.month_day_nano_interval(), (13, 2, 3_723_000_000_001), "VARCHAR", "1 year 1 month 2 days 01:02:03.000000001", "intervals"),
    (pa.month_day_nano_interval(), (-1, 0, 0), "VARCHAR", "-1 month", "intervals"),
]  # fmt: skip


def _case(case: tuple[Any, ...]) -> str:
    return f"{case[0]}={case[1]}"[:60]


@pytest.mark.parametrize("stored", [parquet, arrow], ids=["parquet", "arrow"])
@pytest.mark.parametrize("case", COMMON, ids=_case)
def test_a_type_and_its_values(read: Reader, case: tuple[Any, ...], stored: Callable[[dict[str, Any]], bytes]) -> None:
    _check(read, case, stored)


@pytest.mark.parametrize("case", ARROW_ONLY, ids=_case)
def test_a_type_that_only_arrow_has(read: Reader, case: tuple[Any, ...]) -> None:
    _check(read, case, arrow)


def _check(read: Reader, case: tuple[Any, ...], stored: Callable[[dict[str, Any]], bytes]) -> None:
    type_, value, expected, text, words = case
    result = read(stored({"a": column([value, None], type_), "n": column([1, 2], pa.int64())}))
    assert (result.types["a"], result.column("a"), result.column("n")) == (expected, [text, None], ["1", "2"])
    assert [warning[0] for warning in result.warnings] == (["a"] if words else [])
    assert words in "".join(messages(result.warnings).values())


def test_int96_keeps_nanoseconds_or_years_and_is_refused_for_both(read: Reader) -> None:
    options = {"use_deprecated_int96_timestamps": True}
    fine = pa.array([AT, None], pa.timestamp("ns"))
    assert read(parquet({"a": fine}, **options)).column("a") == [TEXT, None]
    far = pa.array([dt.datetime(4000, 1, 1), None], pa.timestamp("us"))
    result = read(parquet({"a": far}, **options))
    assert (result.types, result.column("a")) == ({"a": "TIMESTAMP"}, ["4000-01-01 00:00:00", None])
    nested = pa.array([[AT], []], pa.list_(pa.timestamp("ns")))
    assert read(parquet({"a": nested}, **options)).column("a") == [f"['{TEXT}']", "[]"]


def test_a_run_end_encoded_column_is_its_values(read: Reader) -> None:
    result = read(arrow({"a": pc.run_end_encode(pa.array(["x", "x", None]))}))
    assert (result.types, result.column("a")) == ({"a": "VARCHAR"}, ["x", "x", None])


def test_an_unknown_extension_type_is_its_storage_and_said(read: Reader) -> None:
    field = pa.field("a", pa.int64(), metadata={"ARROW:extension:name": "acme.money"})
    table = pa.Table.from_arrays([pa.array([5])], schema=pa.schema([field]))
    for body in (parquet(table), arrow(table)):
        result = read(body)
        assert (result.types, result.column("a")) == ({"a": "BIGINT"}, ["5"])
        assert "acme.money is stored as its storage type" in result.warnings[0][2]


def test_types_that_duckdb_writes_and_pyarrow_does_not_know(read: Reader, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with duckdb.connect() as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('ok', 'bad')")
        values = "interval '1 day 2 hours' AS i, 'ok'::mood AS e, '[1]'::JSON AS j, timetz '10:00:00+02' AS t"
        connection.execute(f"COPY (SELECT {values}) TO '{path}'")
    result = read(path.read_bytes())
    assert set(result.types.values()) == {"VARCHAR"}
    assert result.rows == [("1 day 02:00:00", "ok", "[1]", "08:00:00+00")]
    assert set(messages(result.warnings)) == {"i", "t"}


def test_names_that_are_equal_are_all_kept(read: Reader) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["ra", "ra", "RA"])
    result = read(parquet(table))
    assert (result.columns, result.rows) == (
        [("ra", "BIGINT"), ("ra_2", "BIGINT"), ("RA_3", "BIGINT")],
        [("1", "2", "3")],
    )
    assert set(messages(result.warnings)) == {"ra_2", "RA_3"}
    both = pa.Table.from_arrays(
        [pa.array([AT], pa.timestamp("ns")), pa.array([0], pa.timestamp("ns"))], names=["t", "t"]
    )
    assert read(parquet(both)).rows == [(TEXT, "1970-01-01 00:00:00")]


def test_rows_without_values_and_groups_of_rows(read: Reader) -> None:
    assert read(parquet({"a": pa.array([], pa.int64())})).rows == []
    assert read(arrow({"a": pa.array([], pa.uint8())}, stream=True)).rows == []
    many = parquet({"a": list(range(1000))}, row_group_size=100)
    assert read(many).column("a") == [str(number) for number in range(1000)]


INVALID = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
STREAM = arrow({"a": list(range(1000))}, stream=True)
FILE = parquet({"a": list(range(1000)), "s": ["x" * 50] * 1000})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(STREAM[:-8], "no end mark", id="a stream without its end mark"),
        pytest.param(STREAM[:-400], "Expected to be able to read", id="a stream that is cut in a message"),
        pytest.param(STREAM + b"x", "1 bytes behind the end mark", id="bytes behind a stream"),
        pytest.param(STREAM[:100], "Expected to read", id="a stream without its schema"),
        pytest.param(arrow({"a": [1]})[:-20], "Not an Arrow file", id="a file that is cut"),
        pytest.param(arrow({"s": INVALID}), "Invalid UTF8", id="text that is not UTF-8"),
        pytest.param(FILE[: len(FILE) // 2], "no footer", id="half a Parquet file"),
        pytest.param(FILE[:-1], "no footer", id="a Parquet file without its last byte"),
        pytest.param(b"PAR1" + b"x" * 50 + b"PAR1", "cannot be read", id="no footer between the marks"),
        pytest.param(b"PAR1" + b"x" * 50 + b"PARE", "encrypted", id="an encrypted Parquet file"),
        pytest.param(b"PARE" + b"x" * 50 + b"PARE", "encrypted", id="an encrypted footer"),
        pytest.param(parquet(pa.table({})), "no columns", id="no columns"),
        pytest.param(parquet({"s": pa.array([{"a": 1, "A": 2}])}), "differ in case only", id="fields of a struct"),
        pytest.param(arrow({"u": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])}), "'u'", id="a union"),
    ],
)  # fmt: skip
def test_what_is_no_whole_valid_file_is_refused(read: Reader, body: bytes, words: str) -> None:
    refusal = read.refuse(body)
    assert refusal.kind == "unprocessable"
    assert words in refusal.message


def test_text_that_is_not_utf8_stops_the_read_of_parquet(read: Reader) -> None:
    """The engine looks at the values when it converts them."""
    with pytest.raises(duckdb.InvalidInputException, match="not valid UTF8"):
        read(parquet({"s": INVALID}))


def test_encrypted_columns_are_refused(read: Reader) -> None:
    """With a plain footer, the file looks like any other."""
    whole = parquet({"a": [1]})
    metadata = pq.read_metadata(pa.BufferReader(whole))
    assert metadata.num_rows == 1  # the file is whole: only its mark is that of an encrypted one
    assert read.refuse(whole[:-4] + b"PARE").says("encrypted")


@pytest.mark.parametrize("stored", [parquet, arrow], ids=["parquet", "arrow"])
def test_a_value_over_the_limit_is_refused(read: Reader, stored: Callable[[dict[str, Any]], bytes]) -> None:
    refusal = read.refuse(stored({"s": ["x", "y" * 17_000_000]}))
    assert (refusal.kind, refusal.details) == ("too large", {"column": "s"})
    assert read(stored({"s": ["x", "y" * 15_000_000]})).types == {"s": "VARCHAR"}


def test_parameters(read: Reader) -> None:
    body = parquet({"a": [1], "t": pa.array([1], pa.time32("s"))})
    assert read.refuse(body, format="csv").says("`format` is csv", "parquet")
    for name in ("delimiter", "encoding"):
        assert read.refuse(body, **{name: ";"}).says(f"`{name}` does not apply")
    assert read.refuse(body, types=(("z", "INTEGER"),)).says("'z'")
    result = read(body, types=(("t", "VARCHAR"),))
    assert (result.column("t"), result.warnings) == (["00:00:01"], [])
