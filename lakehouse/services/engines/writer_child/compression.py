"""Decompression of an upload into a plain file: gzip with all members, zstd with all frames.

The compression is told by the first bytes. Refused are data that end early, a wrong checksum, bytes behind the end,
data that are compressed twice (422), and data that expand beyond a limit (413). Memory is flat: the output of a step is
bounded, however far its input expands.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import zstandard

from lakehouse.services.engines.writer_child.call_errors import too_large, unprocessable

Compression = Literal["gzip", "zstd"]

MAX_RATIO = 200
"""How many times larger than the compressed data the content may be, once it is over `RATIO_FLOOR` bytes."""
RATIO_FLOOR = 64 * 2**20
WRITE_SIZE = 2**20
"""Bytes of one piece of decompressed content."""
_GZIP_STEP = 64 * 1024
_ZSTD_STEP = 1024
"""Bytes of input of one step. 128 KiB of content can be four bytes of zstd: a step expands to 32 MiB at most."""
_MAX_WINDOW = 128 * 2**20
"""The largest window of zstd, which is memory; the same limit as that of its own program."""

_ZSTD_FRAME = 0xFD2FB528
_ZSTD_SKIPPABLE = range(0x184D2A50, 0x184D2A60)


def find_compression(head: bytes) -> Compression | None:
    """How a file that begins with these bytes is compressed."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    magic = int.from_bytes(head[:4], "little") if len(head) >= 4 else 0
    return "zstd" if magic == _ZSTD_FRAME or magic in _ZSTD_SKIPPABLE else None


def decompress(
    source: Path, target: Path, compression: Compression, *, max_size: int, check: Callable[[], None]
) -> int:
    """Decompress a file. Returns the bytes of the content; `check` is called at every step and may raise.

    `max_size` bounds the content, 0 does not.
    """
    read = source.stat().st_size
    expand = _expand_gzip if compression == "gzip" else _expand_zstd
    written = 0
    with source.open("rb") as file, target.open("wb") as output:
        for piece in expand(file):
            check()
            if not written and find_compression(piece) is not None:
                raise unprocessable(
                    f"the file is compressed twice: its {compression} content is compressed again", offset=0
                )
            written += len(piece)
            _check_size(read, written, max_size, compression)
            output.write(piece)
    return written


def _check_size(read: int, written: int, max_size: int, compression: Compression) -> None:
    if written > RATIO_FLOOR and written > MAX_RATIO * read:
        raise too_large(
            f"the {compression} content is more than {MAX_RATIO} times as large as the compressed file "
            f"({read} bytes): send it with less compression, or as it is"
        )
    if max_size and written > max_size:
        raise too_large(
            f"the {compression} content is larger than {max_size} bytes, the limit of an upload "
            "(ingestd.max_ingest_bytes)"
        )


def _expand_gzip(file: BinaryIO) -> Iterator[bytes]:
    """The content of all members. The checksum and the length of each are compared by zlib."""
    member, begun, offset = zlib.decompressobj(wbits=31), False, 0
    while data := file.read(_GZIP_STEP):
        while data:
            if not begun and not data.startswith(b"\x1f"):
                _check_padding(data, file, offset, "gzip")
                return
            begun = True
            try:
                piece = member.decompress(data, WRITE_SIZE)
            except zlib.error as error:
                raise unprocessable(f"the gzip data are damaged: {_explain(error)}", offset=offset) from None
            rest = member.unused_data if member.eof else member.unconsumed_tail
            offset += len(data) - len(rest)
            data = rest
            if piece:
                yield piece
            if member.eof:
                member, begun = zlib.decompressobj(wbits=31), False
    while begun:  # content that the last step kept back
        piece = member.decompress(b"", WRITE_SIZE) if not member.eof else b""
        if not piece:
            raise unprocessable("the gzip data end too early: the file is truncated", offset=offset)
        yield piece


def _explain(error: zlib.error) -> str:
    text = str(error)
    if "incorrect data check" in text:
        return "the checksum does not match the content"
    if "incorrect length check" in text:
        return "the recorded length does not match the content"
    return text.partition(": ")[2] or text


def _expand_zstd(file: BinaryIO) -> Iterator[bytes]:
    """The content of all frames. The checksum of a frame that has one is compared by the library."""
    context = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    frame, begun, offset = context.decompressobj(), False, 0
    pending = b""
    while data := pending + file.read(_ZSTD_STEP):
        pending = b""
        if not begun:
            data += file.read(max(0, 4 - len(data)))
            if find_compression(data) != "zstd":
                _check_padding(data, file, offset, "zstd")
                return
            begun = True
        try:
            piece = frame.decompress(data)
        except zstandard.ZstdError as error:
            raise unprocessable(f"the zstd data are damaged: {_explain_zstd(error)}", offset=offset) from None
        rest = frame.unused_data if frame.eof else b""
        offset += len(data) - len(rest)
        for start in range(0, len(piece), WRITE_SIZE):
            yield piece[start : start + WRITE_SIZE]
        if frame.eof:
            frame, begun, pending = context.decompressobj(), False, rest
    if begun:
        raise unprocessable("the zstd data end too early: the file is truncated", offset=offset)


def _explain_zstd(error: zstandard.ZstdError) -> str:
    text = str(error).rpartition(": ")[2]
    if "checksum" in text.lower():
        return "the checksum does not match the content"
    if "memory" in text.lower() or "window" in text.lower():
        return f"its window is larger than {_MAX_WINDOW >> 20} MiB"
    return text


def _check_padding(data: bytes, file: BinaryIO, offset: int, compression: Compression) -> None:
    """Only zero bytes, with which some media fill their last block, may follow the last member or frame."""
    while data:
        if data.strip(b"\0"):
            raise unprocessable(
                f"there are bytes behind the end of the {compression} data that are no {compression} data",
                offset=offset,
            )
        data = file.read(_GZIP_STEP)
