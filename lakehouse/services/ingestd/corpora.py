"""Documents: read a file, cut its text into passages, and make them the passages of that file in a corpus.

A corpus is an index of texts. Its items have the ids `<source>#<number>`; their metadata says where the passage stands.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from lakehouse.core.context import Phase
from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrNotFound
from lakehouse.services.contracts.documents import (
    DocumentExtractor,
    DocumentFormat,
    ExtractedDocument,
    Passage,
    PassageSize,
)
from lakehouse.services.contracts.embedder import NamedEmbedder
from lakehouse.services.contracts.index_names import check_index_name
from lakehouse.services.contracts.retrieval import FieldType, IndexInfo, IndexOptions, Item, RetrievalEngine, Written
from lakehouse.services.ingestd.answer import UploadWarning
from lakehouse.services.ingestd.parameters import IngestParameters
from lakehouse.services.ingestd.receiving import Upload

MAX_SOURCE = 512
"""Bytes of the name of a file in a corpus."""
BATCH = 64
"""Passages that a model outside of the engine is asked for at once."""
SIZE = PassageSize(minimum=200, maximum=400)
SHORT = PassageSize(minimum=90, maximum=180)
"""For models that read 256 tokens of a text."""
SHORT_MODELS = ("minilm",)
"""Parts of the names of such models."""
FIELDS: dict[str, FieldType] = {"source": "keyword", "page": "int"}
HEADING_SEPARATOR = " > "

BeginPhase = Callable[[Phase], None]


class PassageMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The metadata of a passage. `start` and `end` are positions of characters in the text of the document.

    `passage` is the number of the passage in its document, from 1.
    """

    source: str
    passage: int
    start: int
    end: int
    page: int | None = None
    heading: str = ""
    title: str = ""


class CorpusResult(msgspec.Struct, frozen=True, kw_only=True):
    """A finished ingest of a document. `length` is the number of passages in the corpus, of all its files."""

    corpus: str
    source: str
    format: DocumentFormat
    existing: bool
    passages: int
    added: int
    replaced: int
    deleted: int
    length: int
    model: str
    pages: int | None
    characters: int
    bytes_in: int
    warnings: tuple[UploadWarning, ...]

    @property
    def status(self) -> int:
        """201 for a new corpus."""
        return 200 if self.existing else 201


class RemovedSource(msgspec.Struct, frozen=True, kw_only=True):
    """The passages of a file have been deleted from a corpus."""

    corpus: str
    source: str
    deleted: int
    length: int


class Corpora:
    """Puts documents into corpora.

    `embedded_model` is the name of the model that the engine embeds texts with, `default_model` that of a new corpus;
    "" is the embedded one.
    """

    def __init__(
        self,
        extractor: DocumentExtractor,
        engine: RetrievalEngine,
        embedder: NamedEmbedder,
        *,
        embedded_model: str,
        default_model: str = "",
        warm: Callable[[], None] = lambda: None,
    ) -> None:
        self._extractor = extractor
        self._engine = engine
        self._embedder = embedder
        self._embedded = embedded_model
        self._default = default_model or embedded_model
        self.warm = warm
        """Starts what a document needs, in the background."""

    async def ingest(
        self,
        upload: Upload,
        parameters: IngestParameters,
        document_format: DocumentFormat,
        begin_phase: BeginPhase,
        *,
        before_write: Callable[[], Awaitable[None]],
    ) -> CorpusResult:
        """Make the text of one file its only passages in the corpus. `before_write` is awaited when all is known.

        Cancelled or refused, it leaves everything as it was: a new corpus is made in the transaction of its passages.
        """
        check_index_name(parameters.name)
        source = read_source(parameters.source or upload.file_name)
        existing = await self._find(parameters.name)
        model = self._choose_model(existing, parameters.model)
        begin_phase("extracting")
        document = await self._extractor.extract(
            upload.path, document_format, encoding=parameters.encoding, size=size_for(model)
        )
        items, dimension = make_items(source, document), 0
        if model != self._embedded:
            begin_phase("embedding")
            items, dimension = await self._embed(items, model)
        begin_phase("writing")
        await before_write()
        create = IndexOptions(name=parameters.name, model=model, dimension=dimension, fields=FIELDS)
        written = await self._engine.replace_source(
            parameters.name, source, items, model=model, create=create if existing is None else None
        )
        return _make_result(upload, parameters, source, document_format, document, written, model, existing)

    async def remove(self, corpus: str, source: str) -> RemovedSource:
        """Delete the passages of one file. Raises `ErrNotFound` if the corpus has none."""
        written = await self._engine.replace_source(corpus, read_source(source), [])
        if not written.deleted:
            raise ErrNotFound(f"the corpus {corpus!r} has no passages of {source!r}")
        return RemovedSource(corpus=corpus, source=source, deleted=written.deleted, length=written.length)

    async def _find(self, name: str) -> IndexInfo | None:
        """The index of a corpus, None for a new one. Raises `ErrConflict` for an index that is none of texts."""
        try:
            info = await self._engine.get_index(name)
        except ErrNotFound:
            return None
        if not info.model:
            raise ErrConflict(f"the index {info.name!r} has vectors without an embedding model: it is no corpus")
        return info

    def _choose_model(self, existing: IndexInfo | None, wanted: str) -> str:
        """The name of the model, which the request may call otherwise. Raises `ErrConflict` for another one."""
        model = self._embedder.resolve(wanted) if wanted else ""
        if existing is None:
            return model or self._default
        if model not in ("", existing.model):
            raise ErrConflict(f"the corpus {existing.name!r} has the embedding model {existing.model}, not {wanted}")
        return existing.model

    async def _embed(self, items: Sequence[Item], model: str) -> tuple[list[Item], int]:
        """The items with the vectors of a model, and the dimension."""
        embedded: list[Item] = []
        dimension = 0
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            found = await self._embedder.embed([item.text or "" for item in batch], model=model, truncate=True)
            dimension = found.dimension
            embedded.extend(
                msgspec.structs.replace(item, vector=vector) for item, vector in zip(batch, found.split(), strict=True)
            )
        return embedded, dimension


def size_for(model: str) -> PassageSize:
    """The size of passages that a model reads as a whole."""
    return SHORT if any(part in model.lower() for part in SHORT_MODELS) else SIZE


def read_source(source: str) -> str:
    """The name of a file in its corpus. Raises `ErrBadRequest`."""
    if not source:
        raise ErrBadRequest("`source` is required for a document whose request does not name its file", field="source")
    if len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE:
        raise ErrBadRequest(f"`source` has more than {MAX_SOURCE} bytes", field="source")
    if not source.isprintable():
        raise ErrBadRequest("`source` has a character that cannot be printed", field="source")
    return source


def make_items(source: str, document: ExtractedDocument) -> list[Item]:
    """The passages of a document as items of an index."""
    return [
        Item(
            id=f"{source}#{number}",
            text=passage.text,
            metadata=msgspec.json.encode(_describe(source, number, passage, document.title)),
            source=source,
        )
        for number, passage in enumerate(document.passages, 1)
    ]


def _describe(source: str, number: int, passage: Passage, title: str) -> PassageMetadata:
    return PassageMetadata(
        source=source,
        passage=number,
        start=passage.start,
        end=passage.end,
        page=passage.page,
        heading=HEADING_SEPARATOR.join(passage.headings),
        title=title,
    )


def _make_result(
    upload: Upload,
    parameters: IngestParameters,
    source: str,
    document_format: DocumentFormat,
    document: ExtractedDocument,
    written: Written,
    model: str,
    existing: IndexInfo | None,
) -> CorpusResult:
    return CorpusResult(
        corpus=parameters.name,
        source=source,
        format=document_format,
        existing=existing is not None,
        passages=len(document.passages),
        added=written.added,
        replaced=written.replaced,
        deleted=written.deleted,
        length=written.length,
        model=model,
        pages=document.pages,
        characters=document.characters,
        bytes_in=upload.size,
        warnings=tuple(UploadWarning(column=None, line=None, message=message) for message in document.warnings),
    )
