"""Checksums of what is stored: SHA-256, and the etag that S3 gives to an object that is stored in parts.

The etag of an object is the MD5 of its bytes, or that of the MD5s of its parts with their number. With some kinds of
encryption it is neither; then the object is read back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PIECE = 2**20


class Checksums(NamedTuple):
    """Of a file: bytes, SHA-256 in hexadecimal digits, the etag in quotes."""

    size: int
    digest: str
    etag: str


def hash_bytes(data: bytes, part: int) -> Checksums:
    """The checksums of bytes that are stored in parts of `part` bytes."""
    return _hash(iter([data[start : start + part] for start in range(0, len(data), part)]), part)


def hash_file(path: Path, part: int) -> Checksums:
    """The checksums of a file. Blocks. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return _hash(iter(lambda: file.read(min(PIECE, part)), b""), part)


def _hash(pieces: Iterator[bytes], part: int) -> Checksums:
    digest, parts, size = hashlib.sha256(), [_md5()], 0
    filled = 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        rest = memoryview(piece)
        while rest:
            if filled == part:
                parts.append(_md5())
                filled = 0
            taken = rest[: part - filled]
            parts[-1].update(taken)
            filled += len(taken)
            rest = rest[len(taken) :]
    if len(parts) == 1:
        etag = parts[0].hexdigest()
    else:
        whole = _md5()
        for each in parts:
            whole.update(each.digest())
        etag = f"{whole.hexdigest()}-{len(parts)}"
    return Checksums(size, digest.hexdigest(), f'"{etag}"')


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)
