"""The table of a result on a terminal: alignment, types, and what happens when the terminal is too narrow."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest

from lakehouse.cli.lake.client import Column
from lakehouse.cli.lake.result_table import format_value, is_number, render_table, text_width
from lakehouse.cli.style import Style


def columns(**types: str) -> list[Column]:
    return [Column(name=name, type=type_) for name, type_ in types.items()]


def lines(described: Sequence[Column], rows: Sequence[Sequence[object]], *, width: int = 80) -> list[str]:
    return list(render_table(described, rows, width=width, style=Style(io.StringIO())))


def test_numbers_are_aligned_to_the_right_and_types_stand_below_the_names() -> None:
    rows = [["Berlin", 1820.5, None], ["Rio", 7, True]]
    assert lines(columns(shop="VARCHAR", revenue="DOUBLE", paid="BOOLEAN"), rows) == [
        "shop     revenue  paid",
        "VARCHAR   DOUBLE  BOOLEAN",
        "-------  -------  -------",
        "Berlin    1820.5  NULL",
        "Rio            7  true",
    ]


def test_the_widest_columns_are_cut_to_the_width_of_the_terminal() -> None:
    described = columns(id="BIGINT", text="VARCHAR", more="VARCHAR")
    shown = lines(described, [[1, "a" * 100, "b" * 20]], width=40)
    assert shown[-1] == "     1  aaaaaaaaaaaaaa…  bbbbbbbbbbbbbb…"
    assert all(text_width(line) <= 40 for line in shown)


def test_columns_that_have_no_room_are_left_out_and_said() -> None:
    described = columns(**{f"column{i}": "VARCHAR" for i in range(20)})
    shown = lines(described, [["value"] * 20], width=40)
    assert all(text_width(line) <= 40 for line in shown)
    assert shown[0] == "column0  column1  column2  column3  …"


def test_a_wide_character_takes_two_columns_and_a_combining_one_none() -> None:
    assert [text_width(text) for text in ("abc", "日本", "e\u0301", "\u200d")] == [3, 4, 1, 0]
    shown = lines(columns(city="VARCHAR", n="BIGINT"), [["東京", 1], ["Köln", 22]])
    assert [text_width(line) for line in shown[-2:]] == [15, 15]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "NULL"), ("", ""), (True, "true"), (False, "false"), (12, "12"), (0.1, "0.1"), (2.0, "2.0"),
        ("a\nb\tc\x1b[31m", "a␊b␉c␛[31m"), ([1, None, "x"], '[1,null,"x"]'), ({"a": {"b": 1}}, '{"a":{"b":1}}'),
        ("9007199254740993", "9007199254740993"),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_text_that_cannot_control_the_terminal(value: object, shown: str) -> None:
    assert format_value(value) == shown


@pytest.mark.parametrize(
    ("type_name", "number"),
    [
        ("BIGINT", True), ("INTEGER", True), ("UTINYINT", True), ("HUGEINT", True), ("DOUBLE", True), ("FLOAT", True),
        ("DECIMAL(18,3)", True), ("DECIMAL(18, 3)", True), ("INTERVAL", False), ("INTEGER[]", False),
        ("STRUCT(a INTEGER)", False), ("VARCHAR", False), ("DATE", False), ("TIMESTAMP WITH TIME ZONE", False),
    ],
)  # fmt: skip
def test_which_types_are_numbers(type_name: str, number: bool) -> None:
    assert is_number(type_name) is number


def test_a_result_without_rows_shows_its_columns() -> None:
    assert lines(columns(a="BIGINT"), []) == ["     a", "BIGINT", "------"]
