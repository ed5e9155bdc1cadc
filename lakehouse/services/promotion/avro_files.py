"""Avro container files, such as Iceberg's manifests: decoded, and encoded again with the schema and header they had.

pyiceberg reads manifests into its own classes and drops what those do not know. Here all that a writer has put into a
file stays in it. A file that is encoded again from the same values has the same bytes, since its sync marker is kept.

https://avro.apache.org/docs/1.12.0/specification/#object-container-files
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import cast

from lakehouse.services.promotion.avro_values import AvroError, Decoder, Encoder, Record, Schema, Value, find_named

MAGIC = b"Obj\x01"
SYNC_SIZE = 16
_HEADER: Schema = {"type": "map", "values": "bytes"}
_SCHEMA, _CODEC = "avro.schema", "avro.codec"


@dataclass(slots=True)
class AvroFile:
    """The content of a file. `header` has the schema as it was written."""

    header: dict[str, bytes]
    sync: bytes
    records: list[Record]

    @property
    def schema(self) -> Schema:
        """The schema of the records."""
        schema: Schema = json.loads(self.header[_SCHEMA])
        return schema

    @property
    def codec(self) -> str:
        """The name of the compression."""
        return self.header.get(_CODEC, b"null").decode()


def decode_avro(data: bytes) -> AvroFile:
    """Read a file. Raises AvroError."""
    try:
        return _decode(data)
    except (KeyError, IndexError, ValueError, struct.error, zlib.error, EOFError) as error:
        raise AvroError(f"is damaged: {type(error).__name__}, {error}") from None


def _decode(data: bytes) -> AvroFile:
    if not data.startswith(MAGIC):
        raise AvroError("is not an Avro file")
    source = Decoder(data[len(MAGIC) :])
    file = AvroFile(cast("dict[str, bytes]", source.read(_HEADER)), source.take(SYNC_SIZE), [])
    schema = file.schema
    named = find_named(schema)
    while not source.at_end:
        count, size = source.read_long(), source.read_long()
        block = Decoder(_decompress(file.codec, source.take(size)), named)
        file.records += [cast("Record", block.read(schema)) for _ in range(count)]
        if source.take(SYNC_SIZE) != file.sync:
            raise AvroError("is damaged: a block does not end with the marker of the file")
    return file


def encode_avro(file: AvroFile) -> bytes:
    """Write a file. Raises AvroError for a value that its schema has no place for."""
    schema = file.schema
    block, body = Encoder(find_named(schema)), Encoder()
    try:
        for record in file.records:
            block.write(schema, record)
    except (KeyError, TypeError, OverflowError, struct.error) as error:
        raise AvroError(f"has a value that does not fit its schema: {type(error).__name__}, {error}") from None
    body.write(_HEADER, cast("Value", file.header))
    body.data += file.sync
    if file.records:
        compressed = _compress(file.codec, bytes(block.data))
        body.write_long(len(file.records))
        body.write_long(len(compressed))
        body.data += compressed + file.sync
    return MAGIC + bytes(body.data)


def _decompress(codec: str, data: bytes) -> bytes:
    match codec:
        case "null":
            return data
        case "deflate":
            return zlib.decompress(data, -zlib.MAX_WBITS)
        case "zstandard":
            import zstandard  # of the lake's packages, which this process alone needs here

            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    raise AvroError(f"has the compression {codec!r}, which is not known here")


def _compress(codec: str, data: bytes) -> bytes:
    if codec == "deflate":
        stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return stream.compress(data) + stream.flush()
    if codec == "zstandard":
        import zstandard

        return zstandard.ZstdCompressor().compress(data)
    return data
