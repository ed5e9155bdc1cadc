"""Filters over the columns of an index: every distinct value of a field once, and a code for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from lakehouse.services.contracts.filter_language import ABSENT, Condition, Filter, is_scalar, scalar_key
from lakehouse.services.retrieval.child.growing import Growing

Mask = NDArray[np.bool_]


def select(wanted: Filter, column: Callable[[str], Column], length: int) -> Mask:
    """The items that pass a filter, by the columns of an index with `length` rows."""
    mask = np.full(length, not wanted.any_of)
    for part in wanted.parts:
        chosen = column(part.field).select(part) if isinstance(part, Condition) else select(part, column, length)
        mask = mask | chosen if wanted.any_of else mask & chosen
    return ~mask if wanted.negated else mask


class Column:
    """One field of an index's metadata: every distinct value once, and for each row which of them it has.

    The code 0 is the absent value.
    """

    def __init__(self) -> None:
        self.values: list[object] = [ABSENT]
        self._numbers = np.full(64, np.nan)
        self._codes_of: dict[object, int] = {}
        self._codes_with: dict[object, list[int]] = {}
        """The lists among the values, by each element."""
        self._codes = Growing(np.int32)
        self._plain = True
        """Whether every value is a scalar that float64 holds exactly."""

    @property
    def nbytes(self) -> int:
        """The memory of the column, roughly."""
        return self._codes.view.nbytes + self._numbers.nbytes + 100 * (len(self.values) + len(self._codes_with))

    def append(self, values: list[object]) -> None:
        """Add the values of the next rows, `ABSENT` for none."""
        self._codes.append(np.array([self._encode(value) for value in values], np.int32))

    def put(self, positions: NDArray[np.int64], values: Sequence[object]) -> None:
        """Set the values of rows that the column has."""
        self._codes.view[positions] = [self._encode(value) for value in values]

    def _encode(self, value: object) -> int:
        if value is ABSENT:
            return 0
        key = scalar_key(value) if is_scalar(value) else (msgspec.json.encode(value),)
        code = self._codes_of.get(key)
        if code is None:
            code = self._codes_of[key] = len(self.values)
            self.values.append(value)
            self._add_number(code, value)
            if isinstance(value, list):
                for element in {scalar_key(one) for one in value if is_scalar(one)}:
                    self._codes_with.setdefault(element, []).append(code)
        return code

    def _add_number(self, code: int, value: object) -> None:
        if code >= len(self._numbers):
            self._numbers = np.concatenate([self._numbers, np.full(len(self._numbers), np.nan)])
        if isinstance(value, int | float) and not isinstance(value, bool):
            if isinstance(value, int) and abs(value) > 2**53:
                self._plain = False
            else:
                self._numbers[code] = value
        elif not is_scalar(value):
            self._plain = False

    def select(self, condition: Condition) -> Mask:
        """The rows whose values satisfy a condition."""
        codes = self._codes.view
        if condition.among is None or (condition.ranges, condition.not_among, condition.exists) != ((), None, None):
            chosen: Mask = self._select_values(condition)[codes]
            return chosen
        wanted = self._find_codes(condition.among)
        if len(wanted) == 1:
            same: Mask = codes == wanted[0]
            return same
        values = np.zeros(len(self.values), np.bool_)
        values[wanted] = True
        among: Mask = values[codes]
        return among

    def _find_codes(self, keys: Iterable[object]) -> list[int]:
        """The codes of the values that are one of `keys`, and of the lists that contain one."""
        wanted: list[int] = []
        for key in keys:
            if key in self._codes_of:
                wanted.append(self._codes_of[key])
            wanted += self._codes_with.get(key, ())
        return wanted

    def _select_values(self, condition: Condition) -> Mask:
        """Which of the distinct values satisfy a condition."""
        count = len(self.values)
        numeric = all(isinstance(bound, int | float) and abs(bound) <= 2**53 for _, bound in condition.ranges)
        others = (condition.among, condition.not_among, condition.exists)
        only_ranges = bool(condition.ranges) and others == (None, None, None)
        if self._plain and numeric and only_ranges:
            numbers, chosen = self._numbers[:count], np.ones(count, np.bool_)
            for name, bound in condition.ranges:
                chosen &= _NUMPY_RANGES[name](numbers, bound)  # NaN, which stands for other values, is in no range
            return chosen
        return np.fromiter((condition.matches(value) for value in self.values), np.bool_, count)


_NUMPY_RANGES: Mapping[str, Callable[..., Mask]] = {
    "gte": np.greater_equal,
    "gt": np.greater,
    "lte": np.less_equal,
    "lt": np.less,
}


def value_of(metadata: Mapping[str, object], field: str) -> object:
    """The value of a field for `Column.append`."""
    return metadata.get(field, ABSENT)
