"""The metadata of the tables that were used last.

pyiceberg parses the metadata file of a table at every use: twice in a commit, 7 ms each with 100 snapshots. A metadata
file never changes, and pyiceberg copies metadata before it changes it, so the parsed form is used again. Which file is
the current one is read from the catalog's database every time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pyiceberg.serializers import FromInputFile

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.table.metadata import TableMetadata

MAX_KEPT = 64
"""Tables whose metadata is kept; that of a table with 100 snapshots takes about 200 KB."""


class KeptMetadata:
    """Parsed metadata by the location of its file."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, TableMetadata] = OrderedDict()

    def load(self, location: str, io: FileIO) -> TableMetadata:
        """The metadata of a file, which is read unless it is kept."""
        metadata = self._kept.get(location)
        if metadata is None:
            metadata = FromInputFile.table_metadata(io.new_input(location))
            self.keep(location, metadata)
        else:
            self._kept.move_to_end(location)
        return metadata

    def keep(self, location: str, metadata: TableMetadata) -> None:
        """Keep the metadata of a file."""
        self._kept[location] = metadata
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
