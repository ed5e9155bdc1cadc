"""The requests with documents: which uploads are documents, their answers, and the deletion of a file's passages."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl

import msgspec

from lakehouse.asgi import request_scope
from lakehouse.asgi.responses import JSON, Response
from lakehouse.asgi.types import Scope
from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrUnsupportedMediaType
from lakehouse.services.contracts.documents import DocumentFormat, find_format
from lakehouse.services.ingestd.corpora import Corpora
from lakehouse.services.ingestd.idempotency import IdempotencyKeys, digest_request
from lakehouse.services.ingestd.parameters import IngestParameters
from lakehouse.services.ingestd.receiving import Upload
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

_DOCUMENTS = Family("ingestd_documents", "gauge", "Documents that were taken in since the start.")
_PASSAGES = Family("ingestd_passages", "gauge", "Passages of these documents.")

DELETE_NAMES = ("name", "source")
MAX_FIELDS = 16


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
        with self._keys.hold(key) as held:
            if not held:
                raise ErrConflict("another request with this Idempotency-Key is in progress", retryable=True)
            request = digest_request(parameters, upload)
            record = await self._keys.find(key)
            if record is not None and record.request != request:
                raise ErrConflict("the Idempotency-Key was used for another upload: send a new one")
            if record is not None and record.status is not None:
                return Response(record.document, record.status)
            response = await self._ingest(scope, upload, parameters, document_format)
            await self._keys.finish(key, request, response.status, response.body)
            return response

    async def delete(self, scope: Scope) -> Response:
        """Delete the passages of one file of a corpus."""
        name, source = _read_delete(scope["query_string"])
        request_scope.get(scope).context.begin_phase("writing")
        removed = await self._corpora.remove(name, source)
        return Response(msgspec.json.encode(removed), 200, content_type=JSON)

    async def _ingest(
        self, scope: Scope, upload: Upload, parameters: IngestParameters, document_format: DocumentFormat
    ) -> Response:
        context = request_scope.get(scope).context
        result = await self._corpora.ingest(upload, parameters, document_format, context.begin_phase)
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
    try:
        given = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise ErrBadRequest(f"the query string is malformed: {error}") from None
    names = [name for name, _ in given]
    for name in names:
        if name not in DELETE_NAMES or names.count(name) > 1:
            problem = "is given twice" if name in DELETE_NAMES else "is not a parameter of the deletion of a file"
            raise ErrBadRequest(f"`{name[:80]}` {problem}: they are {' and '.join(DELETE_NAMES)}", field=name[:80])
    values = dict(given)
    for name in DELETE_NAMES:
        if not values.get(name):
            raise ErrBadRequest(f"`{name}` is required", field=name)
    return values["name"], values["source"]
