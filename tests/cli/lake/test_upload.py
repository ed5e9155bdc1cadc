"""The body of an upload, and the name of the table that a file becomes."""

from __future__ import annotations

import io
from email import message_from_bytes

import pytest

from lakehouse.cli.lake.folders import table_name
from lakehouse.cli.lake.upload import PIECE, FileUpload


async def body_of(upload: FileUpload) -> bytes:
    pieces = []
    while piece := await upload.receive():
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("size", [0, 5, 2 * PIECE + 17])
@pytest.mark.parametrize("known", [True, False])
async def test_one_part_with_the_name_of_the_file(size: int, known: bool) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    seen: list[int] = []
    upload = FileUpload(io.BytesIO(data[:size]), 'a "b"\n.csv', size if known else None, seen.append)
    body = await body_of(upload)
    assert upload.length == (len(body) if known else None)
    message = message_from_bytes(b"Content-Type: " + upload.content_type + b"\r\n\r\n" + body)
    assert len(message.get_payload()) == 1
    assert body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0] == data[:size]
    assert b'name="file"; filename="a %22b%22%0A.csv"' in body
    assert seen == sorted(seen)
    assert (seen or [0])[-1] == size


async def test_a_file_that_grows_is_sent_to_its_size_and_one_that_shrinks_is_an_error() -> None:
    upload = FileUpload(io.BytesIO(b"0123456789"), "f", 4)
    assert len(await body_of(upload)) == upload.length
    with pytest.raises(OSError, match="6 bytes are missing"):
        await body_of(FileUpload(io.BytesIO(b"0123"), "f", 10))


@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("sales.csv", "sales"), ("/a/b/sales.csv.gz", "sales"), ("Q3 sales (final).tsv.ZST", "Q3_sales_final"),
        ("v1.2.parquet", "v1.2"), ("data", "data"), ("Käufe.ndjson", "Ka_ufe"), ("日本.csv", "upload"), (".hidden.csv", "hidden"),
        ("a-b_c.jsonl", "a-b_c"), ("archive.csv.csv", "archive.csv"),
    ],
)  # fmt: skip
def test_the_table_is_named_by_the_stem_of_the_file(file: str, table: str) -> None:
    assert table_name(file) == table
