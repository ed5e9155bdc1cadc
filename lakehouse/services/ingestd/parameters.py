"""The parameters of an ingest, from the query string. An unknown or a bad one is refused by its name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

import msgspec

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.documents import FORMATS as DOCUMENT_FORMATS
from lakehouse.services.contracts.documents import DocumentFormat
from lakehouse.services.contracts.write_engine import DELIMITER_NAMES, FORMATS, NO_QUOTE

Mode = Literal["replace", "append", "upsert"]

MODES = ("replace", "append", "upsert")
OF_BOTH = frozenset(("name", "format", "encoding"))
OF_TABLES = frozenset(("mode", "key", "evolve", "types", "delimiter", "quote", "header", "skip", "null"))
OF_DOCUMENTS = frozenset(("source", "model"))
NAMES = OF_BOTH | OF_TABLES | OF_DOCUMENTS
MAX_SKIP = 1_000_000
MAX_FIELDS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestParameters:
    """What the client asks for; the name is not empty. Empty strings and None leave the decision to the file.

    `source` and `model` are for documents: the name of the file in its corpus, and the embedding model of the corpus.
    `given` has the names of all parameters of the request in their order.
    """

    name: str
    format: str = ""
    mode: Mode = "replace"
    key: tuple[str, ...] = ()
    evolve: bool = False
    types: tuple[tuple[str, str], ...] = ()
    encoding: str = ""
    delimiter: str = ""
    quote: str = ""
    header: bool | None = None
    skip: int = 0
    null: str | None = None
    source: str = ""
    model: str = ""
    given: tuple[str, ...] = ()

    @property
    def document_format(self) -> DocumentFormat | None:
        """The format if it is one of documents."""
        return next((name for name in DOCUMENT_FORMATS if name == self.format), None)

    def check_document(self) -> None:
        """Raise `ErrBadRequest` for parameters that only tables have."""
        for name in self.given:
            if name in OF_TABLES:
                raise _refuse(name, "is for tables, and the file is a document")

    def check_table(self) -> None:
        """Raise `ErrBadRequest` for parameters that only documents have."""
        for name in self.given:
            if name in OF_DOCUMENTS:
                raise _refuse(name, "is for documents: `format` is text, markdown, html, pdf or docx")


def parse_parameters(query: bytes) -> IngestParameters:
    """Read the query string. Raises `ErrBadRequest`, naming the parameter."""
    given = read_query(query, NAMES, "an ingest")
    mode = _read_mode(given)
    if not given.get("name"):
        raise _refuse("name", "is required: the name of the dataset or of the corpus, such as `name=sales`")
    return IngestParameters(
        name=given.get("name", ""),
        format=_read_choice(given, "format", (*FORMATS, *DOCUMENT_FORMATS)),
        mode=mode,
        key=_read_key(given.get("key", ""), mode),
        evolve=_read_flag(given, "evolve") or False,
        types=_read_types(given.get("types", "")),
        encoding=given.get("encoding", ""),
        delimiter=_read_character(given, "delimiter", DELIMITER_NAMES),
        quote=_read_character(given, "quote", (NO_QUOTE,)),
        header=_read_flag(given, "header"),
        skip=_read_skip(given.get("skip", "0")),
        null=given.get("null"),
        source=given.get("source", ""),
        model=given.get("model", ""),
        given=tuple(given),
    )


def read_query(query: bytes, names: Collection[str], what: str) -> Mapping[str, str]:
    """The parameters of a query string, each of which is one of `names` and given once. Raises `ErrBadRequest`.

    `what` they are parameters of is said in the errors.
    """
    try:
        fields = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as error:
        raise ErrBadRequest(f"the query string is malformed: {error}") from None
    given: dict[str, str] = {}
    for name, value in fields:
        if name not in names:
            known = ", ".join(sorted(names))
            raise ErrBadRequest(f"`{name[:80]}` is not a parameter of {what}: they are {known}", field=name[:80])
        if name in given:
            raise _refuse(name, "is given twice")
        given[name] = value
    return given


def _read_mode(given: Mapping[str, str]) -> Mode:
    chosen = _read_choice(given, "mode", MODES)
    return "append" if chosen == "append" else "upsert" if chosen == "upsert" else "replace"


def _read_choice(given: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if value not in choices:
        raise _refuse(name, f"is one of {', '.join(choices)}, not {value[:40]!r}")
    return value


def _read_flag(given: Mapping[str, str], name: str) -> bool | None:
    value = given.get(name)
    if value is None:
        return None
    if value.lower() not in ("true", "false", "1", "0"):
        raise _refuse(name, f"is `true` or `false`, not {value[:40]!r}")
    return value.lower() in ("true", "1")


def _read_character(given: Mapping[str, str], name: str, words: Collection[str]) -> str:
    """One character, or one of the words that the write engine takes in its place."""
    value = given.get(name)
    if value is None:
        return ""
    if value.lower() not in words and (len(value) != 1 or value in "\r\n\0"):
        raise _refuse(name, f"is one character or {', '.join(words)}, not {value[:40]!r}")
    return value


def _read_skip(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 20 and int(value) <= MAX_SKIP):
        raise _refuse("skip", f"is a number of lines, at most {MAX_SKIP}, not {value[:40]!r}")
    return int(value)


def _read_key(value: str, mode: Mode) -> tuple[str, ...]:
    """The columns of the key: a list with commas, or a JSON array for names that have commas."""
    if mode != "upsert":
        if value:
            raise _refuse("key", "is for `mode=upsert`")
        return ()
    columns = value.split(",")
    if value.startswith("["):
        try:
            columns = msgspec.json.decode(value, type=list[str])
        except msgspec.MsgspecError:
            raise _refuse("key", "is a list of columns with commas, or a JSON array of them") from None
    if not all(columns) or not columns:
        raise _refuse("key", "names the columns of the key, such as `key=id`: `mode=upsert` needs it")
    if len(set(columns)) < len(columns):
        raise _refuse("key", "has a column twice")
    return tuple(columns)


def _read_types(value: str) -> tuple[tuple[str, str], ...]:
    if not value:
        return ()
    try:
        types = msgspec.json.decode(value, type=dict[str, str])
    except msgspec.MsgspecError:
        raise _refuse("types", 'is a JSON object of columns and types, such as {"amount":"DOUBLE"}') from None
    return tuple(types.items())


def _refuse(name: str, problem: str) -> ErrBadRequest:
    return ErrBadRequest(f"`{name}` {problem}", field=name)
