"""Which uploads the arguments of `lakehouse ingest` mean: tables, documents, and folders of documents."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lakehouse.cli.input import replace_undecodable
from lakehouse.services.contracts.documents import FORMATS, DocumentFormat, find_format, find_format_in_folder

STDIN = "-"
_COMPRESSION = re.compile(r"\.(gz|zst)$", re.IGNORECASE)
_FORMAT = re.compile(r"\.(csv|tsv|txt|json|ndjson|jsonl|parquet|arrow|feather|ipc)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file, and the table or corpus that it is put into. `source` is the name of a document in its corpus."""

    file: str
    name: str
    document: DocumentFormat | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of documents, which are one corpus. `skipped` are the files in it that are none."""

    path: str
    name: str
    uploads: Sequence[Upload] = field(default_factory=list)
    skipped: Sequence[str] = field(default_factory=list)


def plan(argument: str, *, name: str | None, file_format: str | None) -> Upload | Folder:
    """What one argument means. Raises OSError for a folder that cannot be read."""
    if argument != STDIN and Path(argument).is_dir():
        return plan_folder(argument, name or _clean(Path(argument).resolve().name, "documents"))
    document = next((each for each in FORMATS if each == file_format), None)
    if document is None and not file_format and argument != STDIN:
        document = find_format(argument)
    if document is None:
        return Upload(argument, name or table_name(argument))
    source = "standard input" if argument == STDIN else replace_undecodable(Path(argument).name)
    stem = Path(replace_undecodable(argument)).stem
    return Upload(argument, name or _clean(stem, "documents"), document, source)


def plan_folder(path: str, name: str) -> Folder:
    """The documents of a folder and of the folders in it, but for hidden ones. Raises OSError."""
    uploads, skipped = [], []
    for file in _list_files(path):
        source = replace_undecodable(file.relative_to(path).as_posix())
        document = find_format_in_folder(source)
        if document is None:
            skipped.append(source)
        else:
            uploads.append(Upload(str(file), name, document, source))
    return Folder(path=path, name=name, uploads=uploads, skipped=skipped)


def _list_files(path: str) -> Iterator[Path]:
    """The files in their order. Links to folders are not followed: they may be circles."""

    def fail(error: OSError) -> None:
        raise error

    for folder, names, files in os.walk(path, onerror=fail):
        names[:] = sorted(each for each in names if not each.startswith("."))
        yield from (Path(folder) / each for each in sorted(files) if not each.startswith("."))


def table_name(file: str) -> str:
    """The name of the table for a file: its stem, with characters that a name cannot have as `_`."""
    return _clean(_FORMAT.sub("", _COMPRESSION.sub("", Path(replace_undecodable(file)).name)), "upload")


def _clean(stem: str, default: str) -> str:
    plain = unicodedata.normalize("NFKD", replace_undecodable(stem))
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.") or default
