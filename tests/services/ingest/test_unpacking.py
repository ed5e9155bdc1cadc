"""Compression by the first bytes, formats by parameter, bytes, name and type, and kinds of files that are no tables."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from lakehouse.process.calls.rpc_child import CallCancelled, CallError
from lakehouse.services.contracts.write_engine import ParseOptions
from lakehouse.services.engines.writer_child import compression
from lakehouse.services.engines.writer_child.unpack import Unpacked, unpack
from tests.services.ingest.format_kit import arrow, parquet

BODY = b"".join(b"%d,some text,%d\n" % (number, number * 7919) for number in range(20_000))


def run(folder: Path, body: bytes, *, max_bytes: int = 0, **options: Any) -> Unpacked:
    upload = folder / "upload"
    upload.write_bytes(body)
    return unpack(upload, ParseOptions(max_bytes=max_bytes, **options), folder)


def refuse(folder: Path, body: bytes, *, max_bytes: int = 0, **options: Any) -> tuple[str, str]:
    with pytest.raises(CallError) as caught:
        run(folder, body, max_bytes=max_bytes, **options)
    return caught.value.failure.kind, caught.value.failure.message


def zst(body: bytes, *, checksum: bool = False, size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=size).compress(body)


SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0meta"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(gzip.compress(BODY), id="gzip"),
        pytest.param(gzip.compress(BODY[:99]) + gzip.compress(b"") + gzip.compress(BODY[99:]), id="gzip members"),
        pytest.param(gzip.compress(BODY) + bytes(700), id="gzip with zeros behind"),
        pytest.param(zst(BODY), id="zstd"),
        pytest.param(zst(BODY, checksum=True, size=False), id="zstd with a checksum"),
        pytest.param(zst(BODY[:7]) + SKIPPABLE + zst(b"") + zst(BODY[7:]), id="zstd frames"),
        pytest.param(SKIPPABLE + zst(BODY), id="zstd with a skippable frame first"),
    ],
)
def test_all_members_and_frames_are_read(tmp_path: Path, body: bytes) -> None:
    assert run(tmp_path, body).path.read_bytes() == BODY


G, Z, C = gzip.compress(BODY), zst(BODY), zst(BODY, checksum=True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(G[: len(G) // 2], "truncated", id="half a gzip file"),
        pytest.param(G[:-1], "truncated", id="gzip without its last byte"),
        pytest.param(G[:5], "truncated", id="a piece of a gzip header"),
        pytest.param(G + G[:-100], "truncated", id="the second member is cut"),
        pytest.param(G[:-8] + b"abcd" + G[-4:], "checksum", id="gzip with a wrong checksum"),
        pytest.param(G[:-4] + b"abcd", "length", id="gzip with a wrong length"),
        pytest.param(G[:200] + b"\xff" * 50 + G[250:], "damaged", id="gzip that is damaged inside"),
        pytest.param(G + b"garbage", "behind the end", id="bytes behind gzip"),
        pytest.param(gzip.compress(G), "compressed twice", id="gzip in gzip"),
        pytest.param(gzip.compress(Z), "compressed twice", id="zstd in gzip"),
        pytest.param(Z[: len(Z) // 2], "truncated", id="half a zstd file"),
        pytest.param(Z[:-1], "truncated", id="zstd without its last byte"),
        pytest.param(Z + Z[:-1], "truncated", id="the second frame is cut"),
        pytest.param(C[:-1] + bytes([C[-1] ^ 1]), "checksum", id="zstd with a wrong checksum"),
        pytest.param(Z + b"garbage", "behind the end", id="bytes behind zstd"),
        pytest.param(zst(Z), "compressed twice", id="zstd in zstd"),
        pytest.param(gzip.compress(b""), "no data", id="nothing in gzip"),
        pytest.param(SKIPPABLE, "no data", id="nothing in zstd"),
        pytest.param(b"", "empty", id="nothing"),
    ],
)
def test_damaged_compression_is_refused(tmp_path: Path, body: bytes, words: str) -> None:
    kind, message = refuse(tmp_path, body)
    assert kind == "unprocessable"
    assert words in message


@pytest.mark.parametrize("compress", [gzip.compress, zst])
def test_a_bomb_is_refused_with_little_written(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    kind, message = refuse(tmp_path, compress(bytes(200 * 2**20)))
    assert kind == "too large"
    assert "200 times" in message
    assert (tmp_path / "unpacked").stat().st_size <= compression.RATIO_FLOOR


def test_what_compresses_well_and_is_small_is_taken(tmp_path: Path) -> None:
    assert run(tmp_path, gzip.compress(b"a\n" * 2**24)).path.stat().st_size == 2**25


def test_the_content_counts_for_the_limit_of_an_upload(tmp_path: Path) -> None:
    assert run(tmp_path, G, max_bytes=len(BODY)).path.stat().st_size == len(BODY)
    kind, message = refuse(tmp_path, G, max_bytes=len(BODY) - 1)
    assert kind == "too large"
    assert "ingestd.max_ingest_bytes" in message


def test_decompression_is_stopped_by_a_cancelled_call(tmp_path: Path) -> None:
    calls = iter(range(3))

    def check() -> None:
        if next(calls) == 2:
            raise CallCancelled

    (tmp_path / "upload").write_bytes(gzip.compress(bytes(2**23)))
    with pytest.raises(CallCancelled):
        unpack(tmp_path / "upload", ParseOptions(), tmp_path, check=check)


def archive(*names: str) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return output.getvalue()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (archive("data.csv"), "zip archive"),
        (archive("[Content_Types].xml", "xl/workbook.xml"), "workbook of Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), ".xls"),
        (b"<!DOCTYPE html><html><body>Log in", "HTML"),
        (b"\xef\xbb\xbf\n <HTML lang=en>", "HTML"),
        (b"<!-- page -->\n<html>", "HTML"),
        (b"<?xml version='1.0'?><rows/>", "XML"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(9), "JPEG"),
        (b"GIF89a" + bytes(9), "GIF"),
        (b"II*\x00" + bytes(9), "TIFF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "BMP"),
        (b"BZh91AY&SY" + bytes(9), "bzip2"),
        (b"\xfd7zXZ\0" + bytes(9), "xz"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(9), "7-Zip"),
        (b"Rar!\x1a\x07\x01", "RAR"),
        (b"x" * 257 + b"ustar\0" + bytes(200), "tar"),
        (b"SQLite format 3\0" + bytes(9), "SQLite"),
        (b"FEA1" + bytes(9), "Feather"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "in gzip"])
def test_what_is_no_table_is_named(tmp_path: Path, body: bytes, word: str, packed: bool) -> None:
    kind, message = refuse(tmp_path, gzip.compress(body) if packed else body, format="csv", file_name="data.csv")
    assert kind == "unsupported"
    assert word in message
    assert "send" in message or "write" in message


@pytest.mark.parametrize("body", [b"BMI,age\n1,2\n", b"ORC,hp\n", b"<b>,x\n", b"PK,name\n1,a\n", b"GIF,x\n", b"%PDF\n"])
def test_a_header_that_looks_like_another_kind_is_a_table(tmp_path: Path, body: bytes) -> None:
    assert run(tmp_path, body).format == "csv"


@pytest.mark.parametrize(
    ("body", "options", "expected"),
    [
        (b"a,b\n", {}, "csv"),
        (b"a,b\n", {"file_name": "data.json", "format": "csv"}, "csv"),
        (b"a\tb\n", {"file_name": "DATA.TSV"}, "tsv"),
        (b"a\tb\n", {"content_type": "text/tab-separated-values; charset=utf-8"}, "tsv"),
        (b'{"a":1}', {"file_name": "x.jsonl"}, "ndjson"),
        (b'{"a":1}', {"content_type": "application/x-ndjson"}, "ndjson"),
        (b'{"a":1}', {"file_name": "x.csv", "content_type": "application/json"}, "csv"),
        (b'{"a":1}', {}, "json"),
        (b' \n[{"a":1}]', {}, "json"),
        (b"[x],[y]\n1,2\n", {}, "csv"),
        (parquet({"a": [1]}), {"file_name": "data.csv"}, "parquet"),
        (arrow({"a": [1]}), {}, "arrow"),
        (arrow({"a": [1]}, stream=True), {"content_type": "text/csv"}, "arrow"),
        ("a,b\n1,2\n".encode("utf-16"), {}, "csv"),
        ("a,b\n1,2\n".encode("utf-16-le"), {}, "csv"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("compress", [bytes, gzip.compress, zst])
def test_the_format(tmp_path: Path, body: bytes, options: dict[str, Any], expected: str, compress: type[bytes]) -> None:
    assert run(tmp_path, compress(body), **options).format == expected


def test_the_name_of_a_compressed_file(tmp_path: Path) -> None:
    assert run(tmp_path, G, file_name="C:\\data\\Export.TSV.gz").format == "tsv"
    assert run(tmp_path, BODY, file_name="x.csv.zst").format == "csv"


def test_bytes_of_an_unknown_kind_and_an_unknown_format(tmp_path: Path) -> None:
    assert refuse(tmp_path, bytes(range(256)))[0] == "unsupported"
    assert refuse(tmp_path, b"a,b\n", format="xml")[0] == "bad request"
