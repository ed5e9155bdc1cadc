"""The bodies of requests for embeddings and for reranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.embedder import TextKind

Encoding = Literal["float", "base64"]
"""How an answer has its vectors: as arrays of numbers, or as base64 of float32."""


def check_texts(texts: Sequence[str], field: str) -> None:
    """Raises ErrBadRequest if there is no text, or an empty one, with its position."""
    if not texts:
        raise ErrBadRequest(f"`{field}` has no text", field=field)
    for position, text in enumerate(texts):
        if not text:
            where = f"{field}[{position}]"
            raise ErrBadRequest(f"`{where}` is empty", field=where, details={"item": position})


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `/embed`: `texts`, or `input` in the same place, and `dimension` or `dimensions`.

    `kind` says what the texts are for; no model of this version makes a difference.
    """

    texts: list[str] | None = None
    input: str | list[str] | None = None
    model: str = ""
    dimension: int | None = None
    dimensions: int | None = None
    kind: TextKind = "document"
    encoding: Encoding = "float"
    truncate: bool = False

    def list_texts(self) -> list[str]:
        """The texts. Raises ErrBadRequest if there are none, an empty one, or both fields."""
        if self.texts is not None and self.input is not None:
            raise ErrBadRequest("`texts` and `input` are the same field: send one of them", field="input")
        field = "texts" if self.input is None else "input"
        given = self.texts if self.input is None else self.input
        if given is None:
            raise ErrBadRequest("`texts` is required", field="texts")
        texts = [given] if isinstance(given, str) else given
        check_texts(texts, field)
        return texts

    @property
    def field_names(self) -> Mapping[str, str]:
        """The names in this request of the embedder's fields, where they differ."""
        names = {} if self.input is None else {"texts": "input"}
        return names if self.dimensions is None else {**names, "dimension": "dimensions"}

    def read_dimension(self) -> int:
        """The dimension that is asked for, 0 for the model's own. Raises ErrBadRequest."""
        if self.dimension is not None and self.dimensions is not None and self.dimension != self.dimensions:
            raise ErrBadRequest("`dimension` and `dimensions` are the same field: send one of them", field="dimensions")
        if self.dimensions is not None:
            return check_dimension(self.dimensions, "dimensions")
        return check_dimension(self.dimension, "dimension")


def check_dimension(dimension: int | None, field: str) -> int:
    """A dimension from a request; 0 if it is left out. Raises ErrBadRequest."""
    if dimension is None:
        return 0
    if not 1 <= dimension <= 65_536:
        raise ErrBadRequest(f"`{field}` must be from 1 to 65536", field=field)
    return dimension


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of OpenAI's `/embeddings`. Fields that are not known are ignored, as OpenAI's clients send new ones.

    `truncate` is an addition to OpenAI's form.
    """

    input: str | list[str | int | list[int]]
    model: str = ""
    encoding_format: Encoding = "float"
    dimensions: int | None = None
    truncate: bool = False

    def list_texts(self) -> list[str]:
        """The texts. Raises ErrBadRequest for tokens, whose numbers belong to OpenAI's own models, and for no text."""
        given = [self.input] if isinstance(self.input, str) else self.input
        texts = [text for text in given if isinstance(text, str)]
        if len(texts) < len(given):
            raise ErrBadRequest(
                "`input` has numbers of tokens: send the texts, for each model has its own tokens", field="input"
            )
        check_texts(texts, "input")
        return texts


class RerankDocument(msgspec.Struct, frozen=True):
    """A document as an object."""

    text: str


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `/rerank`, in the form of Cohere and Jina. Fields that are not known are ignored."""

    query: str
    documents: list[str | RerankDocument]
    model: str = ""
    top_n: int | None = None
    return_documents: bool = False

    def list_documents(self) -> list[str]:
        """The texts of the documents. Raises ErrBadRequest for an empty query or document, and for no document."""
        if not self.query:
            raise ErrBadRequest("`query` is empty", field="query")
        texts = [document if isinstance(document, str) else document.text for document in self.documents]
        check_texts(texts, "documents")
        return texts

    def read_top_n(self) -> int:
        """The number of results, 0 for all. Raises ErrBadRequest."""
        if self.top_n is not None and self.top_n < 1:
            raise ErrBadRequest("`top_n` must be at least 1", field="top_n")
        return self.top_n or 0
