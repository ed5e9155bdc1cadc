"""The documents of a lake without a server: `lake.ingest_document`, `lake.remove_document`."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from lakehouse.asgi.in_process import call_app
from lakehouse.asgi.types import App
from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.documents import DocumentFormat, find_format
from lakehouse.services.host.library_upload import UploadSource, name_of, upload
from lakehouse.services.ingestd.corpora import CorpusResult, RemovedSource


class LakeDocuments:
    """The methods of `Lake` for documents."""

    _apps: Mapping[str, App]

    async def ingest_document(
        self,
        corpus: str,
        document: UploadSource,
        *,
        source: str = "",
        format: DocumentFormat | None = None,  # noqa: A002 - the name of the parameter in the HTTP API
        model: str = "",
        encoding: str = "",
        idempotency_key: str = "",
    ) -> CorpusResult:
        """Make the passages of a document those of `source` in a corpus; durable at return.

        `source` is by default the name of a path, by whose suffix the format is found unless it is given: text needs
        it. Raises ErrUnprocessable for a document that cannot be read or has no text, ErrTooLarge, ErrConflict for a
        corpus of another model, and OSError for a path that cannot be opened.
        """
        shown = name_of(document)
        given = {
            "name": corpus,
            "format": format or find_format(source) or find_format(shown),
            "source": source or shown,
            "model": model,
            "encoding": encoding,
        }
        if not given["format"]:
            raise ErrBadRequest(f"{shown} has no suffix of a document: `format` is needed", field="format")
        answer = await upload(self._apps["ingestd"], given, document, file_name=shown, idempotency_key=idempotency_key)
        return msgspec.json.decode(answer, type=CorpusResult)

    async def remove_document(self, corpus: str, source: str) -> RemovedSource:
        """Delete the passages of one document. Raises ErrNotFound if the corpus has none."""
        query = urlencode({"name": corpus, "source": source})
        async with call_app(self._apps["ingestd"], "DELETE", "/ingest", query=query) as answer:
            return msgspec.json.decode(await answer.read(), type=RemovedSource)
