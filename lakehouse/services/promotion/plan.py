"""What a promotion copies: the files of the tables, and the objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lakehouse.services.promotion.lake_objects import LakeObject
from lakehouse.services.promotion.messages import TableSource
from lakehouse.services.storaged.bucket.object_rows import PARQUET
from lakehouse.services.storaged.keys import MAX_KEY_BYTES

BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that is copied under its key.

    `digest` is its SHA-256 where that is known. A `rewritten` one is the metadata of a table, and its size is that in
    the folder. An object is neither in the folder of the tables nor rewritten.
    """

    key: str
    size: int
    content_type: str
    digest: str = ""
    rewritten: bool = False
    is_object: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The tables and the objects of a lake."""

    tables: Sequence[TableSource]
    objects: Sequence[LakeObject]
    files: Mapping[str, PlannedFile] = field(default_factory=dict)
    """All files by key."""

    @property
    def size(self) -> int:
        """Bytes, as they are in the folder."""
        return sum(file.size for file in self.files.values())

    def find_long_keys(self, prefix: str) -> Sequence[str]:
        """The keys that S3 does not take, since it counts the prefix as well."""
        room = MAX_KEY_BYTES - len(prefix.encode())
        return [key for key in self.files if len(key.encode()) > room]


def make_plan(tables: Sequence[TableSource], objects: Sequence[LakeObject]) -> Plan:
    """The plan of a lake."""
    return Plan(tables, objects, {file.key: file for file in _list_files(tables, objects)})


def _list_files(tables: Sequence[TableSource], objects: Sequence[LakeObject]) -> Iterator[PlannedFile]:
    for table in tables:
        for path, size, rewritten in ((file.path, file.size, file.rewritten) for file in table.files):
            content_type = PARQUET if path.endswith(".parquet") else BINARY
            yield PlannedFile(path, size, content_type, rewritten=rewritten)
    for found in objects:
        yield PlannedFile(found.key, found.size, found.content_type, found.digest, is_object=True)
