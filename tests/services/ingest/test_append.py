"""Uploads into a table that is there: which columns fit into it as it is, which values are stored, what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tools.kit.matrices import choose_cells, spread
from tools.kit.shared_lake import SharedLake


@dataclass(frozen=True, kw_only=True)
class Case:
    """An upload of the column `v` beside `id`, into a table whose first upload had `first`.

    `stored` is the text of the uploaded rows in the table, or the status and the words of a refusal.
    """

    first: list[str]
    then: list[str]
    stored: list[str | None] | None = None
    status: int = 200
    type: str = ""
    first_type: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    says: dict[str, Any] = field(default_factory=dict)


def csv(values: list[str], start: int = 1) -> bytes:
    lines = [f"{number},{value}" for number, value in enumerate(values, start)]
    return "\n".join(["id,v", *lines, ""]).encode()


FITS = {
    "whole numbers into DOUBLE": Case(first=["1.5"], then=["2", "-7"], stored=["2.0", "-7.0"], type="DOUBLE"),
    "the largest whole number into DOUBLE": Case(
        first=["1.5"], then=["9007199254740992"], stored=["9007199254740992.0"], type="DOUBLE"
    ),
    "whole numbers into INTEGER": Case(
        first=["1"], first_type="INTEGER", then=["2147483647"], stored=["2147483647"], type="INTEGER"
    ),
    "whole numbers into DECIMAL": Case(first=["1.10"], then=["2"], stored=["2.00"], type="DECIMAL(18,2)"),
    "fractions into DECIMAL": Case(
        first=["1.10"], then=["9.99", "12.5"], stored=["9.99", "12.50"], type="DECIMAL(18,2)"
    ),
    "fractions of many digits into DECIMAL": Case(
        first=["1.5000"],
        first_type="DECIMAL(38,4)",
        then=["1234567890123456.8"],
        stored=["1234567890123456.8000"],
        type="DECIMAL(38,4)",
    ),
    "prices with two places into DOUBLE": Case(
        first=["1.5"], then=["10.00", "9.99"], stored=["10.0", "9.99"], type="DOUBLE"
    ),
    "DECIMAL of fewer places": Case(
        first=["1.500"], first_type="DECIMAL(9,3)", then=["1.10"], stored=["1.100"], type="DECIMAL(9,3)"
    ),
    "numbers into text": Case(first=["x"], then=["007", "12"], stored=["007", "12"], type="VARCHAR"),
    "only numbers into text": Case(first=["x"], then=["12", "-3"], stored=["12", "-3"], type="VARCHAR"),
    "whole numbers beside fractions into text": Case(
        first=["x"], then=["2", "1.5"], stored=["2", "1.5"], type="VARCHAR"
    ),
    "dates into text": Case(first=["x"], then=["2024-01-05"], stored=["2024-01-05"], type="VARCHAR"),
    "booleans into text": Case(first=["x"], then=["true", ""], stored=["true", None], type="VARCHAR"),
    "times with T and Z into text": Case(
        first=["x"], then=["2024-01-05T10:00:00Z"], stored=["2024-01-05T10:00:00Z"], type="VARCHAR"
    ),
    "times with T into text": Case(first=["x"], then=["2024-01-05T10:00"], stored=["2024-01-05T10:00"], type="VARCHAR"),
    "nothing into DOUBLE": Case(first=["1.5"], then=["", ""], stored=[None, None], type="DOUBLE"),
    "nothing into DATE": Case(first=["2024-01-05"], then=[""], stored=[None], type="DATE"),
    "nothing into TIMESTAMP WITH TIME ZONE": Case(
        first=["2024-01-05T10:00:00Z"], then=[""], stored=[None], type="TIMESTAMP WITH TIME ZONE"
    ),
    "numbers into what was nothing": Case(first=[""], then=["12"], stored=["12"], type="VARCHAR"),
    "a forced type that is the table's": Case(
        first=["1.5"], then=["10.00"], parameters={"types": '{"v":"DOUBLE"}'}, stored=["10.0"], type="DOUBLE"
    ),
}

REFUSED = {
    "codes into numbers": Case(
        first=["100"], then=["0300"], status=409, says={"column": "v", "was": "BIGINT", "is": "VARCHAR"}
    ),
    "fractions into numbers": Case(
        first=["100"], then=["1.5"], status=409, says={"column": "v", "was": "BIGINT", "is": "DOUBLE"}
    ),
    "days into times": Case(
        first=["2024-01-05 10:00:00"],
        then=["2024-01-05"],
        status=409,
        says={"column": "v", "was": "TIMESTAMP", "is": "DATE"},
    ),
    "a forced type beside text": Case(
        first=["x"],
        then=["1"],
        parameters={"types": '{"v":"BIGINT"}'},
        status=409,
        says={"column": "v", "was": "VARCHAR", "is": "BIGINT"},
    ),
    "a whole number beyond DOUBLE": Case(
        first=["1.5"],
        then=["2", "9007199254740993"],
        status=422,
        says={"line": 3, "row": 2, "column": "v", "value": "9007199254740993"},
    ),
    "a whole number beyond INTEGER": Case(
        first=["1"],
        first_type="INTEGER",
        then=["1", "2", "2147483648"],
        status=422,
        says={"line": 4, "row": 3, "column": "v", "value": "2147483648"},
    ),
    "a third place": Case(
        first=["1.10"], then=["1.125"], status=422, says={"line": 2, "row": 1, "column": "v", "value": "1.125"}
    ),
    "digits beyond DECIMAL": Case(
        first=["1.5"],
        first_type="DECIMAL(4,1)",
        then=["1234"],
        status=422,
        says={"line": 2, "row": 1, "column": "v", "value": "1234"},
    ),
    "a price of too many digits for DOUBLE": Case(
        first=["1.5"],
        then=["1234567890123456.70"],
        status=422,
        says={"line": 2, "row": 1, "column": "v", "value": "1234567890123456.70"},
    ),
}


def make_table(lake: SharedLake, case: Case) -> None:
    types = {"types": json.dumps({"v": case.first_type})} if case.first_type else {}
    assert lake.send("t", csv(case.first), file="a.csv", query=types).status_code == 201


@pytest.mark.parametrize(("name", "mode"), spread(choose_cells(FITS, ("append", "upsert")), 3))
def test_a_column_that_fits_is_stored_in_the_tables_type(lake: SharedLake, name: str, mode: str) -> None:
    case = FITS[name]
    make_table(lake, case)
    parameters = {"mode": mode, **({"key": "id"} if mode == "upsert" else {}), **case.parameters}
    answer = lake.send("t", csv(case.then, 10), file="b.csv", query=parameters)
    assert answer.status_code == 200, answer.text
    assert [column["type"] for column in answer.json()["columns"]] == ["BIGINT", case.type]
    rows = lake.ask("SELECT CAST(v AS VARCHAR) FROM t WHERE id >= 10 ORDER BY id")
    assert [row[0] for row in rows] == case.stored
    assert answer.json()["row_count"] == len(case.first) + len(case.then)


@pytest.mark.parametrize(("name", "mode"), choose_cells(REFUSED, ("append", "upsert")))
def test_what_does_not_fit_is_refused_and_changes_nothing(lake: SharedLake, name: str, mode: str) -> None:
    case = REFUSED[name]
    make_table(lake, case)
    parameters = {"mode": mode, **({"key": "id"} if mode == "upsert" else {}), **case.parameters}
    answer = lake.send("t", csv(case.then, 10), file="b.csv", query=parameters)
    assert answer.status_code == case.status, answer.text
    error = answer.json()["error"]
    details = error["details"]["differences"][0] if case.status == 409 else error["details"]
    assert details == case.says
    assert lake.ask("SELECT count(*) FROM t") == [[len(case.first)]]
    assert lake.staged() == []


@pytest.mark.parametrize("name", spread(FITS, 2))
def test_with_replace_another_type_is_refused_and_nothing_is_not(lake: SharedLake, name: str) -> None:
    case = FITS[name]
    make_table(lake, case)
    answer = lake.send("t", csv(case.then, 10), file="b.csv", query=case.parameters)
    same = set(case.stored or []) == {None} or bool(case.parameters) or case.then == ["007", "12"]
    assert answer.status_code == (200 if same else 409), answer.text
    assert lake.ask("SELECT count(*) FROM t") == [[len(case.then) if same else len(case.first)]]


def test_evolve_also_stores_the_text_of_the_file(lake: SharedLake) -> None:
    lake.send("t", b"id,v\n1,x\n", file="a.csv")
    answer = lake.send("t", b"id,v,w\n2,2,new\n3,1.5,new\n", file="b.csv", mode="append", evolve="true")
    assert answer.status_code == 200, answer.text
    assert lake.ask("SELECT v, w FROM t ORDER BY id") == [["x", None], ["2", "new"], ["1.5", "new"]]


def test_a_column_without_values_is_text_in_a_new_table_and_new_columns_stay_refused(lake: SharedLake) -> None:
    first = lake.send("t", b"a,b\n1,\n", file="a.csv").json()
    assert first["columns"] == [{"name": "a", "type": "BIGINT"}, {"name": "b", "type": "VARCHAR"}]
    for body, difference in (
        (b"a,b,c\n1,,\n", {"column": "c", "was": None, "is": "VARCHAR"}),
        (b"a\n1\n", {"column": "b", "was": "VARCHAR", "is": None}),
    ):
        for mode in ("append", "replace"):
            answer = lake.send("t", body, file="b.csv", mode=mode)
            assert answer.status_code == 409
            assert answer.json()["error"]["details"]["differences"] == [difference]
    again = lake.send("t", b"b,a\n,\n", file="b.csv").json()
    assert again["columns"] == first["columns"]
    assert again["schema_fingerprint"] == first["schema_fingerprint"]


def test_a_file_with_only_a_header_fits_into_any_table(lake: SharedLake) -> None:
    lake.send("t", b"id,d\n1,2024-01-05\n", file="a.csv")
    answer = lake.send("t", b"id,d\n", file="b.csv", mode="append")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["rows_added"], answer.json()["row_count"]) == (0, 1)


def test_the_line_of_a_value_is_known_where_each_row_has_one(lake: SharedLake) -> None:
    lake.send("t", b"s,v\nx,1.5\n", file="a.csv")
    answer = lake.send("t", b's,v\n"two\nlines",1\ny,9007199254740993\n', file="b.csv", mode="append")
    assert answer.status_code == 422
    assert answer.json()["error"]["details"] == {"row": 2, "column": "v", "value": "9007199254740993"}


def test_a_key_of_text_is_the_text_of_the_file(lake: SharedLake) -> None:
    lake.send("t", b"k,v\nA,1\n2.5,1\n3,1\n", file="a.csv")
    answer = lake.send("t", b"k,v\n2.5,7\n3,7\n", file="b.csv", mode="upsert", key="k")
    assert answer.status_code == 200, answer.text
    assert lake.ask("SELECT k, v FROM t ORDER BY k") == [["2.5", 7], ["3", 7], ["A", 1]]


@pytest.mark.extended
def test_the_value_is_found_among_very_many_columns(lake: SharedLake) -> None:
    names = ",".join(f"c{number}" for number in range(500))
    lake.send("t", f"{names}\n{','.join(['1.5'] * 500)}\n".encode(), file="a.csv")
    values = ["2"] * 500
    late = [*values[:-1], "9007199254740993"]
    body = f"{names}\n{','.join(values)}\n{','.join(late)}\n".encode()
    answer = lake.send("t", body, file="b.csv", mode="append")
    assert answer.status_code == 422
    found = {"line": 3, "row": 2, "column": "c499", "value": "9007199254740993"}
    assert answer.json()["error"]["details"] == found


JSON_FITS: dict[str, tuple[list[Any], list[Any], list[str | None]]] = {
    "whole numbers into DOUBLE": ([1.5], [2], ["2.0"]),
    "nothing into BIGINT": ([5], [None], [None]),
    "an empty list": ([[1, 2]], [[], [3]], ["[]", "[3]"]),
    "only empty lists": ([[1, 2]], [[]], ["[]"]),
    "lists of whole numbers": ([[1.5]], [[2]], ["[2.0]"]),
    "fields in another order": ([{"a": 1, "b": 1.5}], [{"b": 2, "a": 3}], ["{'a': 3, 'b': 2.0}"]),
    "a field without values": ([{"a": 1, "b": 1.5}], [{"a": 1, "b": None}], ["{'a': 1, 'b': NULL}"]),
    "nothing into objects": ([{"a": 1}], [None], [None]),
}


@pytest.mark.parametrize("name", JSON_FITS)
def test_json_fits_where_no_value_is_lost(lake: SharedLake, name: str) -> None:
    first, then, stored = JSON_FITS[name]
    assert lake.send("t", to_json(first), file="a.json").status_code == 201
    answer = lake.send("t", to_json(then, 10), file="b.json", mode="append")
    assert answer.status_code == 200, answer.text
    rows = lake.ask("SELECT CAST(v AS VARCHAR) FROM t WHERE id >= 10 ORDER BY id")
    assert [row[0] for row in rows] == stored


JSON_REFUSED: dict[str, tuple[list[Any], list[Any], int]] = {
    "numbers into text": (["x"], [1], 409),
    "another field": ([{"a": 1}], [{"a": 1, "b": 2}], 409),
    "a missing field": ([{"a": 1, "b": 2}], [{"a": 1}], 409),
    "a whole number beyond DOUBLE": ([1.5], [2**53 + 1], 422),
    "a whole number beyond DOUBLE in a list": ([[1.5]], [[2**53 + 1]], 422),
    "a whole number beyond DOUBLE in an object": ([{"a": 1.5}], [{"a": 2**53 + 1}], 422),
}


@pytest.mark.parametrize("name", JSON_REFUSED)
def test_json_is_refused_where_a_kind_differs_or_a_value_is_lost(lake: SharedLake, name: str) -> None:
    first, then, status = JSON_REFUSED[name]
    assert lake.send("t", to_json(first), file="a.json").status_code == 201
    answer = lake.send("t", to_json(then, 10), file="b.json", mode="append")
    assert answer.status_code == status, answer.text
    assert lake.ask("SELECT count(*) FROM t") == [[1]]


def to_json(values: list[Any], start: int = 1) -> bytes:
    return json.dumps([{"id": number, "v": value} for number, value in enumerate(values, start)]).encode()


def to_parquet(array: pa.Array) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": pa.array(range(10, 10 + len(array)), pa.int64()), "v": array}), buffer)
    return buffer.getvalue()


def to_arrow(array: pa.Array) -> bytes:
    table = pa.table({"id": pa.array(range(10, 10 + len(array)), pa.int64()), "v": array})
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


TYPED: list[tuple[str, pa.Array, list[str | None] | int]] = [
    ("1.5", pa.array([2], pa.int32()), ["2.0"]),
    ("1.5", pa.array([2.5], pa.float32()), ["2.5"]),
    ("100", pa.array([7], pa.int32()), ["7"]),
    ("1.10", pa.array([7], pa.int64()), ["7.00"]),
    ("2024-01-05", pa.nulls(1), [None]),
    ("2024-01-05", pa.nulls(2, pa.float64()), [None, None]),
    ("x", pa.nulls(1, pa.binary()), [None]),
    ("x", pa.array([7], pa.int64()), 409),
    ("1.10", pa.array([1.5], pa.float64()), 409),
    ("100", pa.array([1.0], pa.float64()), 409),
    ("1.5", pa.array([2**53 + 1], pa.int64()), 422),
]


@pytest.mark.parametrize(
    ("case", "form"),
    choose_cells(TYPED, (("b.parquet", to_parquet), ("b.arrow", to_arrow))),
    ids=lambda value: value[0],
)
def test_typed_formats_fit_where_no_value_is_lost(
    lake: SharedLake, case: tuple[str, pa.Array, list[str | None] | int], form: tuple[str, Callable[[pa.Array], bytes]]
) -> None:
    (first, array, outcome), (file, make) = case, form
    lake.send("t", csv([first]), file="a.csv")
    answer = lake.send("t", make(array), file=file, mode="append")
    if isinstance(outcome, int):
        assert answer.status_code == outcome, answer.text
        return
    assert answer.status_code == 200, answer.text
    rows = lake.ask("SELECT CAST(v AS VARCHAR) FROM t WHERE id >= 10 ORDER BY id")
    assert [row[0] for row in rows] == outcome


def test_a_typed_column_without_values_keeps_its_type_in_a_new_table(lake: SharedLake) -> None:
    answer = lake.send("t", to_parquet(pa.nulls(2, pa.float64())), file="b.parquet")
    assert [column["type"] for column in answer.json()["columns"]] == ["BIGINT", "DOUBLE"]
