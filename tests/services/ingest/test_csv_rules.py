"""The rules for CSV, one table of small files for each sentence of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lakehouse.services.contracts.write_engine import ParseOptions
from tests.services.ingest.engine_kit import Engine, open_engine


@dataclass(frozen=True)
class Taken:
    """A file that is taken: the types, the rows as text, and the (column, line) of each warning."""

    types: str
    rows: Sequence[Sequence[str | None]] | None = None
    warnings: Sequence[tuple[str | None, int | None]] | None = None
    names: str = ""


@dataclass(frozen=True)
class Refused:
    """A file that is refused: the status, and the details that the error has."""

    status: int
    details: dict[str, Any] = field(default_factory=dict)


Table = dict[str, tuple[bytes, dict[str, Any], Taken | Refused]]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(tmp_path / "lake") as engine:
        yield engine


async def check(engine: Engine, table: Table) -> None:
    """Check each file of a table, and name those that come out differently."""
    problems = []
    for name, (body, options, expected) in table.items():
        found = await load(engine, body, options)
        if (problem := compare(found, expected)) is not None:
            problems.append(f"{name}: {problem}")
    assert not problems, "\n".join(problems)


async def load(engine: Engine, body: bytes, options: dict[str, Any]) -> Taken | Refused:
    answer = await engine.answer(body, ParseOptions(**{"format": "csv", **options}))
    if answer.status >= 400:
        error = answer.document["error"]
        return Refused(answer.status, {**(error.get("details") or {}), "message": error["message"]})
    columns = answer.document["columns"]
    select = ", ".join('CAST("{}" AS VARCHAR)'.format(column["name"].replace('"', '""')) for column in columns)
    return Taken(
        types=" ".join(column["type"].replace(" WITH TIME ZONE", "TZ") for column in columns),
        rows=[list(row) for row in answer.ask(f"SELECT {select} FROM {{t}}")],
        warnings=[(warning["column"], warning["line"]) for warning in answer.document["warnings"]],
        names="|".join(column["name"] for column in columns),
    )


def compare(found: Taken | Refused, expected: Taken | Refused) -> str | None:
    if isinstance(expected, Refused) or isinstance(found, Refused):
        if isinstance(expected, Refused) and isinstance(found, Refused) and found.status == expected.status:
            wrong = {
                key: found.details.get(key)
                for key, value in expected.details.items()
                if found.details.get(key) != value
            }
            return f"details {wrong} of {found.details}" if wrong else None
        return f"{found}"
    if found.types != expected.types:
        return f"types {found}"
    if expected.rows is not None and found.rows != [list(row) for row in expected.rows]:
        return f"rows {found.rows}"
    if expected.warnings is not None and found.warnings != list(expected.warnings):
        return f"warnings {found.warnings}"
    if expected.names and found.names != expected.names:
        return f"names {found.names}"
    return None


def column(values: str, expected: str, warning: int | None = None) -> tuple[bytes, dict[str, Any], Taken]:
    """A file with a column of these values, separated by spaces, beside a column of integers."""
    texts = values.split(" ")
    rows = [[str(number), None if text == "-" else text] for number, text in enumerate(texts)]
    body = "n,v\n" + "".join(f"{number},{text or ''}\n" for number, text in rows)
    expected_warnings = [] if warning is None else [("v", warning)]
    return body.encode(), {}, Taken(f"BIGINT {expected}", rows, expected_warnings)


async def test_a_type_is_taken_if_every_value_comes_back(engine: Engine) -> None:
    """Integers, fractions, truth values, dates, points in time and decimals, at their limits; nothing warns."""
    await check(
        engine,
        {
            "integers": column("0 1 -17 9223372036854775807 -9223372036854775808 -", "BIGINT"),
            "fractions": column("0.1 1.5e-07 -2.5 1e+22 123456789.123 - -0.0", "DOUBLE"),
            "nan beside numbers": column("1.5 nan inf -inf", "DOUBLE"),
            "booleans": column("true false - true", "BOOLEAN"),
            "dates": column("2024-01-05 2024-02-29 0001-01-01 9999-12-31 -", "DATE"),
            "decimals of one scale": column("10.00 9.99 -0.50 0.00 123456789012345.10", "DECIMAL(18,2)"),
            "long decimals": column("12345678901234567890123.10 9.99", "DECIMAL(38,2)"),
            "double before decimal": column("1.25 9.75", "DOUBLE"),
        },
    )


async def test_what_does_not_come_back_stays_text_and_is_said(engine: Engine) -> None:
    """The line is that of the value with which the last type died."""
    await check(
        engine,
        {
            "padded": column("00601 02134 94107", "VARCHAR", 2),
            "padded later": column("1 2 003", "VARCHAR", 4),
            "signed": column("5 +5 7", "VARCHAR", 3),
            "minus zero": column("1 -0 2", "VARCHAR", 3),
            "power of ten": column("1 2 1e5", "VARCHAR", 4),
            "no digit before the point": column(".5 1.5", "VARCHAR", 2),
            "hexadecimal": column("0x1F 0x20", "VARCHAR", 2),
            "beyond 64 bits": column("1 2 9223372036854775808", "VARCHAR", 4),
            "two scales": column("1.9 1.10 2.5", "VARCHAR", 3),
            "minus zero as a decimal": column("1.50 -0.00", "VARCHAR", 3),
            "words": column("1 NA 3", "VARCHAR", 3),
            "capitals": column("TRUE FALSE", "VARCHAR", 2),
            "capitals later": column("true TRUE", "VARCHAR", 3),
            "dates without zeros": column("2024-01-05 2024-1-6", "VARCHAR", 3),
            "a day that does not exist": column("2024-01-05 2023-02-29", "VARCHAR", 3),
            "date and point in time": column("2024-01-05 2024-01-05T10:00:00", "VARCHAR", 3),
            "offsets": column("2024-01-05T10:00:00+02:00 2024-01-05T10:00:00+00:00", "VARCHAR", 2),
            "with and without Z": column("2024-01-05T10:00:00Z 2024-01-05T10:00:00", "VARCHAR", 3),
            "nanoseconds": column("2024-01-05T10:00:00.123456789Z", "VARCHAR", 2),
            "year of five digits": column("2024-01-05 12024-01-05", "VARCHAR", 3),
        },
    )


async def test_words_alone_make_no_type(engine: Engine) -> None:
    await check(
        engine,
        {
            word: (
                f"n,v\n1,{word}\n2,\n3,{word}\n".encode(),
                {},
                Taken("BIGINT VARCHAR", [["1", word], ["2", None], ["3", word]]),
            )
            for word in ("nan", "inf", "infinity", "epoch", "NaN", "-inf", "today", "null", "NULL", "None", "N/A")
        },
    )


async def test_the_two_exceptions(engine: Engine) -> None:
    """Whole numbers up to 2^53 beside fractions, and ISO 8601 with T."""
    zone: list[list[str | None]] = [["0", "2024-01-05 10:00:00+00"], ["1", "2024-01-05 10:00:00.5+00"], ["2", None]]
    local = [["0", "2024-01-05 10:00:00"], ["1", "2024-01-05 23:59:59.123456"]]
    await check(
        engine,
        {
            "whole beside fraction": (
                b"v,w\n1.5,x\n2,y\n-4,z\n",
                {},
                Taken("DOUBLE VARCHAR", [["1.5", "x"], ["2.0", "y"], ["-4.0", "z"]], []),
            ),
            "whole first": (b"v,w\n2,x\n1.5,y\n", {}, Taken("DOUBLE VARCHAR", [["2.0", "x"], ["1.5", "y"]], [])),
            "2^53": (b"v,w\n9007199254740992,x\n0.5,y\n", {}, Taken("DOUBLE VARCHAR", None, [])),
            "beyond 2^53": (b"v,w\n9007199254740993,x\n0.5,y\n", {}, Taken("VARCHAR VARCHAR", None, [("v", 3)])),
            "padded beside fraction": (b"v,w\n02,x\n0.5,y\n", {}, Taken("VARCHAR VARCHAR", None, [("v", 2)])),
            "with Z": (
                b"n,v\n0,2024-01-05T10:00:00Z\n1,2024-01-05T10:00:00.500Z\n2,\n",
                {},
                Taken("BIGINT TIMESTAMPTZ", zone, []),
            ),
            "without Z": (
                b"n,v\n0,2024-01-05T10:00:00\n1,2024-01-05T23:59:59.123456\n",
                {},
                Taken("BIGINT TIMESTAMP", local, []),
            ),
            "with a space": (
                b"n,v\n0,2024-01-05 10:00:00\n1,2024-01-05 23:59:59.123456\n",
                {},
                Taken("BIGINT TIMESTAMP", local, []),
            ),
            "zero at the end": (b"n,v\n0,2024-01-05 10:00:00.50\n", {}, Taken("BIGINT VARCHAR", None, [("v", 2)])),
            "hour 25": (b"n,v\n0,2024-01-05T25:00:00\n", {}, Taken("BIGINT VARCHAR", None, [("v", 2)])),
        },
    )


async def test_null_is_the_empty_field(engine: Engine) -> None:
    await check(
        engine,
        {
            "quoted empty among numbers": (
                b'n,v\n1,5\n2,""\n',
                {},
                Taken("BIGINT VARCHAR", [["1", "5"], ["2", ""]], [("v", 3)]),
            ),
            "a word on request": (
                b"n,v\n1,5\n2,NA\n3,\n",
                {"null": "NA"},
                Taken("BIGINT BIGINT", [["1", "5"], ["2", None], ["3", None]], []),
            ),
            "a quoted word is none": (
                b'n,v\n1,x\n2,"NA"\n3,NA\n',
                {"null": "NA"},
                Taken("BIGINT VARCHAR", [["1", "x"], ["2", "NA"], ["3", None]], []),
            ),
            "numbers in quotes": (b'n,v\n"1","5"\n"2",\n', {}, Taken("BIGINT BIGINT", [["1", "5"], ["2", None]], [])),
            "only NULL": (b"n,v\n1,\n2,\n", {}, Taken("BIGINT VARCHAR", [["1", None], ["2", None]], [])),
            "a row of NULL": (b"n,v\n,\n1,2\n", {}, Taken("BIGINT BIGINT", [[None, None], ["1", "2"]], [])),
            "spaces are data": (
                b"n, v \n1, x\n2,  \n",
                {},
                Taken("BIGINT VARCHAR", [["1", " x"], ["2", "  "]], [], "n| v "),
            ),
        },
    )


async def test_the_delimiter_is_the_commonest_in_the_header(engine: Engine) -> None:
    two = Taken("BIGINT VARCHAR", [["1", "x"], ["2", "y"]], [])
    await check(
        engine,
        {
            "comma": (b"a,b\n1,x\n2,y\n", {}, two),
            "semicolon": (b"a;b\n1;x\n2;y\n", {}, two),
            "tab": (b"a\tb\n1\tx\n2\ty\n", {}, two),
            "bar": (b"a|b\n1|x\n2|y\n", {}, two),
            "outside quotes": (b'"a,,,,";b\n1;x\n2;y\n', {}, two),
            "most of several": (b"a,1;b;c\n1;x;3\n", {}, Taken("BIGINT VARCHAR BIGINT", [["1", "x", "3"]], [])),
            "tsv with commas": (b"a,b\n1,x\n", {"format": "tsv"}, Taken("VARCHAR", [["1,x"]])),
            "sep line": (b"sep=;\na;b\n1;x\n2;y\n", {}, two),
            "sep line, strange": (b"SEP=^\r\na^b\r\n1^x\r\n2^y\r\n", {}, two),
            "sep line, quoted": (b'"sep=;"\na;b\n1;x\n2;y\n', {}, two),
            "delimiter given": (b"a:b\n1:x\n2:y\n", {"delimiter": ":"}, two),
            "tab by name": (b"a\tb\n1\tx\n2\ty\n", {"delimiter": "tab"}, two),
            "given against the header": (
                b"a,b;c\n1,x;y\n",
                {"delimiter": ";"},
                Taken("VARCHAR VARCHAR", [["1,x", "y"]], None, "a,b|c"),
            ),
            "two characters": (b"a::b\n1::x\n", {"delimiter": "::"}, Refused(400)),
            "the quote as delimiter": (b"a\n1\n", {"delimiter": '"'}, Refused(400)),
            "one column": (b"c0\nv0\na;b\n", {}, Taken("VARCHAR", [["v0"], ["a;b"]], [])),
            "one column, numbers": (b"c0\n1\n2\n", {}, Taken("BIGINT", [["1"], ["2"]], [])),
            "a title": (b"Sales of May\n\nid,n\n1,2\n2,3\n", {}, Refused(422, {"line": 3})),
            "a title left out": (
                b"Sales of May\n\nid,n\n1,2\n2,3\n",
                {"skip": 2},
                Taken("BIGINT BIGINT", [["1", "2"], ["2", "3"]], [], "id|n"),
            ),
            "a title with a quote left out": (
                b'5" pipes\nid,n\n1,2\n',
                {"skip": 1},
                Taken("BIGINT BIGINT", [["1", "2"]], [], "id|n"),
            ),
            "more lines left out than there are": (b"a\n1\n", {"skip": 5}, Refused(400)),
            "another quote": (b"a,b\n'1,5','it''s'\n", {"quote": "'"}, Taken("VARCHAR VARCHAR", [["1,5", "it's"]])),
            "no quotes at all": (
                b'a,b\n1,"x\n2,y"\n',
                {"quote": "none"},
                Taken("BIGINT VARCHAR", [["1", '"x'], ["2", 'y"']], []),
            ),
        },
    )


async def test_lines_end_as_they_like(engine: Engine) -> None:
    two = Taken("BIGINT VARCHAR", [["1", "x"], ["2", "y"]], [])
    await check(
        engine,
        {
            "LF": (b"a,b\n1,x\n2,y\n", {}, two),
            "CRLF": (b"a,b\r\n1,x\r\n2,y\r\n", {}, two),
            "CR": (b"a,b\r1,x\r2,y\r", {}, two),
            "CR, no end": (b"a,b\r1,x\r2,y", {}, two),
            "LF, no end": (b"a,b\n1,x\n2,y", {}, two),
            "CRLF, no end": (b"a,b\r\n1,x\r\n2,y", {}, two),
            "CRLF, then LF": (b"a,b\r\n1,x\r\n2,y\n", {}, two),
            "LF, then CRLF": (b"a,b\n1,x\n2,y\r\n", {}, two),
            "LF, CR in between": (b"a,b\n1,x\r2,y\n", {}, two),
            "header CRLF, rows LF": (b"a,b\r\n1,x\n2,y\n", {}, two),
            "mixed, and kept in quotes": (
                b'a,b\r\n1,"x\r\n\r"\n2,"y\n"\r\n',
                {},
                Taken("BIGINT VARCHAR", [["1", "x\r\n\r"], ["2", "y\n"]], []),
            ),
            "LF, kept in quotes": (
                b'a,b\n1,"x\r\n"\n2,"\r"\n',
                {},
                Taken("BIGINT VARCHAR", [["1", "x\r\n"], ["2", "\r"]], []),
            ),
            "CRLF, kept in quotes": (
                b'a,b\r\n1,"x\n"\r\n2,"\r\n\r\n"\r\n',
                {},
                Taken("BIGINT VARCHAR", [["1", "x\n"], ["2", "\r\n\r\n"]], []),
            ),
            "header of two lines": (b'"a\n1",b\n1,x\n2,y\n', {}, Taken("BIGINT VARCHAR", two.rows, [], "a\n1|b")),
        },
    )


async def test_blank_lines(engine: Engine) -> None:
    """They are no rows, except in a file of one column."""
    two = Taken("BIGINT VARCHAR", [["1", "x"], ["2", "y"]], [])
    await check(
        engine,
        {
            "above the header": (b"\n\na,b\n1,x\n2,y\n", {}, two),
            "above the header, of two kinds": (b"\n\r\na,b\n1,x\n2,y\n", {}, two),
            "below the header": (b"a,b\n\n\n1,x\n2,y\n", {}, two),
            "between": (b"a,b\n1,x\n\n\n\n2,y\n", {}, two),
            "at the end": (b"a,b\n1,x\n2,y\n\n\n", {}, two),
            "with CRLF": (b"a,b\r\n\r\n1,x\r\n\r\n2,y\r\n\r\n", {}, two),
            "in quotes": (b'a,b\n1,"x\n\n"\n\n2,y\n', {}, Taken("BIGINT VARCHAR", [["1", "x\n\n"], ["2", "y"]], [])),
            "in one column": (b"v\na\n\nb\n", {}, Taken("VARCHAR", [["a"], [None], ["b"]], [])),
            "in one column of numbers": (b"v\n1\n\n3\n", {}, Taken("BIGINT", [["1"], [None], ["3"]], [])),
            "in one column, CRLF": (b"v\r\n1\r\n\r\n3\r\n", {}, Taken("BIGINT", [["1"], [None], ["3"]], [])),
            "lines of a warning": (
                b"a,b\n\n1,5\n\n2,05\n",
                {},
                Taken("BIGINT VARCHAR", [["1", "5"], ["2", "05"]], [("b", 5)]),
            ),
        },
    )


async def test_the_header(engine: Engine) -> None:
    await check(
        engine,
        {
            "numbers and dates": (
                b"1,2.5,2024-01-05\n2,3.5,2024-01-06\n",
                {},
                Taken("BIGINT DOUBLE DATE", None, [(None, 1)], "column1|column2|column3"),
            ),
            "years beside a name": (
                b"country,1952,1957\nA,1,2\n",
                {},
                Taken("VARCHAR BIGINT BIGINT", [["A", "1", "2"]], [], "country|1952|1957"),
            ),
            "numbers, asked for": (b"1,2\n3,4\n", {"header": True}, Taken("BIGINT BIGINT", [["3", "4"]], [], "1|2")),
            "none, asked for": (
                b"a,b\n1,x\n",
                {"header": False},
                Taken("VARCHAR VARCHAR", [["a", "b"], ["1", "x"]], None, "column1|column2"),
            ),
            "no comment lines": (b"#a,b\n#1,x\n", {}, Taken("VARCHAR VARCHAR", [["#1", "x"]], None, "#a|b")),
            "same name": (
                b"a,a,A,a_2\n1,2,3,4\n",
                {},
                Taken("BIGINT BIGINT BIGINT BIGINT", [["1", "2", "3", "4"]], [("a_3", 1), ("A_4", 1)], "a|a_3|A_4|a_2"),
            ),
            "blank names": (
                b"a,,column1,\n1,2,3,4\n",
                {},
                Taken(
                    "BIGINT BIGINT BIGINT BIGINT", None, [("column2", 1), ("column3", 1)], "a|column2|column1|column3"
                ),
            ),
            "only a header": (b"a,b\n", {}, Taken("VARCHAR VARCHAR", [], [], "a|b")),
            "only a header, no end": (b"a,b", {}, Taken("VARCHAR VARCHAR", [], [], "a|b")),
            "nothing": (b"", {}, Refused(422)),
            "only blank lines": (b"\n\n\r\n", {}, Refused(422)),
            "only a mark": (b"\xef\xbb\xbf", {}, Refused(422)),
            "NUL in a name": (b"a,b\0\n1,2\n", {}, Refused(422)),
            "zeros": (bytes(3000), {}, Refused(422)),
            "10,001 columns": (b",".join(b"c%d" % i for i in range(10001)) + b"\n", {}, Refused(413)),
        },
    )


async def test_quotes(engine: Engine) -> None:
    await check(
        engine,
        {
            "a bare quote is kept": (
                b'a,b\n1,5" pipe\n2,x\n',
                {},
                Taken("BIGINT VARCHAR", [["1", '5" pipe'], ["2", "x"]], []),
            ),
            "bare quotes over lines": (
                b'a,b\n1,5"\n2,x"y\n3,z\n',
                {},
                Taken("BIGINT VARCHAR", [["1", '5"'], ["2", 'x"y'], ["3", "z"]], []),
            ),
            "a quote behind a space": (
                b'a,b\n1, "x"\n2,y\n',
                {},
                Taken("BIGINT VARCHAR", [["1", ' "x"'], ["2", "y"]], []),
            ),
            "an inch and a quoted line": (
                b'a,b\n1,5"\n2,"x\ny"\n',
                {},
                Taken("BIGINT VARCHAR", [["1", '5"'], ["2", "x\ny"]], []),
            ),
            "doubled": (
                b'a,b\n1,""""\n2,"""x"""\n3,"a ""b"" c"\n',
                {},
                Taken("BIGINT VARCHAR", [["1", '"'], ["2", '"x"'], ["3", 'a "b" c']], []),
            ),
            "backslashes are data": (
                b'a,b\n1,"x\\"\n2,\\n\n',
                {},
                Taken("BIGINT VARCHAR", [["1", "x\\"], ["2", "\\n"]], []),
            ),
            "never closed": (b'a,b\n1,x\n2,"y\n3,z\n', {}, Refused(422, {"line": 3})),
            "never closed, behind a value of two lines": (b'a,b\n"1\n",x\n2,"y\n3,z\n', {}, Refused(422, {"line": 4})),
            "never closed in the header": (b'a,"b\n1,x\n', {}, Refused(422, {"line": 1})),
            "text behind a quote": (b'a,b\n1,"x"y\n2,z\n', {}, Refused(422, {"line": 2})),
            "a space behind a quote": (b'a,b\n1,x\n"2" ,z\n', {}, Refused(422, {"line": 3})),
            "text behind a quote of two lines": (b'a,b\n1,"x\ny"z\n', {}, Refused(422, {"line": 3})),
            "NUL": (b"a,b\n1,x\x00y\n", {}, Taken("BIGINT VARCHAR", [["1", "x\x00y"]], [])),
        },
    )


async def test_rows_of_other_lengths(engine: Engine) -> None:
    await check(
        engine,
        {
            "short": (
                b"a,b,c\n1,2,3\n4,5\n6\n",
                {},
                Taken("BIGINT BIGINT BIGINT", [["1", "2", "3"], ["4", "5", None], ["6", None, None]], [(None, 3)]),
            ),
            "short, behind a value of two lines": (
                b'a,b,c\n"x\n",2,3\ny,5\n',
                {},
                Taken("VARCHAR BIGINT BIGINT", [["x\n", "2", "3"], ["y", "5", None]], [(None, 4)]),
            ),
            "long": (b"a,b\n1,2\n3,4,5\n", {}, Refused(422, {"line": 3})),
            "long by an empty field": (b"a,b\n1,2\n3,4,\n5,6\n", {}, Refused(422, {"line": 3})),
            "long and short": (b"a,b\n1\n3,4,5\n", {}, Refused(422, {"line": 3})),
            "long in one column": (b"a,b\n1,2,3\n", {}, Refused(422, {"line": 2})),
            "delimiter behind each row": (
                b"a,b\n1,2,\n3,4,\n",
                {},
                Taken("BIGINT BIGINT", [["1", "2"], ["3", "4"]], [(None, 2)]),
            ),
            "behind the header as well": (
                b"a,b,\n1,2,\n3,4,\n",
                {},
                Taken("BIGINT BIGINT", [["1", "2"], ["3", "4"]], None, "a|b"),
            ),
            "behind the header alone": (b"a,b,\n1,2\n3,4\n", {}, Taken("BIGINT BIGINT", [["1", "2"], ["3", "4"]])),
            "a column without a name": (
                b"a,b,\n1,2,3\n3,4,\n",
                {},
                Taken("BIGINT BIGINT BIGINT", None, [("column1", 1)], "a|b|column1"),
            ),
            "an empty text at the end": (b'a,b\n1,2,""\n', {}, Refused(422, {"line": 2})),
        },
    )


async def test_encodings(engine: Engine) -> None:
    text = "id,name\n1,Zoë\n2,naïve \U0001f600\n"
    two = Taken("BIGINT VARCHAR", [["1", "Zoë"], ["2", "naïve \U0001f600"]], [], "id|name")
    await check(
        engine,
        {
            "UTF-8": (text.encode(), {}, two),
            "UTF-8 with a mark": (text.encode("utf-8-sig"), {}, two),
            "a mark and a quote": (b"\xef\xbb\xbf" + b'"id",name\n' + text.encode().partition(b"\n")[2], {}, two),
            "UTF-16": (text.encode("utf-16"), {}, two),
            "UTF-16 BE": (b"\xfe\xff" + text.encode("utf-16-be"), {}, two),
            "UTF-16 LE, no mark": (text.encode("utf-16-le"), {}, two),
            "UTF-16 BE, no mark": (text.encode("utf-16-be"), {}, two),
            "UTF-16 by name": (text.encode("utf-16-le"), {"encoding": "UTF-16LE"}, two),
            "UTF-32": (text.encode("utf-32"), {}, two),
            "a mark and its name": (text.encode("utf-8-sig"), {"encoding": "utf-8-sig"}, two),
            "a mark and utf-8": (text.encode("utf-8-sig"), {"encoding": "UTF8"}, two),
            "cp1252": (
                "id,name\n1,€ Zoë\n".encode("cp1252"),
                {"encoding": "windows-1252"},
                Taken("BIGINT VARCHAR", [["1", "€ Zoë"]]),
            ),
            "shift_jis": (
                "id,name\n1,名前\n".encode("shift_jis"),
                {"encoding": "shift-jis"},
                Taken("BIGINT VARCHAR", [["1", "名前"]]),
            ),
            "gb18030": (
                "id,name\n1,名前\n".encode("gb18030"),
                {"encoding": "gb18030"},
                Taken("BIGINT VARCHAR", [["1", "名前"]]),
            ),
            "latin-1 as UTF-8": (b"id,name\n1,Caf\xe9\n", {}, Refused(422, {"offset": 13})),
            "latin-1 as UTF-8, behind a mark": (b"\xef\xbb\xbfid,name\n1,Caf\xe9\n", {}, Refused(422, {"offset": 16})),
            "cut off in a character": ("id,name\n1,Zoë".encode()[:-1], {}, Refused(422, {"offset": 12})),
            "late": (b"a,b\n" + b"1,xy\n" * 100_000 + b"2,\xff\n", {}, Refused(422, {"offset": 500_006})),
            "late, in the given encoding": (
                b"a,b\n" + b"1,xy\n" * 300_000 + b"2,\x80\n",
                {"encoding": "ascii"},
                Refused(422, {"offset": 1_500_006}),
            ),
            "half a character of UTF-16": (
                text.encode("utf-16")[:-1],
                {},
                Refused(422, {"offset": len(text.encode("utf-16")) - 2}),
            ),
            "unknown": (b"a,b\n1,2\n", {"encoding": "klingon"}, Refused(400)),
            "not of text": (b"a,b\n1,2\n", {"encoding": "base64"}, Refused(400)),
            "late, after CRLF and LF": (
                b"a,b\r\n" + b"1,xy\n" * 100_000 + b"2,\xff\n",
                {},
                Refused(422, {"offset": 500_007}),
            ),
        },
    )


async def test_a_value_far_from_the_beginning_decides(engine: Engine) -> None:
    """The first rows only propose a type."""
    many = b"".join(b"%d,%d\n" % (i, i) for i in range(5000))
    quoted = b"".join(b'"%d",%d\n' % (i, i) for i in range(5000))
    await check(
        engine,
        {
            "a word": (b"a,b\n" + many + b"1,x\n", {}, Taken("BIGINT VARCHAR", None, [("b", 5002)])),
            "a fraction": (b"a,b\n" + many + b"1,2.5\n", {}, Taken("BIGINT DOUBLE", None, [])),
            "a fraction, then a word": (
                b"a,b\n" + many + b"1,2.5\n2,7\n3,x\n",
                {},
                Taken("BIGINT VARCHAR", None, [("b", 5004)]),
            ),
            "padding": (b"a,b\n" + many + b"1,007\n", {}, Taken("BIGINT VARCHAR", None, [("b", 5002)])),
            "behind lines in quotes": (
                b'a,b\n"0",0\n' + quoted + b'1,"x\ny"\n2,z\n',
                {},
                Taken("BIGINT VARCHAR", None, [("b", 5003)]),
            ),
            "behind a value of two lines": (
                b'a,b\n1,1\n"\n",2\n' + many + b"x,3\ny,z\n",
                {},
                Taken("VARCHAR VARCHAR", None, [("a", 3), ("b", 5006)]),
            ),
            "after gaps": (b"a,b\n" + b"1,\n" * 5000 + b"1,5\n2,6\n", {}, Taken("BIGINT BIGINT", None, [])),
            "after gaps, and then another": (
                b"a,b\n" + b"1,\n" * 5000 + b"1,5\n2,x\n",
                {},
                Taken("BIGINT VARCHAR", None, [("b", 5003)]),
            ),
            "after words": (b"a,b\n" + b"1,nan\n" * 5000 + b"1,5.5\n", {}, Taken("BIGINT DOUBLE", None, [])),
            "a decimal after doubles": (
                b"a,b\n" + b"1,1.25\n" * 5000 + b"1,1.50\n",
                {},
                Taken("BIGINT DECIMAL(18,2)", None, []),
            ),
            "a longer decimal": (
                b"a,b\n" + b"1,1.50\n" * 5000 + b"1,12345678901234567890.50\n",
                {},
                Taken("BIGINT DECIMAL(38,2)", None, []),
            ),
            "a date of another kind": (
                b"a,b\n" + b"1,2024-01-05\n" * 5000 + b"1,01/05/2024\n",
                {},
                Taken("BIGINT VARCHAR", None, [("b", 5002)]),
            ),
            "an hour after dates": (
                b"a,b\n" + b"1,2024-01-05\n" * 5000 + b"1,2024-01-05 10:00:00\n",
                {},
                Taken("BIGINT VARCHAR", None, [("b", 5002)]),
            ),
            "short and long rows late": (b"a,b\n" + many + b"1\n" + b"1,2,3\n", {}, Refused(422, {"line": 5003})),
            "open quote late": (b"a,b\n" + many + b'1,"x\n' + many, {}, Refused(422, {"line": 5002})),
            "ends of lines change late": (
                b"a,b\n" + many + b"1,x\r\n2,y\r\n",
                {},
                Taken("BIGINT VARCHAR", None, [("b", 5002)]),
            ),
            "trailing delimiters stop late": (
                b"a,b\n" + many.replace(b"\n", b",\n") + b"1,x\n",
                {},
                Refused(422, {"line": 2}),
            ),
            "numbers without a header": (many, {}, Taken("BIGINT BIGINT", None, [(None, 1)])),
        },
    )


async def test_types_are_forced(engine: Engine) -> None:
    def force(values: str, type_name: str) -> tuple[bytes, dict[str, Any]]:
        return b"n,v\n" + "".join(f"1,{value}\n" for value in values.split("~")).encode(), {"types": [("v", type_name)]}

    taken: dict[tuple[str, str], list[str | None]] = {
        ("12~007", "BIGINT"): ["12", "7"],
        ("12~007~", "integer"): ["12", "7", None],
        ("12~1.5~.5~1e3", "double"): ["12.0", "1.5", "0.5", "1000.0"],
        ("1~2.50~3.5000", "DECIMAL(5,2)"): ["1.00", "2.50", "3.50"],
        ("TRUE~false", "BOOLEAN"): ["true", "false"],
        ("2024-1-5", "DATE"): ["2024-01-05"],
        ("2024-01-05T10:00:00~2024-01-05", "TIMESTAMP"): ["2024-01-05 10:00:00", "2024-01-05 00:00:00"],
        ("2024-01-05T10:00:00+02:00", "TIMESTAMPTZ"): ["2024-01-05 08:00:00+00"],
        ("1~2", "VARCHAR"): ["1", "2"],
        ("b1a5c1e0-0000-4000-8000-000000000000", "UUID"): ["b1a5c1e0-0000-4000-8000-000000000000"],
    }
    refused = {
        ("1~1.5", "BIGINT"): 3,
        ("1~9223372036854775808", "BIGINT"): 3,
        ("1~2147483648", "INTEGER"): 3,
        ("1~x", "DOUBLE"): 3,
        ('1~""', "DOUBLE"): 3,
        ("1~0x10", "DOUBLE"): 3,
        ("1~1e400", "DOUBLE"): 3,
        ("1.25~1.255", "DECIMAL(5,2)"): 3,
        ("1~1000", "DECIMAL(5,2)"): 3,
        ("2024-01-05~2024-01-05 10:00:00", "DATE"): 3,
        ("2024-01-05~infinity", "DATE"): 3,
        ("2024-01-05 10:00:00~2024-01-05 10:00:00.1234567", "TIMESTAMP"): 3,
        ("2024-01-05 10:00:00~2024-01-05 10:00:00+02:00", "TIMESTAMP"): 3,
        ("true~maybe", "BOOLEAN"): 3,
    }
    table: Table = {}
    for (values, type_name), rows in taken.items():
        body, options = force(values, type_name)
        shown = {"integer": "INTEGER", "double": "DOUBLE", "TIMESTAMPTZ": "TIMESTAMPTZ"}.get(type_name, type_name)
        table[f"{values} {type_name}"] = (body, options, Taken(f"BIGINT {shown}", [["1", row] for row in rows], []))
    for (values, type_name), line in refused.items():
        body, options = force(values, type_name)
        value = values.split("~")[line - 2].strip('"')
        table[f"{values} {type_name}"] = (body, options, Refused(422, {"line": line, "column": "v", "value": value}))
    table["unknown column"] = (b"n,v\n1,2\n", {"types": [("w", "DOUBLE")]}, Refused(400))
    table["unknown type"] = (b"n,v\n1,2\n", {"types": [("v", "NUMBERS")]}, Refused(400))
    table["line breaks before"] = (b'n,v\n"a\nb",1\n2,x\n', {"types": [("v", "BIGINT")]}, Refused(422, {"line": 4}))
    await check(engine, table)


@pytest.mark.extended
async def test_large_values(engine: Engine) -> None:
    """A value has at most 16 MiB."""
    mib = 1024 * 1024
    await check(
        engine,
        {
            "15 MiB": (b"a,b\n1," + b"x" * (15 * mib) + b"\n2,y\n", {}, Taken("BIGINT VARCHAR", None, [])),
            "17 MiB": (b"a,b\n1," + b"x" * (17 * mib) + b"\n2,y\n", {}, Refused(413)),
            "17 MiB in quotes": (b'a,b\n1,"' + b"x\n" * (17 * mib // 2) + b'"\n2,y\n', {}, Refused(413)),
            "30 MiB": (b"a,b\n1," + b"x" * (30 * mib) + b"\n2,y\n", {}, Refused(413)),
        },
    )
