"""The requests with documents: which uploads are documents, their answers, and the deletion of a file's passages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import msgspec

from lakehouse.asgi import request_scope
from lakehouse.asgi.responses import JSON, Response
from lakehouse.asgi.types import Scope
from lakehouse.core.errors import ErrBadRequest, ErrUnsupportedMediaType
from lakehouse.services.contracts.documents import DocumentFormat, find_format
from lakehouse.services.ingestd.corpora import Corpora
from lakehouse.services.ingestd.idempotency import IdempotencyKeys, digest_request
from lakehouse.services.ingestd.parameters import IngestParameters, read_query
from lakehouse.services.ingestd.receiving import Upload
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

_DOCUMENTS = Family("ingestd_documents", "gauge", "Documents that were taken in since the start.")
_PASSAGES = Family("ingestd_passages", "gauge", "Passages of these documents.")

DELETE_NAMES = ("name", "source")


async def _do_nothing() -> None:
    """Without a key, nothing is recorded before the passages are written."""


class DocumentRequests:
    """Answers the requests whose file is a document."""

    def __init__(self, corpora: Corpora, keys: IdempotencyKeys) -> None:
        self._corpora = corpora
        self._keys = keys
        self._documents = self._passages = 0

    def gauges(self) -> Iterable[Gauge]:
        """The documents and passages that were taken in."""
        return (Gauge(_DOCUMENTS, lambda: [((), self._documents)]), Gauge(_PASSAGES, lambda: [((), self._passages)]))

    def warm(self) -> None:
        """Start what a document needs, in the background."""
        self._corpora.warm()

    async def answer(
        self, scope: Scope, upload: Upload, parameters: IngestParameters, document_format: DocumentFormat, key: str
    ) -> Response:
        """Ingest the document. A repeated request with an `Idempotency-Key` gets the first answer again."""
        parameters.check_document()
        _check_encoding(scope)
        if not key:
            return await self._ingest(scope, upload, parameters, document_format)
        with self._keys.hold(key):
            request = digest_request(parameters, upload)
            record = await self._keys.find_repeated(key, request)
            if record is not None and record.status is not None:
                return Response(record.document, record.status)
            begin = partial(self._keys.begin, key, request, b"")
            response = await self._ingest(scope, upload, parameters, document_format, begin)
            await self._keys.finish(key, request, response.status, response.body)
            return response

    async def delete(self, scope: Scope) -> Response:
        """Delete the passages of one file of a corpus."""
        name, source = _read_delete(scope["query_string"])
        request_scope.get(scope).context.begin_phase("writing")
        removed = await self._corpora.remove(name, source)
        return Response(msgspec.json.encode(removed), 200, content_type=JSON)

    async def _ingest(
        self,
        scope: Scope,
        upload: Upload,
        parameters: IngestParameters,
        document_format: DocumentFormat,
        before_write: Callable[[], Awaitable[None]] = _do_nothing,
    ) -> Response:
        context = request_scope.get(scope).context
        result = await self._corpora.ingest(
            upload, parameters, document_format, context.begin_phase, before_write=before_write
        )
        self._documents += 1
        self._passages += result.passages
        return Response(msgspec.json.encode(result), result.status, content_type=JSON)


def expected_format(scope: Scope, parameters: IngestParameters, *, is_form: bool) -> DocumentFormat | None:
    """The format of a document as far as the head of the request says; None for a table and for what is not known."""
    if parameters.format or is_form:
        return parameters.document_format
    content_type = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
    return find_format("", content_type)


def found_format(upload: Upload, parameters: IngestParameters) -> DocumentFormat | None:
    """The format of a document by the parameter, else by the name and the type of the file; None for a table."""
    if parameters.format:
        return parameters.document_format
    return find_format(upload.file_name, upload.content_type)


def _check_encoding(scope: Scope) -> None:
    """A parser of documents would be given the compressed bytes."""
    if dict(scope["headers"]).get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise ErrUnsupportedMediaType("a document is not read with a Content-Encoding: send the file as it is")


def _read_delete(query: bytes) -> tuple[str, str]:
    """The corpus and the file. Raises `ErrBadRequest`, naming the parameter."""
    given = read_query(query, DELETE_NAMES, "the deletion of a file")
    for name in DELETE_NAMES:
        if not given.get(name):
            raise ErrBadRequest(f"`{name}` is required", field=name)
    return given["name"], given["source"]
