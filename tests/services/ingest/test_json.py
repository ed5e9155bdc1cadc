"""JSON and NDJSON: every key and kind of the whole file, no value changed, and what is malformed refused with its line."""

from __future__ import annotations

import json

import pytest

from lakehouse.services.engines.writer_child import text_chunks
from tests.services.ingest.format_kit import Reader, messages


@pytest.mark.parametrize(
    ("text", "types", "rows"),
    [
        pytest.param('[{"a":1,"b":"x"},{"a":2,"b":"Zoë"}]', {"a": "BIGINT", "b": "VARCHAR"}, [("1", "x"), ("2", "Zoë")], id="an array"),
        pytest.param('{"a":1}\n\n {"a":2} \r\n{"a":3}', {"a": "BIGINT"}, [("1",), ("2",), ("3",)], id="lines"),
        pytest.param('{\n "a": 1\n}\n{"a": 2}', {"a": "BIGINT"}, [("1",), ("2",)], id="objects over lines"),
        pytest.param('{"a":true}\n{"a":null}\n{}\n', {"a": "BOOLEAN"}, [("true",), (None,), (None,)], id="null and missing"),
        pytest.param('{"a":""}\n{}', {"a": "VARCHAR"}, [("",), (None,)], id="the empty text is no NULL"),
        pytest.param('{"a":null}', {"a": "VARCHAR"}, [(None,)], id="only null"),
        pytest.param('{"a":1.5}\n{"a":2}', {"a": "DOUBLE"}, [("1.5",), ("2.0",)], id="integers beside fractions"),
        pytest.param('{"a":1.10}\n{"a":1e5}', {"a": "DOUBLE"}, [("1.1",), ("100000.0",)], id="a number is its value"),
        pytest.param('{"a":0.30000000000000004}', {"a": "DOUBLE"}, [("0.30000000000000004",)], id="all digits of a double"),
        pytest.param('{"a":9007199254740993}\n{"a":-9223372036854775808}', {"a": "BIGINT"}, [("9007199254740993",), ("-9223372036854775808",)], id="64 bits"),
        pytest.param('{"a":"007"}\n{"a":"1"}', {"a": "VARCHAR"}, [("007",), ("1",)], id="quotes are a type"),
        pytest.param('{"a":"2024-01-05"}', {"a": "VARCHAR"}, [("2024-01-05",)], id="a date is a string"),
        pytest.param('{"a":[1,2.5]}\n{"a":[]}', {"a": "DOUBLE[]"}, [("[1.0, 2.5]",), ("[]",)], id="a list"),
        pytest.param('{}\n{"a":[1]}', {"a": "BIGINT[]"}, [(None,), ("[1]",)], id="a list as the only column"),
        pytest.param('{"a":{"x":1}}\n{"a":{"y":"z"}}', {"a": 'STRUCT("x" BIGINT, "y" VARCHAR)'}, [("{'x': 1, 'y': NULL}",), ("{'x': NULL, 'y': z}",)], id="objects have all keys"),
        pytest.param('{"a":[{"b":[[1],[null]]}]}', {"a": 'STRUCT("b" BIGINT[][])[]'}, [("[{'b': [[1], [NULL]]}]",)], id="deeper"),
        pytest.param('{"a b":1,"c.d":2,"e\\"f":3,"g\'h":4}', {"a b": "BIGINT", "c.d": "BIGINT", 'e"f': "BIGINT", "g'h": "BIGINT"}, [("1", "2", "3", "4")], id="names"),
        pytest.param('{"a":"\\u00e9\\ud83d\\ude00\\n"}', {"a": "VARCHAR"}, [("é😀\n",)], id="escapes"),
        pytest.param('{"a":-0.0}\n{"a":0.5}', {"a": "DOUBLE"}, [("-0.0",), ("0.5",)], id="a negative zero"),
    ],
)  # fmt: skip
def test_values_keep_their_kind(read: Reader, text: str, types: dict[str, str], rows: list[tuple[str | None]]) -> None:
    result = read(text, "data.json")
    assert (result.types, result.rows, result.warnings) == (types, rows, [])


@pytest.mark.parametrize(
    ("text", "line", "values", "words"),
    [
        ('{"a":5}\n{"a":"five"}\n{"a":2.50}\n{"a":null}', 2, ["5", "five", "2.50", None], "strings beside integers"),
        ('{"a":"x"}\n{"a":true}\n{"a":{"b":[1.50]}}', 2, ["x", "true", '{"b":[1.50]}'], "booleans beside strings"),
        ('{"a":1}\n{"a":9223372036854775808}', 2, ["1", "9223372036854775808"], "integers beyond 64 bits"),
        ('{"a":1}\n{"a":' + "9" * 5000 + "}", 2, ["1", "9" * 5000], "neither BIGINT nor DOUBLE gives back"),
        ('{"a":0.1234567890123456789}', 1, ["0.1234567890123456789"], "neither BIGINT nor DOUBLE gives back"),
        ('{"a":1e400}', 1, ["1e400"], "neither BIGINT nor DOUBLE gives back"),
        ('{"a":1}\n{"a":-0}', 2, ["1", "-0"], "neither BIGINT nor DOUBLE gives back"),
        ('{"a":0.5}\n{"a":9007199254740993}', 2, ["0.5", "9007199254740993"], "integers beyond 2^53"),
        ('{"a":{}}', 1, ["{}"], "no keys"),
        ('{"a":{"b":1,"B":2}}', 1, ['{"b":1,"B":2}'], "differ in case only"),
        ('{"a":{"":1}}', 1, ['{"":1}'], "an empty key"),
    ],
)  # fmt: skip
def test_mixed_kinds_are_text_and_said(
    read: Reader, text: str, line: int, values: list[str | None], words: str
) -> None:
    result = read(text, "data.ndjson")
    assert (result.types, result.column("a")) == ({"a": "VARCHAR"}, values)
    ((column, warned, message),) = result.warnings
    assert (column, warned) == ("a", line)
    assert words in message


def test_a_mixed_value_inside_is_text_and_the_rest_keeps_its_type(read: Reader) -> None:
    result = read('{"a":[{"b":1,"c":1}]}\n{"a":[{"b":2.50,"c":"x"},{"b":null}]}', "data.ndjson")
    assert result.types == {"a": 'STRUCT("b" DOUBLE, "c" VARCHAR)[]'}
    assert result.column("a") == ["[{'b': 1.0, 'c': 1}]", "[{'b': 2.5, 'c': x}, {'b': NULL, 'c': NULL}]"]
    ((column, line, message),) = result.warnings
    assert (column, line) == ("a", 2)
    assert "`a[].c`" in message


def test_deep_values_are_text_below_a_depth_and_refused_below_another(read: Reader) -> None:
    result = read('{"a":' + "[" * 100 + "]" * 100 + "}", "data.json")
    assert result.types["a"].startswith("VARCHAR[]")
    assert "nested deeper than 32 levels" in result.warnings[0][2]
    assert read.refuse('{"a":' + "[" * 220 + "]" * 220 + "}", "data.json").says("nested deeper than 200 levels")
    assert read.refuse("[" * 100_000 + "]" * 100_000, "data.json").says("nested deeper than 200 levels")
    assert read.refuse('{"a":' * 100_000, "data.ndjson").says("nested deeper than 200 levels", "line 1")


def test_many_keys_are_data(read: Reader) -> None:
    """Objects whose keys are ids do not become a STRUCT of a thousand fields."""
    result = read("\n".join(json.dumps({"a": {f"k{i}": i}}) for i in range(1200)), "data.ndjson")
    assert result.types == {"a": "VARCHAR"}
    assert "more than 1000 different keys" in result.warnings[0][2]
    assert result.column("a")[7] == '{"k7":7}'


def test_a_key_and_a_kind_that_come_late_are_seen(read: Reader) -> None:
    lines = [f'{{"a":{i},"b":{i}}}' for i in range(30_000)]
    result = read("\n".join([*lines, '{"a":0,"b":"x","c":1}']), "data.ndjson")
    assert result.types == {"a": "BIGINT", "b": "VARCHAR", "c": "BIGINT"}
    assert result.warnings[0][:2] == ("b", 30_001)
    assert result.rows[-1] == ("0", "x", "1")
    assert result.rows[29_999] == ("29999", "29999", None)


def test_names_that_are_equal_or_blank_get_names_of_their_own(read: Reader) -> None:
    result = read('{"a":1,"A":"x","":true,"A_2":0,"  ":null}', "data.json")
    assert [name for name, _ in result.columns] == ["a", "A_3", "column1", "A_2", "column2"]
    assert result.rows == [("1", "x", "true", "0", None)]
    assert set(messages(result.warnings)) == {"A_3", "column1", "column2"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{"a":1}\n{"a":2}\n{"a":\n', 3, "it ends too early"),
        ('{"a":1}\n{"a":2\n{"a":3}', 2, "expecting ',' delimiter"),
        ('{"a":1} {"a":2}', 1, "more than one value"),
        ('{"a":1}\n[1]', 2, "an array, not an object"),
        ('{"a":1}\n5', 2, "a number, not an object"),
        ('{"a":1}\n"x"', 2, "a string, not an object"),
        ('{"a":1}\nnull', 2, "null, not an object"),
        ('{"a":1}\n{"a":NaN}', 2, "NaN is not JSON"),
        ('{"a":-Infinity}', 1, "-Infinity is not JSON"),
        ('{"a":1,"a":2}', 1, "the key 'a' twice"),
        ('{"a":1,"b":1}\n{"a":{"c":1,"c":2}}', 2, "the key 'c' twice"),
        ('{"a":"\\ud800"}', 1, "half of a surrogate pair"),
        ('{"x":0}\n{"a":[{"\\udc00":1}]}', 2, "half of a surrogate pair"),
        ("{'a':1}", 1, "property name enclosed in double quotes"),
        ('{"a":01}', 1, "expecting ',' delimiter"),
        ('{"a":"x\ty"}', 1, "invalid control character"),
        ('{"a":1,}', 1, "not valid JSON"),
    ],
)  # fmt: skip
def test_a_malformed_line_is_refused_with_its_number(read: Reader, text: str, line: int, words: str) -> None:
    refusal = read.refuse(text, "data.ndjson")
    assert (refusal.kind, refusal.details["line"]) == ("unprocessable", line)
    assert words in refusal.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "no records"),
        ("[{}]", "no columns"),
        ("  \n ", "no records"),
        ('[{"a":1},]', "element 2 is not valid JSON"),
        ('[{"a":1}', "truncated behind element 1"),
        ('[{"a":1},', "truncated behind element 1"),
        ('[{"a":1}] x', "behind the end of the array"),
        ('[{"a":1}] [{"a":1}]', "behind the end of the array"),
        ('[{"a":1} {"a":2}]', "element 1 is not followed by a comma"),
        ('[{"a":1},{"a":2]', "element 2"),
        ('[{"a":1},3]', "element 2 is a number"),
    ],
)  # fmt: skip
def test_a_malformed_array_is_refused_with_the_element(read: Reader, text: str, words: str) -> None:
    assert words in read.refuse(text, "data.json").message


def test_records_are_put_together_across_chunks(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a chunk ends: inside a number, an escape, a character, between elements."""
    values = [{"a": i * 1001, "é": "x\\y\u00e9\U0001f600" * (i % 5), "n": [i / 8]} for i in range(40)]
    expected = None
    for size in (1, 2, 3, 5, 7, 64, 1000):
        monkeypatch.setattr(text_chunks, "CHUNK", size)
        for text in (json.dumps(values), "\n".join(map(json.dumps, values)), json.dumps(values, ensure_ascii=False)):
            result = read(text, "data.json")
            expected = expected or result.rows
            assert result.rows == expected
            assert len(result.rows) == 40


@pytest.mark.parametrize(
    ("body", "options", "value"),
    [
        ('{"a":"café"}'.encode("utf-16"), {}, "café"),
        ('{"a":"café"}'.encode("utf-16-be"), {}, "café"),
        ('{"a":"café"}'.encode("utf-8-sig"), {}, "café"),
        ('{"a":"café"}'.encode("latin-1"), {"encoding": "latin-1"}, "café"),
        ('{"a":"日本"}'.encode("shift_jis"), {"encoding": "shift_jis"}, "日本"),
    ],
)  # fmt: skip
def test_encodings(read: Reader, body: bytes, options: dict[str, str], value: str) -> None:
    assert read(body, "data.json", **options).rows == [(value,)]


def test_a_byte_that_does_not_decode_is_refused_with_its_offset(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"a":"caf\xc3\xa9"}\n{"a":"caf\xe9"}'
    for size in (4, 2**20):
        monkeypatch.setattr(text_chunks, "CHUNK", size)
        refusal = read.refuse(body, "data.ndjson")
        assert refusal.details["offset"] == body.index(b"\xe9")
        assert refusal.says("0xe9", "encoding")
    refusal = read.refuse('{"a":"x"}'.encode("utf-16") + b"\x00", "data.json")
    assert refusal.details["offset"] == 20
    assert read.refuse('{"a":1}', "data.json", encoding="klingon").kind == "bad request"
    assert read.refuse('{"a":1}', "data.json", encoding="rot13").kind == "bad request"


def test_forced_columns_come_as_they_were_written(read: Reader) -> None:
    result = read('{"a":1.10,"b":7}\n{"a":"x","b":8}', "data.ndjson", types=(("a", "VARCHAR"),))
    assert (result.types, result.column("a"), result.warnings) == ({"a": "VARCHAR", "b": "BIGINT"}, ["1.10", "x"], [])
    assert read.refuse('{"a":1}', "data.json", types=(("z", "DOUBLE"),)).says("`types`", "'z'")


def test_limits(read: Reader) -> None:
    assert read('{"a":"' + "x" * 15_000_000 + '"}', "data.json").types == {"a": "VARCHAR"}
    assert read.refuse('{"a":"' + "x" * 17_000_000 + '"}', "data.json").kind == "too large"
    wide = json.dumps({f"k{i}": i for i in range(10_001)})
    refusal = read.refuse(wide, "data.json")
    assert refusal.kind == "too large"
    assert refusal.says("10000 columns")


@pytest.mark.parametrize("name", ["delimiter", "quote", "null"])
def test_a_parameter_of_csv_is_refused(read: Reader, name: str) -> None:
    refusal = read.refuse('{"a":1}', "data.json", **{name: ";"})
    assert refusal.kind == "bad request"
    assert refusal.says(f"`{name}`")
