"""Corrupt files: valid files of each format with flipped bits and truncated ends (seeded), and decompression bombs."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import zstandard

ROWS = 400


def _table() -> pa.Table:
    return pa.table(
        {
            "id": list(range(ROWS)),
            "name": [f"name {i * 7919 % 1000}" for i in range(ROWS)],
            "score": [i / 4 if i % 7 else None for i in range(ROWS)],
            "tags": [[f"t{i % 5}"] * (i % 3) for i in range(ROWS)],
        }
    )


def _csv() -> bytes:
    return b"id,name,score\n" + b"".join(b"%d,name %d,%d\n" % (i, i * 7919 % 1000, i * i) for i in range(ROWS))


def _records() -> list[dict[str, object]]:
    return [{"id": i, "name": f"name {i * 7919 % 1000}", "nested": {"a": [i, None]}} for i in range(ROWS)]


def _parquet(**options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_table(), sink, row_group_size=150, **options)
    return sink.getvalue()


def _arrow(*, stream: bool) -> bytes:
    sink = io.BytesIO()
    table = _table()
    with (ipc.new_stream if stream else ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=150)
    return sink.getvalue()


def zst(body: bytes) -> bytes:
    """Compress with a checksum."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(body)


@dataclass(frozen=True)
class ValidFile:
    """A valid file, and what can be known of its corrupt copies."""

    make: Callable[[], bytes]
    checked: bool = False
    """Whether a checksum covers the content: a copy that is accepted has the valid content."""
    ends: bool = True
    """Whether the format shows each truncation."""


VALID_FILES: Mapping[str, ValidFile] = {
    "csv": ValidFile(_csv, ends=False),
    "csv.gz": ValidFile(lambda: gzip.compress(_csv(), mtime=0), checked=True),
    "csv.zst": ValidFile(lambda: zst(_csv()), checked=True),
    "json": ValidFile(lambda: json.dumps(_records()).encode()),
    "ndjson": ValidFile(lambda: b"".join(json.dumps(r).encode() + b"\n" for r in _records()), ends=False),
    "ndjson.gz": ValidFile(lambda: gzip.compress(VALID_FILES["ndjson"].make(), mtime=0), checked=True),
    "parquet": ValidFile(lambda: _parquet(compression="snappy")),
    "parquet zstd": ValidFile(lambda: _parquet(compression="zstd", data_page_version="2.0", use_dictionary=False)),
    "parquet plain": ValidFile(lambda: _parquet(compression="none", version="1.0", write_statistics=False)),
    "arrow": ValidFile(lambda: _arrow(stream=False)),
    "arrow stream": ValidFile(lambda: _arrow(stream=True)),
}


@cache
def valid_bytes(name: str) -> bytes:
    """The bytes of a valid file."""
    return VALID_FILES[name].make()


def flip(name: str, number: int) -> Iterator[tuple[int, bytes]]:
    """Copies with one to eight bits flipped, half of them in the last kilobyte, where formats have their metadata."""
    body, chance = valid_bytes(name), random.Random(f"{name} {number}")
    for index in range(number):
        copy = bytearray(body)
        first = max(0, len(body) - 1024) if index % 2 else 0
        for _ in range(chance.choice((1, 1, 2, 8))):
            copy[chance.randrange(first, len(body))] ^= 1 << chance.randrange(8)
        yield index, bytes(copy)


def truncate(name: str, number: int) -> Iterator[tuple[int, bytes]]:
    """Truncated copies: near the start, near the end, and anywhere."""
    body, chance = valid_bytes(name), random.Random(f"{name} cut {number}")
    places = [len(body) - 1, 12, len(body) - 4, 8]
    places += [chance.randrange(8, len(body)) for _ in range(number - len(places))]
    for place in places[:number]:
        yield place, body[:place]


def _long_parquet() -> bytes:
    """A hundred million rows of nothing in some kilobytes: a valid file."""
    sink = io.BytesIO()
    schema = pa.schema([("a", pa.int8())])
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        batch = pa.table({"a": pa.nulls(1_000_000, pa.int8())})
        for _ in range(100):
            writer.write_table(batch)
    return sink.getvalue()


def _dense_parquet() -> bytes:
    """400 MB of text in some kilobytes: a valid file."""
    sink = io.BytesIO()
    table = pa.table({"a": pa.array(["x" * 4096] * 100_000, pa.large_string())})
    pq.write_table(table, sink, compression="zstd", use_dictionary=False)
    return sink.getvalue()


def _claiming_footer(length: int) -> bytes:
    body = valid_bytes("parquet")
    return body[:-8] + struct.pack("<I", length) + b"PAR1"


def _zstd_window() -> bytes:
    """A frame that claims a window of 3.75 TiB."""
    return b"\x28\xb5\x2f\xfd\x00\xff" + b"\x01\x00\x00"


BOMBS: Mapping[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "gzip of zeros": (lambda: gzip.compress(bytes(300 * 2**20), 6), (413, 422)),
    "gzip of lines": (lambda: gzip.compress(b"a,b\n" * (80 * 2**20), 6), (413,)),
    "gzip members": (lambda: gzip.compress(b"1,2\n" * 2**20) * 100, (413,)),
    "empty gzip members": (lambda: gzip.compress(b"") * 200_000, (422,)),
    "gzip in gzip": (lambda: gzip.compress(gzip.compress(b"a\n1\n")), (422,)),
    "zstd of zeros": (lambda: zst(bytes(600 * 2**20)), (413, 422)),
    "zstd of lines": (lambda: zst(b"a,b\n" * (150 * 2**20)), (413,)),
    "zstd with a huge window": (_zstd_window, (413, 422)),
    "zstd that claims exabytes": (
        lambda: b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 7 + b"\x0f" + b"\x01\x00\x00",
        (413, 422),
    ),
    "deep array": (lambda: b"[" * 2_000_000, (422,)),
    "deep array that ends": (lambda: b"[" * 500_000 + b"]" * 500_000, (422,)),
    "deep object": (lambda: b'{"a":' * 500_000 + b"1" + b"}" * 500_000, (422,)),
    "deep line": (lambda: b'{"a":1}\n{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", (422,)),
    "many keys": (lambda: b"{" + b",".join(b'"k%d":1' % i for i in range(20_000)) + b"}\n", (413, 422)),
    "keys in every line": (lambda: b"".join(b'{"k%d":1}\n' % i for i in range(20_000)), (413, 422)),
    "nested keys": (
        lambda: b"".join(b'{"a":{"k%d":{"l%d":1}}}\n' % (i, i) for i in range(20_000)),
        (200, 201, 413, 422),
    ),
    "long number": (lambda: b'{"a":' + b"9" * 5_000_000 + b"}\n", (201, 422)),
    "long value": (lambda: b'{"a":"' + b"x" * 17 * 2**20 + b'"}\n', (413, 422)),
    "long key": (lambda: b'{"' + b"k" * 2**20 + b'":1}\n', (201, 413, 422)),
    "wide csv": (lambda: b",".join(b"c%d" % i for i in range(10_001)) + b"\n", (413, 422)),
    "long header": (lambda: b"a" * 2**20 + b",b\n1,2\n", (201, 413, 422)),
    "long field": (lambda: b"a,b\n" + b"x" * 17 * 2**20 + b",1\n", (413, 422)),
    "open quote": (lambda: b'a,b\n"' + b"x,\n" * 2_000_000, (413, 422)),
    "quotes": (lambda: b'a\n"' + b'"' * 5_000_000 + b'"\n', (413, 422, 201)),
    "commas": (lambda: b"a,b\n" + b"," * 5_000_000, (413, 422)),
    "carriage returns": (lambda: b"a\n" + b"\r" * 3_000_000, (201, 422)),
    "NULs": (lambda: b"a,b\n" + b"\0" * 100_000 + b",1\n", (201, 422)),
    "half a UTF-16": (lambda: b"\xff\xfe" + "a,b\n1,2\n".encode("utf-16-le")[:-1], (422,)),
    "surrogates": (lambda: b"a\n\xed\xa0\x80\n", (422,)),
    "parquet of many rows": (_long_parquet, (201, 413, 422)),
    "parquet of dense text": (_dense_parquet, (201, 413, 422)),
    "parquet magic alone": (lambda: b"PAR1PAR1", (422,)),
    "parquet that claims a huge footer": (lambda: _claiming_footer(0xFFFFFFFF), (422,)),
    "parquet that claims a footer of its whole": (lambda: _claiming_footer(len(valid_bytes("parquet")) - 12), (422,)),
    "parquet that claims no footer": (lambda: _claiming_footer(0), (422,)),
    "encrypted parquet": (lambda: valid_bytes("parquet")[:-4] + b"PARE", (422,)),
    "arrow magic alone": (lambda: b"ARROW1\0\0" + b"\0" * 100 + b"ARROW1", (422,)),
    "arrow that claims much": (lambda: b"\xff\xff\xff\xff\xf0\xff\xff\x7f" + b"\0" * 64, (422,)),
    "arrow of a huge footer": (lambda: valid_bytes("arrow")[:-10] + b"\xff\xff\xff\x7fARROW1", (422,)),
}
"""Files that grow, nest or claim, and the statuses that are right."""
