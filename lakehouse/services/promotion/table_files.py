"""The files of a table in a folder: what its metadata names, directly or through other files. Used by the child.

metadata file ─┬─ earlier metadata files
               ├─ statistics
               └─ list of manifests, one for each snapshot ── manifests ── data files, files with deletes
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.promotion.avro_files import AvroFile, decode_avro
from lakehouse.services.promotion.avro_values import AvroError, Record
from lakehouse.services.promotion.locations import find_path

Document = dict[str, object]

DELETED = 2
"""The status of an entry in a manifest for a file that its snapshot has removed."""
POSITION_DELETES = 1
FORMAT_VERSIONS = (1, 2)


@dataclass(frozen=True, slots=True)
class DataFileEntry:
    """A data file, or a file with deletes, as a manifest has it."""

    path: str
    size: int
    names_files: bool


@dataclass(slots=True)
class TableGraph:
    """The files of a table, by path and without duplicates, in the order in which they were found."""

    shown: str
    metadata_path: str
    metadata: Document
    earlier: dict[str, None] = field(default_factory=dict)
    statistics: dict[str, None] = field(default_factory=dict)
    lists: dict[str, None] = field(default_factory=dict)
    manifests: dict[str, None] = field(default_factory=dict)
    data: dict[str, DataFileEntry] = field(default_factory=dict)

    def list_rewritten(self) -> list[str]:
        """The paths of the files whose contents have locations."""
        deletes = [entry.path for entry in self.data.values() if entry.names_files]
        return [*deletes, *self.manifests, *self.lists, *self.earlier, self.metadata_path]

    def list_copied(self) -> list[str]:
        """The paths of the other files."""
        return [*(entry.path for entry in self.data.values() if not entry.names_files), *self.statistics]


def read_graph(location: str, shown: str) -> TableGraph:
    """Read the metadata of a table. Raises CallError if it is damaged, or of a form that cannot be moved."""
    path = find_path(location, f"the metadata of {shown}")
    graph = TableGraph(shown, path, read_metadata(path))
    version = graph.metadata.get("format-version")
    if version not in FORMAT_VERSIONS:
        raise CallError(
            "unprocessable", f"{shown} has format version {version} of Iceberg, and versions 1 and 2 can be promoted"
        )
    for entry in list_documents(graph.metadata, "metadata-log"):
        found = find_path(str(entry["metadata-file"]), f"an earlier metadata file of {shown}")
        if Path(found).exists():  # a commit deletes the oldest ones
            graph.earlier[found] = None
    for key in ("statistics", "partition-statistics"):
        for entry in list_documents(graph.metadata, key):
            graph.statistics[find_path(str(entry["statistics-path"]), f"a file with statistics of {shown}")] = None
    for snapshot in list_documents(graph.metadata, "snapshots"):
        if "manifest-list" not in snapshot:
            raise CallError("unprocessable", f"{shown} has a snapshot without a list of manifests, which is not known")
        _read_list(graph, find_path(str(snapshot["manifest-list"]), f"a list of manifests of {shown}"))
    return graph


def _read_list(graph: TableGraph, path: str) -> None:
    graph.lists[path] = None
    for record in read_avro(path).records:
        manifest = find_path(str(record["manifest_path"]), f"a manifest of {graph.shown}")
        if manifest in graph.manifests:
            continue
        graph.manifests[manifest] = None
        for entry in read_avro(manifest).records:
            if entry["status"] != DELETED:
                file = _read_data_file(graph.shown, cast("Record", entry["data_file"]))
                graph.data[file.path] = file


def _read_data_file(shown: str, file: Record) -> DataFileEntry:
    path = find_path(str(file["file_path"]), f"a data file of {shown}")
    names_files = file.get("content", 0) == POSITION_DELETES
    form = cast("str", file["file_format"])
    if names_files and form.upper() != "PARQUET":
        raise CallError(
            "unprocessable",
            f"{shown} has deletes in a file of the form {form}, which names data files: compact the"
            " table with the engine that wrote it, and expire its older snapshots",
        )
    return DataFileEntry(path, cast("int", file["file_size_in_bytes"]), names_files)


def read_metadata(path: str) -> Document:
    """A metadata file. Raises CallError."""
    data = _read(path)
    try:
        document: Document = json.loads(gzip.decompress(data) if is_gzipped(path) else data)
    except (ValueError, EOFError, OSError) as error:
        raise CallError("unprocessable", f"the metadata file {path} is damaged: {error}") from None
    return document


def is_gzipped(path: str) -> bool:
    """Whether a metadata file is compressed, which its name says."""
    return path.endswith((".gz.metadata.json", ".metadata.json.gz"))


def read_avro(path: str) -> AvroFile:
    """A manifest, or a list of manifests. Raises CallError."""
    try:
        return decode_avro(_read(path))
    except AvroError as error:
        raise CallError("unprocessable", f"the file {path} {error}") from None


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise CallError("unprocessable", f"the file {path} is missing: the table that names it is damaged") from None


def find_size(path: str) -> int:
    """The size of a file. Raises CallError for a missing one."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - paths of many files
    except FileNotFoundError:
        raise CallError("unprocessable", f"the file {path} is missing: the table that names it is damaged") from None


def list_documents(document: Document, key: str) -> list[Document]:
    """The objects below a key, none if it is absent or null."""
    return cast("list[Document]", document.get(key) or [])
