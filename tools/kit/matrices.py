"""Matrices of tests whose cells share most of their code: all cells, or each row once.

`choose_cells` leaves the other cells to `nox -s lake_matrices`; `pair` and `spread` mark them for `nox -s extended`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet

R = TypeVar("R")
C = TypeVar("C")

EVERYTHING = os.environ.get("LAKE_MATRICES") == "all"


def choose_cells(rows: Iterable[R], columns: Sequence[C], *, everything: bool = EVERYTHING) -> list[tuple[R, C]]:
    """All pairs, or each row with one column; the columns take turns."""
    if everything:
        return [(row, column) for row in rows for column in columns]
    return [(row, columns[number % len(columns)]) for number, row in enumerate(rows)]


def pair(rows: Sequence[object], columns: Sequence[object]) -> list[ParameterSet]:
    """All pairs as parameters. The suite tries each row with one column, which take turns, and each column."""
    count = max(len(rows), len(columns))
    chosen = {(number % len(rows), number % len(columns)) for number in range(count)}
    return [
        pytest.param(row, column, marks=() if (at, over) in chosen else pytest.mark.extended)
        for at, row in enumerate(rows)
        for over, column in enumerate(columns)
    ]


def spread(cases: Iterable[object], step: int) -> list[ParameterSet]:
    """All cases as parameters, a tuple as several. The suite tries every `step`-th of them, the first among them."""
    return [_extend(case) if number % step else _parameters(case) for number, case in enumerate(cases)]


def _parameters(case: object) -> ParameterSet:
    if isinstance(case, ParameterSet):
        return case
    return pytest.param(*case) if isinstance(case, tuple) else pytest.param(case)


def _extend(case: object) -> ParameterSet:
    values, marks, name = _parameters(case)
    return pytest.param(*values, marks=(*marks, pytest.mark.extended), id=name)
