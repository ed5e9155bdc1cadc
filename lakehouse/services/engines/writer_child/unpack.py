"""The first step with every upload: refuse what is no table, decompress, and decide on the format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lakehouse.services.contracts.write_engine import FORMATS, ParseOptions
from lakehouse.services.engines.writer_child.call_errors import bad_request, unprocessable, unsupported
from lakehouse.services.engines.writer_child.compression import decompress, find_compression
from lakehouse.services.engines.writer_child.wrong_kinds import HEAD_SIZE, check_kind

BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
BY_CONTENT_TYPE = {
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/json": "json",
    "text/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/x-jsonlines": "ndjson",
    "application/json-lines": "ndjson",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow",
    "application/vnd.apache.arrow.stream": "arrow",
}
_COMPRESSED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A plain file and its format."""

    path: Path
    format: str


def unpack(upload: Path, options: ParseOptions, staging: Path, *, check: Callable[[], None] = lambda: None) -> Unpacked:
    """Decompress an upload into `staging` if necessary, and decide on its format.

    Raises `CallError`: 400 for an unknown format, 415 for a kind that is not read, 413 and 422 for the compressed data
    and an empty file.
    """
    if options.format and options.format not in FORMATS:
        raise bad_request(f"`format` is one of {', '.join(FORMATS)}, not {options.format!r}")
    head = _read_head(upload)
    if not head:
        raise unprocessable("the file is empty: it has no data")
    path, compression = upload, find_compression(head)
    if compression is not None:
        path = staging / "unpacked"
        decompress(upload, path, compression, max_size=options.max_bytes, check=check)
        if not (head := _read_head(path)):
            raise unprocessable(f"the {compression} content is empty: it has no data")
    check_kind(head)
    return Unpacked(path=path, format=decide_format(options, head))


def decide_format(options: ParseOptions, head: bytes) -> str:
    """The format of a file, by the parameter, the bytes, the name, or the content type, in this order.

    Raises `CallError` for bytes of one format under the explicit name of another.
    """
    binary = _find_binary_format(head)
    if options.format:
        if binary and binary != options.format:
            raise unprocessable(f"`format` is {options.format}, but the bytes are those of the format {binary}")
        return options.format
    if binary:
        return binary
    named = BY_SUFFIX.get(_suffix(options.file_name))
    if named:
        return named
    typed = BY_CONTENT_TYPE.get(options.content_type.partition(";")[0].strip().lower())
    if typed:
        return typed
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if text.startswith(b"{") or (text.startswith(b"[") and text[1:].lstrip()[:1] in (b"{", b"[", b"]")):
        return "json"
    if b"\0" in head and not _is_utf16(head):
        raise unsupported(
            "the file is of an unknown binary kind: send CSV, TSV, JSON, NDJSON, Parquet or Arrow, or name `format`"
        )
    return "csv"


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_SIZE)


def _suffix(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/").lower())
    if path.suffix in _COMPRESSED_SUFFIXES:
        path = path.with_suffix("")
    return path.suffix


def _find_binary_format(head: bytes) -> str:
    if head.startswith((b"PAR1", b"PARE")):
        return "parquet"
    if head.startswith(b"ARROW1\0\0") or _is_arrow_stream(head):
        return "arrow"
    return ""


def _is_arrow_stream(head: bytes) -> bool:
    """The continuation mark and the length of the schema, which is padded to eight bytes."""
    length = int.from_bytes(head[4:8], "little")
    return head.startswith(b"\xff\xff\xff\xff") and 0 < length < 2**28 and length % 8 == 0


def _is_utf16(head: bytes) -> bool:
    """A byte order mark, or a zero in the same half of most of the first characters."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    sample = head[:64]
    return any(sample[start::2].count(0) * 4 >= len(sample[start::2]) * 3 for start in (0, 1))
