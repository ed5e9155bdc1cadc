"""Values of Avro: read from bytes by their schemas, and written.

https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import TypeAlias, cast

Value: TypeAlias = "bool | int | float | bytes | str | list[Value] | dict[str, Value] | None"
Record: TypeAlias = dict[str, Value]
Schema: TypeAlias = "str | list[Schema] | dict[str, object]"


class AvroError(Exception):
    """Bytes or values that do not fit their schema, or a file that is no Avro file; the text continues "the file"."""


def find_named(schema: Schema) -> Mapping[str, Schema]:
    """The types of a schema that have names, by which other parts of it refer to them."""
    found: dict[str, Schema] = {}
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            if "name" in part:
                found[str(part["name"])] = part
            waiting += [field["type"] for field in _fields(part)]
            waiting += [cast("Schema", part[key]) for key in ("items", "values", "type") if key in part]
    return found


def _fields(schema: dict[str, object]) -> list[dict[str, Schema]]:
    return cast("list[dict[str, Schema]]", schema.get("fields", []))


def _kind(schema: Schema) -> str:
    """The name of the type; empty for a type in the place of its name."""
    kind = schema if isinstance(schema, str) else schema["type"] if isinstance(schema, dict) else "union"
    return kind if isinstance(kind, str) else ""


class Decoder:
    """Reads values. Raises AvroError, EOFError and other errors of damaged bytes."""

    def __init__(self, data: bytes, named: Mapping[str, Schema] | None = None) -> None:
        self._source = BytesIO(data)
        self._size = len(data)
        self._named = named or {}

    @property
    def at_end(self) -> bool:
        """Whether everything has been read."""
        return self._source.tell() >= self._size

    def take(self, size: int) -> bytes:
        """Bytes. Raises EOFError."""
        data = self._source.read(size) if size >= 0 else b""
        if len(data) != size:
            raise EOFError("it ends early")
        return data

    def read_long(self) -> int:
        """An integer: seven bits in each byte, the sign in the lowest one."""
        result = shift = 0
        while True:
            byte = self.take(1)[0]
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (result >> 1) ^ -(result & 1)

    def read(self, schema: Schema) -> Value:
        """One value."""
        match _kind(schema):
            case "null":
                return None
            case "boolean":
                return self.take(1) == b"\x01"
            case "int" | "long" | "enum":
                return self.read_long()
            case "float":
                return cast("float", struct.unpack("<f", self.take(4))[0])
            case "double":
                return cast("float", struct.unpack("<d", self.take(8))[0])
            case "bytes":
                return self.take(self.read_long())
            case "string":
                return self.take(self.read_long()).decode()
            case "union":
                return self.read(cast("list[Schema]", schema)[self.read_long()])
            case kind:
                return self._read_complex(kind, schema)

    def _read_complex(self, kind: str, schema: Schema) -> Value:
        if not isinstance(schema, dict):
            return self.read(self._named[kind])
        match kind:
            case "":
                return self.read(cast("Schema", schema["type"]))
            case "fixed":
                return self.take(cast("int", schema["size"]))
            case "record":
                return {cast("str", field["name"]): self.read(field["type"]) for field in _fields(schema)}
            case "array":
                return [self.read(cast("Schema", schema["items"])) for _ in self._count_items()]
            case "map":
                values = cast("Schema", schema["values"])
                return {cast("str", self.read("string")): self.read(values) for _ in self._count_items()}
            case _:
                raise AvroError(f"has the type {kind!r}, which is not known here")

    def _count_items(self) -> Iterator[None]:
        """Once for each item; they come in blocks, of which a negative count has the size of the block behind it."""
        while count := self.read_long():
            if count < 0:
                self.read_long()
            for _ in range(abs(count)):
                yield


class Encoder:
    """Writes values. Raises AvroError for a union of more than a type and null; else errors of Python for others."""

    def __init__(self, named: Mapping[str, Schema] | None = None) -> None:
        self.data = bytearray()
        self._named = named or {}

    def write_long(self, number: int) -> None:
        """An integer."""
        rest = (number << 1) ^ (number >> 63)
        while rest > 0x7F:
            self.data.append((rest & 0x7F) | 0x80)
            rest >>= 7
        self.data.append(rest)

    def write(self, schema: Schema, value: Value) -> None:
        """One value."""
        match _kind(schema), value:
            case "null", None:
                return
            case "boolean", bool():
                self.data.append(value)
            case "int" | "long" | "enum", int():
                self.write_long(value)
            case "float", float():
                self.data += struct.pack("<f", value)
            case "double", float():
                self.data += struct.pack("<d", value)
            case "bytes", bytes():
                self.write_long(len(value))
                self.data += value
            case "string", str():
                self.write("bytes", value.encode())
            case "union", _:
                self._write_union(cast("list[Schema]", schema), value)
            case kind, _:
                self._write_complex(kind, schema, value)

    def _write_union(self, types: list[Schema], value: Value) -> None:
        kinds = [_kind(part) for part in types]
        if len(types) > 2 or (len(types) == 2 and "null" not in kinds):
            raise AvroError(f"has a union of {len(types)} types, which is not known here")
        index = kinds.index("null") if value is None else next(n for n, kind in enumerate(kinds) if kind != "null")
        self.write_long(index)
        self.write(types[index], value)

    def _write_complex(self, kind: str, schema: Schema, value: Value) -> None:
        if not isinstance(schema, dict):
            self.write(self._named[kind], value)
            return
        match kind, value:
            case "", _:
                self.write(cast("Schema", schema["type"]), value)
            case "fixed", bytes():
                self.data += value
            case "record", dict():
                for field in _fields(schema):
                    self.write(field["type"], value[cast("str", field["name"])])
            case "array" | "map", list() | dict():
                self._write_items(schema, value)
            case _:
                raise AvroError(f"has a value of type {type(value).__name__} in the place of {kind}")

    def _write_items(self, schema: dict[str, object], value: list[Value] | dict[str, Value]) -> None:
        """The items of an array or a map, as one block, and the empty block that ends them."""
        if value:
            self.write_long(len(value))
        if isinstance(value, list):
            for item in value:
                self.write(cast("Schema", schema["items"]), item)
        else:
            for key, item in value.items():
                self.write("string", key)
                self.write(cast("Schema", schema["values"]), item)
        self.write_long(0)
