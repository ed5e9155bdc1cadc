"""What the writer thread tells the main thread about a committed transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lakehouse.services.retrieval.child.row_files import Block
from lakehouse.services.retrieval.child.store import IndexRecord


@dataclass(frozen=True, slots=True)
class IndexDeleted:
    """An index was deleted."""

    record: IndexRecord


@dataclass(slots=True, kw_only=True)
class IndexChanged:
    """An index was created or written to: its new record, its new rows with their metadata, its deleted rows.

    With `reopen` its files were written anew, and what is in memory is opened again. `token_changes` is what the write
    added to the number of items that have each token, `documents` to the number of items with tokens.
    """

    record: IndexRecord
    blocks: list[Block] = field(default_factory=list)
    metadata: list[bytes] = field(default_factory=list)
    dead: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    token_changes: NDArray[np.int64] | None = None
    documents: int = 0
    reopen: bool = False


@dataclass(frozen=True, slots=True)
class KeywordChange:
    """What a transaction means for the keyword index: deleted rows or a deleted index, then new rows with texts."""

    number: int
    dead: Sequence[int] = ()
    index_deleted: bool = False
    rows: Sequence[int] = ()
    texts: Sequence[str] = ()


Change = IndexDeleted | IndexChanged
