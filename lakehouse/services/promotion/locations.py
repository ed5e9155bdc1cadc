"""Where the files of a folder's tables are, and where they are going to be.

The metadata of a table in a folder has locations relative to the folder; those that other engines have written are
absolute. A file keeps its path in the bucket, below the prefix of the warehouse.
"""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables.file_io import lake_path
from lakehouse.services.tables.storage import DATASETS


def find_path(location: str, what: str) -> str:
    """The path of a file, relative to the folder, the working directory. Raises CallError for one elsewhere."""
    path = lake_path(location)
    if not path.startswith(DATASETS):
        raise CallError(
            "unprocessable",
            f"{what} is at {location[:200]!r}, which is not in the folder of the tables: it cannot be promoted",
        )
    return path


@dataclass(frozen=True, slots=True)
class Move:
    """The move into a warehouse; `root` is its URL with a slash at the end."""

    root: str

    def move(self, location: str, what: str) -> str:
        """The new location of a file or a folder. Raises CallError for one that is not below `datasets/`."""
        return self.root + find_path(location, what)

    def try_move(self, location: str) -> str:
        """The new location; one elsewhere stays as it is: of a file that no snapshot has any more."""
        path = lake_path(location)
        return self.root + path if path.startswith(DATASETS) else location
