"""Types in DuckDB's notation: parsed, formatted, and mapped to the types that an Iceberg table can store.

Pure functions of text and values; the child and the tests use them, and neither DuckDB nor pyiceberg is imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class UnknownType(ValueError):
    """A type that is not understood, or that no table can store."""


@dataclass(frozen=True, slots=True)
class Primitive:
    """A type by its name: BIGINT, `TIMESTAMP WITH TIME ZONE`."""

    name: str


@dataclass(frozen=True, slots=True)
class Decimal:
    """DECIMAL(precision, scale)."""

    precision: int
    scale: int


@dataclass(frozen=True, slots=True)
class List:
    """A list, `T[]`."""

    element: ColumnType


@dataclass(frozen=True, slots=True)
class Struct:
    """STRUCT(name type, …)."""

    fields: tuple[tuple[str, ColumnType], ...]


@dataclass(frozen=True, slots=True)
class Map:
    """MAP(key, value)."""

    key: ColumnType
    value: ColumnType


ColumnType = Primitive | Decimal | List | Struct | Map

VARCHAR, BIGINT, INTEGER = Primitive("VARCHAR"), Primitive("BIGINT"), Primitive("INTEGER")
FLOAT, DOUBLE, BOOLEAN = Primitive("FLOAT"), Primitive("DOUBLE"), Primitive("BOOLEAN")
DATE, TIMESTAMP, TIMESTAMPTZ = Primitive("DATE"), Primitive("TIMESTAMP"), Primitive("TIMESTAMP WITH TIME ZONE")
UUID, BLOB = Primitive("UUID"), Primitive("BLOB")
NULL = Primitive("NULL")
"""The type of a column without values, which no table has."""

STORED = frozenset({VARCHAR, BIGINT, INTEGER, FLOAT, DOUBLE, BOOLEAN, DATE, TIMESTAMP, TIMESTAMPTZ, UUID, BLOB})

_NEXT: dict[str, ColumnType] = {
    "TINYINT": INTEGER,
    "SMALLINT": INTEGER,
    "UTINYINT": INTEGER,
    "USMALLINT": INTEGER,
    "UINTEGER": BIGINT,
    "UBIGINT": Decimal(20, 0),
    "HUGEINT": Decimal(38, 0),
    "UHUGEINT": Decimal(38, 0),
    "TIMESTAMP_S": TIMESTAMP,
    "TIMESTAMP_MS": TIMESTAMP,
    "TIMESTAMP_NS": VARCHAR,  # format version 2 stores microseconds
    "TIME": VARCHAR,  # Spark refuses a whole table that has a column of this type
    "TIME_NS": VARCHAR,
    "TIME WITH TIME ZONE": VARCHAR,
    "ENUM": VARCHAR,
    "JSON": VARCHAR,
    "BIT": VARCHAR,
    "BIGNUM": VARCHAR,
    "VARINT": VARCHAR,
    "NULL": VARCHAR,
    "SQLNULL": VARCHAR,
}
"""The next type that holds every value of a type that Iceberg lacks."""

_SYNONYMS = {
    "INT": "INTEGER", "INT4": "INTEGER", "SIGNED": "INTEGER", "INT8": "BIGINT", "LONG": "BIGINT", "INT2": "SMALLINT",
    "SHORT": "SMALLINT", "INT1": "TINYINT", "INT16": "SMALLINT", "INT32": "INTEGER", "INT64": "BIGINT",
    "INT128": "HUGEINT", "UINT8": "UTINYINT", "UINT16": "USMALLINT", "UINT32": "UINTEGER", "UINT64": "UBIGINT",
    "TEXT": "VARCHAR", "STRING": "VARCHAR", "CHAR": "VARCHAR", "BPCHAR": "VARCHAR", "FLOAT4": "FLOAT", "REAL": "FLOAT",
    "FLOAT8": "DOUBLE", "BOOL": "BOOLEAN", "LOGICAL": "BOOLEAN", "BYTEA": "BLOB", "BINARY": "BLOB",
    "VARBINARY": "BLOB", "DATETIME": "TIMESTAMP", "TIMESTAMP_US": "TIMESTAMP",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE", "TIMETZ": "TIME WITH TIME ZONE", "NUMERIC": "DECIMAL", "DEC": "DECIMAL",
}  # fmt: skip

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"]|"")*")|(?P<text>'(?:[^']|'')*')|(?P<word>\w+)|(?P<mark>[()\[\],]))""",
    re.UNICODE,
)
MAX_NESTING = 100


def parse_type(text: str) -> ColumnType:
    """Parse a type. Raises UnknownType."""
    parser = _Parser(text)
    parsed = parser.parse(0)
    if parser.peek():
        raise UnknownType(f"{text!r} is not a type: {parser.peek()!r} follows it")
    return parsed


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _split(text)
        self._next = 0

    def peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise UnknownType(f"{self._text!r} is not a type" + (f": {wanted!r} is missing" if wanted else ""))
        self._next += 1
        return token

    def parse(self, depth: int) -> ColumnType:
        if depth > MAX_NESTING:
            raise UnknownType(f"a type is nested deeper than {MAX_NESTING} levels")
        parsed = self._parse_base(depth)
        while self.peek() == "[":  # an array of a fixed size is stored as a list
            self.take()
            if self.peek() != "]":
                self.take()
            self.take("]")
            parsed = List(parsed)
        return parsed

    def _parse_base(self, depth: int) -> ColumnType:
        word = _unquote(self.take())
        name = _SYNONYMS.get(word.upper(), word.upper())
        if name in ("STRUCT", "ROW"):
            return Struct(self._parse_fields(depth))
        if name == "MAP":
            self.take("(")
            key = self.parse(depth + 1)
            self.take(",")
            value = self.parse(depth + 1)
            self.take(")")
            return Map(key, value)
        if name == "DECIMAL":
            return self._parse_decimal()
        if name in ("TIMESTAMP", "TIME") and self.peek().upper() in ("WITH", "WITHOUT"):
            zone = self.take().upper() == "WITH"
            for _ in ("TIME", "ZONE"):
                self.take()
            return Primitive(f"{name} WITH TIME ZONE") if zone else Primitive(name)
        if self.peek() == "(":
            self._skip_arguments()
        return Primitive(name)

    def _parse_fields(self, depth: int) -> tuple[tuple[str, ColumnType], ...]:
        self.take("(")
        fields: list[tuple[str, ColumnType]] = []
        while True:
            name = self.take()
            fields.append((_unquote(name), self.parse(depth + 1)))
            if self.take() != ",":
                break
        return tuple(fields)

    def _parse_decimal(self) -> Decimal:
        precision, scale = 18, 3
        if self.peek() == "(":
            self.take()
            precision, scale = _to_int(self.take()), 0
            if self.peek() == ",":
                self.take()
                scale = _to_int(self.take())
            self.take(")")
        return Decimal(precision, scale)

    def _skip_arguments(self) -> None:
        """Skip the values of an ENUM, or the length of a VARCHAR, which DuckDB ignores."""
        level = 0
        while True:
            mark = self.take()
            level += (mark == "(") - (mark == ")")
            if level == 0:
                return


def _split(text: str) -> list[str]:
    tokens, position = [], 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise UnknownType(f"{text!r} is not a type: {text[position : position + 20]!r} is not understood")
        tokens.append(match.group().strip())
        position = match.end()
    return tokens


def _unquote(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _to_int(token: str) -> int:
    if not token.isdecimal():
        raise UnknownType(f"{token!r} is not the size of a DECIMAL")
    return int(token)


def format_type(parsed: ColumnType) -> str:
    """Format a type as DuckDB does."""
    match parsed:
        case Primitive(name):
            return name
        case Decimal(precision, scale):
            return f"DECIMAL({precision},{scale})"
        case List(element):
            return f"{format_type(element)}[]"
        case Map(key, value):
            return f"MAP({format_type(key)}, {format_type(value)})"
        case Struct(fields):
            inner = ", ".join(f"{quote_name(name)} {format_type(field)}" for name, field in fields)
            return f"STRUCT({inner})"


def quote_name(name: str) -> str:
    """Quote an identifier of SQL where it is necessary."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        return name
    return '"' + name.replace('"', '""') + '"'


def to_stored(parsed: ColumnType) -> ColumnType:
    """Map a type to the one in which a table stores it. Raises UnknownType for a type that cannot be stored."""
    match parsed:
        case Decimal(precision, scale):
            if not 1 <= precision <= 38 or scale > precision:
                raise UnknownType(f"{format_type(parsed)} cannot be stored: a DECIMAL has 1 to 38 digits")
            return parsed
        case List(element):
            return List(to_stored(element))
        case Map(key, value):
            return Map(to_stored(key), to_stored(value))
        case Struct(fields):
            return Struct(_store_fields(fields))
    if parsed in STORED:
        return parsed
    if parsed.name in _NEXT:
        return _NEXT[parsed.name]
    raise UnknownType(f"a value of type {parsed.name} cannot be stored in a table")


def _store_fields(fields: tuple[tuple[str, ColumnType], ...]) -> tuple[tuple[str, ColumnType], ...]:
    seen: set[str] = set()
    for name, _ in fields:
        if not name or name.lower() in seen:
            raise UnknownType(f"a STRUCT with the field {name!r} twice, or without a name, cannot be stored")
        seen.add(name.lower())
    return tuple((name, to_stored(field)) for name, field in fields)
