"""The metadata of a table for a warehouse: the same files with other locations in them. Used by the child.

They are written below a folder, under the paths that they have in the lake. Only locations differ, and what depends on
the bytes: the lengths of manifests in the lists of them, and the sizes of files with deletes in manifests. The same
files are written the same way each time.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.promotion.avro_files import AvroFile, encode_avro
from lakehouse.services.promotion.avro_values import AvroError, Record
from lakehouse.services.promotion.locations import Move
from lakehouse.services.promotion.position_deletes import move_bounds, write_moved_deletes
from lakehouse.services.promotion.table_files import (
    DELETED,
    Document,
    TableGraph,
    is_gzipped,
    list_documents,
    read_avro,
    read_metadata,
)

_PLACES = ("write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path")
"""Properties of a table that are locations."""


def rewrite_table(graph: TableGraph, move: Move, folder: Path) -> list[str]:
    """Write the metadata of a table below `folder`. Returns the paths of the files. Raises CallError."""
    return _Rewriting(graph, move, folder).run()


class _Rewriting:
    def __init__(self, graph: TableGraph, move: Move, folder: Path) -> None:
        self._graph = graph
        self._move = move
        self._folder = folder
        self._deletes: dict[str, int] = {}  # the new sizes of files with deletes, by path
        self._lengths: dict[str, int] = {}  # the new lengths of manifests

    def run(self) -> list[str]:
        graph = self._graph
        for entry in graph.data.values():
            if entry.names_files:
                self._deletes[entry.path] = write_moved_deletes(entry.path, self._place(entry.path), self._move)
        for path in graph.manifests:
            self._lengths[path] = self._write_manifest(path)
        for path in graph.lists:
            self._write_list(path)
        for path in graph.earlier:
            self._write_metadata(path, read_metadata(path))
        self._write_metadata(graph.metadata_path, graph.metadata)
        return graph.list_rewritten()

    def _write_manifest(self, path: str) -> int:
        manifest = read_avro(path)
        for entry in manifest.records:
            file = cast("Record", entry["data_file"])
            was = str(file["file_path"])
            if entry["status"] == DELETED:
                location = self._move.try_move(was)
            else:
                location = self._move.move(was, f"a data file of {self._graph.shown}")
            file["file_path"] = location
            size = self._deletes.get(location.removeprefix(self._move.root))
            if size is not None:
                file["file_size_in_bytes"] = size
                move_bounds(file, self._move)
            if isinstance(target := file.get("referenced_data_file"), str):
                file["referenced_data_file"] = self._move.try_move(target)
        return self._write_avro(path, manifest)

    def _write_list(self, path: str) -> None:
        manifests = read_avro(path)
        for record in manifests.records:
            location = self._move.move(str(record["manifest_path"]), f"a manifest of {self._graph.shown}")
            record["manifest_path"] = location
            record["manifest_length"] = self._lengths[location.removeprefix(self._move.root)]
        self._write_avro(path, manifests)

    def _write_avro(self, path: str, file: AvroFile) -> int:
        try:
            data = encode_avro(file)
        except AvroError as error:
            raise CallError("unprocessable", f"the file {path} {error}") from None
        self._place(path).write_bytes(data)
        return len(data)

    def _write_metadata(self, path: str, document: Document) -> None:
        data = json.dumps(self._move_metadata(document), separators=(",", ":")).encode()
        self._place(path).write_bytes(gzip.compress(data, mtime=0) if is_gzipped(path) else data)

    def _move_metadata(self, document: Document) -> Document:
        """The content of a metadata file. Of an earlier one, files may be gone that only expired snapshots had."""
        moved = {**document, "location": self._move.try_move(str(document["location"]))}
        log = [entry for entry in list_documents(document, "metadata-log") if self._is_kept(entry)]
        moved["metadata-log"] = [self._move_key(entry, "metadata-file") for entry in log]
        moved["snapshots"] = [self._move_key(entry, "manifest-list") for entry in list_documents(document, "snapshots")]
        for key in ("statistics", "partition-statistics"):
            if key in document:
                moved[key] = [self._move_key(entry, "statistics-path") for entry in list_documents(document, key)]
        properties = cast("Mapping[str, str]", document.get("properties") or {})
        moved["properties"] = {
            name: self._move.try_move(value) if name in _PLACES else value for name, value in properties.items()
        }
        return moved

    def _is_kept(self, entry: Document) -> bool:
        return self._move.try_move(str(entry["metadata-file"])).removeprefix(self._move.root) in self._graph.earlier

    def _move_key(self, entry: Document, key: str) -> Document:
        return {**entry, key: self._move.try_move(str(entry[key]))} if key in entry else entry

    def _place(self, path: str) -> Path:
        place = self._folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place
