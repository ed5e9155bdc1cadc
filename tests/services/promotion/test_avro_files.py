"""Avro files: what is encoded again is what was decoded, by this reader and by that of pyiceberg."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lakehouse.services.promotion.avro_files import AvroFile, decode_avro, encode_avro
from lakehouse.services.promotion.avro_values import AvroError, Record, Schema
from lakehouse.services.tables.file_io import LocalFile

SCHEMA: Schema = {
    "type": "record",
    "name": "entry",
    "fields": [
        {"name": "nothing", "type": "null"},
        {"name": "flag", "type": "boolean", "field-id": 1},
        {"name": "small", "type": "int"},
        {"name": "large", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "single", "type": "float"},
        {"name": "double", "type": ["null", "double"], "default": None},
        {"name": "word", "type": "string"},
        {"name": "data", "type": ["bytes", "null"]},
        {"name": "id", "type": {"type": "fixed", "name": "uuid_fixed", "size": 4}},
        {"name": "other", "type": ["null", "uuid_fixed"]},
        {"name": "kind", "type": {"type": "enum", "name": "kinds", "symbols": ["A", "B"]}},
        {"name": "map", "type": {"type": "map", "values": "long"}},
        {
            "name": "bounds",
            "type": [
                "null",
                {
                    "type": "array",
                    "logicalType": "map",
                    "items": {
                        "type": "record",
                        "name": "k1_v2",
                        "fields": [{"name": "key", "type": "int"}, {"name": "value", "type": "bytes"}],
                    },
                },
            ],
        },
        {"name": "again", "type": {"type": "array", "items": "k1_v2"}},
    ],
}


def make_record(number: int) -> Record:
    pair: Record = {"key": number, "value": b"\x00\xff" * number}
    return {
        "nothing": None,
        "flag": number % 2 == 0,
        "small": -number,
        "large": (-1) ** number * 2 ** min(number, 62),
        "single": 0.5,
        "double": None if number % 3 else 1e300,
        "word": "größe" * number,
        "data": b"x" if number % 2 else None,
        "id": b"abcd",
        "other": None if number % 2 else b"efgh",
        "kind": number % 2,
        "map": {"a": number, "": -1} if number else {},
        "bounds": None if number == 1 else [dict(pair) for _ in range(number)],
        "again": [pair],
    }


def make_file(codec: str, count: int = 70) -> AvroFile:
    header = {"avro.schema": json.dumps(SCHEMA).encode(), "avro.codec": codec.encode(), "format-version": b"2"}
    return AvroFile(header, b"0123456789abcdef", [make_record(number) for number in range(count)])


@pytest.mark.parametrize("codec", ["null", "deflate", "zstandard"])
def test_a_file_is_the_same_after_it_was_encoded_and_decoded(codec: str) -> None:
    for count in (70, 0):
        file = make_file(codec, count)
        data = encode_avro(file)
        assert decode_avro(data) == file
        assert encode_avro(decode_avro(data)) == data


def test_pyiceberg_reads_what_was_encoded(tmp_path: Path) -> None:
    from pyiceberg.avro.file import AvroFile as IcebergFile

    fields = [
        {"name": "path", "type": "string", "field-id": 100},
        {"name": "size", "type": "long", "field-id": 101},
        {"name": "note", "type": ["null", "string"], "default": None, "field-id": 102},
    ]
    schema = {"type": "record", "name": "row", "fields": fields}
    records: list[Record] = [{"path": "a", "size": 2**40, "note": None}, {"path": "b", "size": -1, "note": "x"}]
    for codec in ("null", "deflate", "zstandard"):
        header = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()}
        data = encode_avro(AvroFile(header, b"s" * 16, records))
        path = tmp_path / codec
        path.write_bytes(data)
        source: Any = LocalFile(str(path))
        with IcebergFile[Any](source) as rows:
            assert [(row[0], row[1], row[2]) for row in rows] == [("a", 2**40, None), ("b", -1, "x")]


def test_damaged_files_and_foreign_values_are_refused() -> None:
    data = encode_avro(make_file("deflate"))
    for damaged in (b"", b"PAR1", data[:10], data[:-1], data[:-20] + b"x" * 20, data[:900] + b"\xff" + data[901:]):
        with pytest.raises(AvroError):
            decode_avro(damaged)
    file = make_file("null", 1)
    for wrong in ({**make_record(0), "word": 1}, {"word": "x"}, {**make_record(0), "flag": "x"}):
        with pytest.raises(AvroError):
            encode_avro(AvroFile(file.header, file.sync, [wrong]))  # type: ignore[list-item]
    with pytest.raises(AvroError, match="has the compression 'lzo', which is not known here"):
        decode_avro(data.replace(b"\x0edeflate", b"\x06lzo"))
