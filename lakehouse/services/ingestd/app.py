"""ingestd over HTTP: `POST /ingest?name=...`, also below `/v1`.

A file is the rows of a table, or a document whose passages belong to a corpus (`document_requests`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from lakehouse.asgi import request_scope
from lakehouse.asgi.responses import JSON, Response
from lakehouse.asgi.router import Methods, Route, Router
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.config import IngestdTable
from lakehouse.core.errors import ErrBadRequest, ErrInsufficientStorage, is_disk_full
from lakehouse.services.contracts.tables import Tables
from lakehouse.services.contracts.traces import SourceEnds
from lakehouse.services.contracts.write_engine import WriteEngine
from lakehouse.services.ingestd.answer import Draft, IngestResult, make_answer
from lakehouse.services.ingestd.corpora import Corpora
from lakehouse.services.ingestd.document_requests import DocumentRequests, expected_format, found_format
from lakehouse.services.ingestd.idempotency import (
    MAX_KEY,
    IdempotencyKeys,
    LocalRecords,
    Record,
    Records,
    digest_request,
    make_commit_id,
)
from lakehouse.services.ingestd.ingestion import Ingestion
from lakehouse.services.ingestd.parameters import IngestParameters, parse_parameters
from lakehouse.services.ingestd.receiving import Upload, check_head, receive_upload
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

_ROWS = Family("ingestd_rows", "gauge", "Rows of uploads that were committed since the start.")
_BYTES = Family("ingestd_bytes", "gauge", "Bytes of uploads that were committed since the start.")


def make_ingestd_app(
    tables: Tables,
    write_engine: WriteEngine,
    directory: LakeDirectory,
    table: IngestdTable,
    *,
    warm: Callable[[], None],
    corpora: Corpora,
    ends: SourceEnds | None = None,
    shared: Records | None = None,
    shares_corpora: bool = False,
) -> App:
    """The ASGI application of ingestd. `warm` is called when an upload begins, before its body is received.

    `ends` is told of tables whose rows were replaced; what was retired with them is in the answer. `shared` has the
    idempotency keys of tables that other services write as well; with `shares_corpora` they write the corpora too.
    """
    return IngestdApp(
        tables,
        write_engine,
        directory,
        table,
        warm=warm,
        corpora=corpora,
        ends=ends,
        shared=shared,
        shares_corpora=shares_corpora,
    )


class IngestdApp:
    """The ASGI application of ingestd."""

    def __init__(
        self,
        tables: Tables,
        write_engine: WriteEngine,
        directory: LakeDirectory,
        table: IngestdTable,
        *,
        warm: Callable[[], None],
        corpora: Corpora,
        ends: SourceEnds | None,
        shared: Records | None,
        shares_corpora: bool,
    ) -> None:
        self._tables = tables
        self._warm = warm
        self._directory = directory
        self._max_bytes = table.max_ingest_bytes
        self._ingestion = Ingestion(tables, write_engine, max_bytes=table.max_ingest_bytes, ends=ends)
        local = IdempotencyKeys(LocalRecords(directory.state_db))
        self._keys = local if shared is None else IdempotencyKeys(shared)
        self._documents = DocumentRequests(corpora, self._keys if shares_corpora else local)
        methods = Methods(POST=self._ingest, DELETE=self._delete)
        self._router = Router([Route(path, methods) for path in (b"/ingest", b"/v1/ingest")])
        self._rows = self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def gauges(self) -> Iterable[Gauge]:
        """What was taken in: rows and bytes of tables, documents and passages of corpora."""
        tables = (Gauge(_ROWS, lambda: [((), self._rows)]), Gauge(_BYTES, lambda: [((), self._bytes)]))
        return (*tables, *self._documents.gauges())

    async def _ingest(self, scope: Scope, receive: Receive, send: Send) -> None:
        parameters = parse_parameters(scope["query_string"])
        boundary = check_head(scope, self._max_bytes)
        key = _read_idempotency_key(scope)
        if expected_format(scope, parameters, is_form=boundary is not None):
            self._documents.warm()
        else:
            await self._tables.find(parameters.name)  # which refuses a name that is not valid
            self._warm()
        request_scope.get(scope).context.begin_phase("receiving")
        try:
            async with self._directory.stage() as folder:
                upload = await receive_upload(
                    scope, receive, folder / "upload", boundary=boundary, max_size=self._max_bytes
                )
                document_format = found_format(upload, parameters)
                if document_format is None:
                    response = await self._answer(scope, upload, parameters, key)
                else:
                    response = await self._documents.answer(scope, upload, parameters, document_format, key)
        except OSError as error:
            if is_disk_full(error):
                raise ErrInsufficientStorage("the disk is full: nothing of the upload is kept") from None
            raise
        await response.send_to(send)

    async def _delete(self, scope: Scope, _receive: Receive, send: Send) -> None:
        response = await self._documents.delete(scope)
        await response.send_to(send)

    async def _answer(self, scope: Scope, upload: Upload, parameters: IngestParameters, key: str) -> Response:
        parameters.check_table()
        context = request_scope.get(scope).context
        if not key:
            answer = await self._ingestion.run(
                upload, parameters, commit_id="", begin_phase=context.begin_phase, before_commit=_do_nothing
            )
            return self._count(answer)
        with self._keys.hold(key):
            request = digest_request(parameters, upload)
            record = await self._keys.find_repeated(key, request)
            repeated = None if record is None else await self._repeat(record, key, request, parameters)
            if repeated is not None:
                return repeated

            async def begin(draft: Draft) -> None:
                await self._keys.begin(key, request, msgspec.json.encode(draft))

            answer = await self._ingestion.run(
                upload,
                parameters,
                commit_id=make_commit_id(key, request),
                begin_phase=context.begin_phase,
                before_commit=begin,
            )
            response = self._count(answer)
            await self._keys.finish(key, request, response.status, response.body)
            return response

    def _count(self, answer: IngestResult) -> Response:
        self._rows += answer.rows_added
        self._bytes += answer.bytes_in
        return _make_response(answer)

    async def _repeat(self, record: Record, key: str, request: str, parameters: IngestParameters) -> Response | None:
        """The first answer again; None for a first upload that was not committed."""
        if record.status is not None:
            return Response(record.document, record.status)
        commit = await self._tables.find_commit(parameters.name, make_commit_id(key, request))
        if commit is None:
            return None
        response = _make_response(make_answer(msgspec.json.decode(record.document, type=Draft), commit))
        await self._keys.finish(key, request, response.status, response.body)
        return response


async def _do_nothing(_draft: Draft) -> None:
    """Without a key, nothing is recorded before the commit."""


def _make_response(answer: IngestResult) -> Response:
    return Response(msgspec.json.encode(answer), answer.status, content_type=JSON)


def _read_idempotency_key(scope: Scope) -> str:
    keys = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not keys:
        return ""
    key: str = keys[0].decode("latin-1").strip()
    if len(keys) > 1 or not 0 < len(key) <= MAX_KEY or not key.isprintable():
        raise ErrBadRequest(f"the Idempotency-Key is one header with 1 to {MAX_KEY} printable characters")
    return key
