"""The process that writes a keyword index on tantivy, forked by `fork_server`. It may be killed at any moment.

tantivy merges segments in threads that nothing but the end of their process can stop, so the process of the engine only
reads the index. Here changes are collected, in the order in which they come, and become durable with the next `Commit`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec
import tantivy
from tantivy import Document, Query

from lakehouse.services.retrieval.child.keyword_files import remove_leftovers
from lakehouse.services.retrieval.messages import ONE_WAY, FrameDecoder, encode_frame

HEAP_SIZE = 32 * 2**20
"""Bytes that the writer collects before it writes a segment."""
MARK = 2**63
"""In the field `number`: the document that has the version."""
READ_SIZE = 256 * 1024


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What the engine sends, without a reply if nothing else is said."""


class AddTexts(Message, frozen=True, array_like=True):
    """New rows of an index."""

    index: int
    rows: list[int]
    texts: list[str]


class DeleteRows(Message, frozen=True, array_like=True):
    """Rows that are gone, at most `MAX_LISTED_ROWS`."""

    rows: list[int]


class DeleteTexts(Message, frozen=True, array_like=True):
    """An index that is gone."""

    index: int


class Commit(Message, frozen=True, array_like=True):
    """The version that all changes lead to. The reply is a `Committed`."""

    version: int


class Committed(msgspec.Struct, frozen=True, array_like=True):
    """The changes are durable, or why one of them cannot be written: all are lost, and the process is of no use."""

    error: str = ""


AnyMessage = AddTexts | DeleteRows | DeleteTexts | Commit


def make_schema() -> tantivy.Schema:
    """Frequencies without positions: no query needs them."""
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", indexed=True, fast=True)
    builder.add_unsigned_field("number", indexed=True, fast=True)
    builder.add_unsigned_field("version", fast=True)
    builder.add_text_field("text", tokenizer_name="en_stem", index_option="freq")
    return builder.build()


class TantivyWriter:
    """The writing side of the index in a folder."""

    def __init__(self, folder: Path) -> None:
        """Open it for writing. Nobody else may write. Raises ValueError, OSError."""
        remove_leftovers(folder)
        self._schema = make_schema()
        self._writer = tantivy.Index(self._schema, str(folder)).writer(HEAP_SIZE, 1)

    def write(self, message: AnyMessage) -> None:
        """Take one message. Raises ValueError, OSError."""
        if isinstance(message, AddTexts):
            self._add(message.rows, message.index, message.texts)
        elif isinstance(message, DeleteRows):
            self._writer.delete_documents_by_query(Query.term_set_query(self._schema, "row", message.rows))
        elif isinstance(message, DeleteTexts):
            self._delete_number(message.index)
        else:
            self._commit(message.version)

    def _add(self, rows: Sequence[int], index: int, texts: Sequence[str]) -> None:
        for row, text in zip(rows, texts, strict=True):
            document = Document()
            document.add_unsigned("row", row)
            document.add_unsigned("number", index)
            document.add_text("text", text)
            self._writer.add_document(document)

    def _delete_number(self, number: int) -> None:
        # not delete_documents_by_term: in tantivy 0.27 it makes a signed term, which no unsigned field has
        self._writer.delete_documents_by_query(Query.term_query(self._schema, "number", number, "freq"))

    def _commit(self, version: int) -> None:
        self._delete_number(MARK)
        mark = Document()
        mark.add_unsigned("number", MARK)
        mark.add_unsigned("version", version)
        self._writer.add_document(mark)
        self._writer.commit()


def serve(connection: socket.socket, folder: Path) -> None:
    """Write what comes until the end of the socket."""
    decoder = msgspec.msgpack.Decoder(AnyMessage)
    frames = FrameDecoder()
    writer: TantivyWriter | None = None
    failure = ""
    while data := connection.recv(READ_SIZE):
        for _, body in frames.feed(data):
            message = decoder.decode(body)
            try:
                if not failure:
                    writer = writer or TantivyWriter(folder)
                    writer.write(message)
            except (ValueError, OSError) as error:  # what tantivy raises, and the removal of files
                failure = str(error) or type(error).__name__
            if isinstance(message, Commit):
                connection.sendall(encode_frame(ONE_WAY, msgspec.msgpack.encode(Committed(failure))))
