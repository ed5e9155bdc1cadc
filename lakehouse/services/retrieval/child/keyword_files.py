"""The files of a keyword index on tantivy: which of them belong to the last commit, and whether they are whole."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from lakehouse.services.retrieval.child.keyword import KeywordIndexError

FOOTER = struct.Struct("<II")
FOOTER_MAGIC = 1337


def remove_leftovers(folder: Path) -> None:
    """Remove the files that the last commit does not name.

    A process that is killed during a commit leaves them. The next commit has the same number, and fails if its files
    are there.
    """
    listing = folder / "meta.json"
    if not listing.exists():
        return
    segments = read_segments(listing)
    for file in folder.iterdir():
        segment, _, rest = file.name.partition(".")
        number, is_deletion, _ = rest.partition(".del")
        if segment not in segments:
            unused = bool(segment) or file.name.startswith(".tmp")
        else:
            unused = bool(is_deletion) and number != segments[segment]
        if unused and file.name != listing.name:
            file.unlink()


def read_segments(listing: Path) -> dict[str, str]:
    """The segments of the last commit, each with the number of its file of deletions or an empty string.

    Raises KeywordIndexError.
    """
    try:
        segments = json.loads(listing.read_bytes())["segments"]
        return {
            segment["segment_id"].replace("-", ""): str((segment.get("deletes") or {}).get("opstamp", ""))
            for segment in segments
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeywordIndexError(f"{listing} is damaged") from error


def check_files(folder: Path) -> None:
    """Compare all files of the last commit with the checksums that tantivy wrote, which it does not do by itself.

    An index of 55,000 texts has 8 MB. Raises KeywordIndexError.
    """
    listing = folder / "meta.json"
    if not listing.exists():
        return
    for file in files_of(folder, read_segments(listing)):
        if not has_checksum(file):
            raise KeywordIndexError(f"{file} is damaged")


def files_of(folder: Path, segments: Iterable[str]) -> Iterator[Path]:
    """The files of some segments."""
    names = set(segments)
    return (file for file in folder.iterdir() if file.name.partition(".")[0] in names)


def has_checksum(file: Path) -> bool:
    """Whether the body of a file has the CRC-32 that its footer says: body, JSON, its length, a magic number."""
    content = memoryview(file.read_bytes())
    if len(content) < FOOTER.size:
        return False
    length, magic = FOOTER.unpack_from(content, len(content) - FOOTER.size)
    body = len(content) - FOOTER.size - length
    if magic != FOOTER_MAGIC or body < 0:
        return False
    try:
        footer = json.loads(bytes(content[body : body + length]))
        return bool(footer["crc"] == zlib.crc32(content[:body]))
    except (ValueError, KeyError, TypeError):
        return False
