"""Data sets as they ship in packages: every cell in SQL is the cell of the file, as Python's csv and json read it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.kit.matrices import spread
from tools.kit.shared_lake import SharedLake

FOLDER = Path(__file__).parents[2] / "data" / "real_sets"


@dataclass(frozen=True)
class RealSet:
    """A file: its checksum, its rows, the initials of its columns' types, and the columns that have warnings."""

    file: str
    sha256: str
    rows: int
    types: str
    warned: tuple[str, ...] = ()
    query: tuple[tuple[str, str], ...] = ()


INITIALS = {"BIGINT": "i", "DOUBLE": "f", "VARCHAR": "t", "DATE": "d"}
SIZES = ("Culmen Length (mm)", "Culmen Depth (mm)", "Flipper Length (mm)", "Body Mass (g)")
ISOTOPES = ("Delta 15 N (o/oo)", "Delta 13 C (o/oo)")
SETS = (
    RealSet("penguins-raw.csv", "144f6231", 344, "tittttttdtttttttt", SIZES + ISOTOPES),
    RealSet("penguins-raw.csv", "144f6231", 344, "tittttttdffiitttt", ISOTOPES, query=(("null", "NA"),)),
    RealSet("seattle-weather.csv", "62f0609f", 1461, "tfffft", ("date",)),
    RealSet("cars.json", "f686a536", 406, "tfifiiftt"),
    RealSet("co2.csv", "16695fa2", 2284, "if"),
    RealSet("wine_data.csv", "10e8a802", 178, "ffffifffffffii", query=(("skip", "1"), ("header", "false"))),
    RealSet("airports.csv", "36c290b6", 1458, "ttttiitt", ("lat", "lon")),
)


@pytest.mark.parametrize("one", spread(SETS, 3), ids=lambda one: f"{one.file} {dict(one.query) or ''}")
def test_every_cell_is_what_the_file_has(lake: SharedLake, one: RealSet) -> None:
    body = (FOLDER / one.file).read_bytes()
    assert hashlib.sha256(body).hexdigest().startswith(one.sha256)
    answer = lake.send("t", body, file=one.file, query=dict(one.query))
    document = answer.json()
    assert answer.status_code == 201, document
    assert document["row_count"] == one.rows
    assert "".join(INITIALS[column["type"]] for column in document["columns"]) == one.types
    assert tuple(warning["column"] for warning in document["warnings"]) == one.warned
    names, expected = read_cells(one, body)
    assert [column["name"] for column in document["columns"]] == names
    kinds = [column["type"] for column in document["columns"]]
    stored = [normalise(kinds, row) for row in lake.ask("FROM t")]
    assert sorted(map(repr, stored)) == sorted(repr(normalise(kinds, row)) for row in expected)
    check_sums(lake, names, kinds, expected)


def test_a_header_that_is_none_is_refused_with_its_line(lake: SharedLake) -> None:
    """The first line of this file has the counts of rows and columns, and the names of the classes."""
    answer = lake.send("wine", (FOLDER / "wine_data.csv").read_bytes(), file="wine_data.csv")
    assert answer.status_code == 422
    assert answer.json()["error"]["details"] == {"line": 2, "fields": 14, "columns": 5}


def read_cells(one: RealSet, body: bytes) -> tuple[list[str], list[list[Any]]]:
    """The names and the cells of a file. Nothing of the lake takes part."""
    if one.file.endswith(".json"):
        records = json.loads(body)
        return list(records[0]), [list(record.values()) for record in records]
    query = dict(one.query)
    records = list(csv.reader(io.StringIO(body.decode())))[int(query.get("skip", "0")) :]
    header = query.get("header") != "false"
    names = records[0] if header else [f"column{number}" for number in range(1, len(records[0]) + 1)]
    missing = {"", query.get("null", "")}
    return names, [[None if cell in missing else cell for cell in record] for record in records[header:]]


def normalise(kinds: Sequence[str], row: Sequence[Any]) -> list[Any]:
    """A row in which equal values are equal objects, whether they come as text or as JSON."""
    readers = {"BIGINT": int, "DOUBLE": float}
    return [None if cell is None else readers.get(kind, str)(cell) for kind, cell in zip(kinds, row, strict=True)]


def check_sums(lake: SharedLake, names: Sequence[str], kinds: Sequence[str], expected: Sequence[Sequence[Any]]) -> None:
    """SQL counts and adds up what Python does."""
    for number, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        cells = [row[number] for row in expected if row[number] is not None]
        quoted = '"' + name.replace('"', '""') + '"'
        if kind in ("BIGINT", "DOUBLE"):
            ((count, total),) = lake.ask(f"SELECT count({quoted}), CAST(sum({quoted}) AS DOUBLE) FROM t")
            assert (count, math.isclose(total, math.fsum(map(float, cells)), rel_tol=1e-12)) == (len(cells), True)
        else:
            ((count, different),) = lake.ask(f"SELECT count({quoted}), count(DISTINCT {quoted}) FROM t")
            assert (count, different) == (len(cells), len(set(cells)))
