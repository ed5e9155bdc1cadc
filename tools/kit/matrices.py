"""Matrices of tests whose cells share most of their code: all cells (`nox -s lake_matrices`), or each row once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypeVar

R = TypeVar("R")
C = TypeVar("C")

EVERYTHING = os.environ.get("LAKE_MATRICES") == "all"


def choose_cells(rows: Iterable[R], columns: Sequence[C], *, everything: bool = EVERYTHING) -> list[tuple[R, C]]:
    """All pairs, or each row with one column; the columns take turns."""
    if everything:
        return [(row, column) for row in rows for column in columns]
    return [(row, columns[number % len(columns)]) for number, row in enumerate(rows)]
