"""Arrays that grow at their end."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


class Growing(Generic[T]):
    """One column of rows; `view` is what was appended."""

    def __init__(self, dtype: type[T]) -> None:
        self._array: NDArray[T] = np.empty(1024, dtype)
        self.view: NDArray[T] = self._array[:0]

    def append(self, values: NDArray[T]) -> None:
        """Add values."""
        filled = len(self.view)
        wanted = filled + len(values)
        if wanted > len(self._array):
            grown = np.empty(max(wanted, filled + filled // 2), self._array.dtype)
            grown[:filled] = self.view
            self._array = grown
        self._array[filled:wanted] = values
        self.view = self._array[:wanted]
