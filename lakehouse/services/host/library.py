"""The lake without a server, for programs in Python: `async with open_lake(path) as lake`.

The calls go to the same applications as requests do, in the caller's process: `ingest` and `ingest_document` are
`POST /ingest`, `sql` is `POST /sql`, `search` is `POST /vectors/index/{name}/search`. Engines are child processes; a
call that is cancelled stops its engine.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from lakehouse.asgi.in_process import InProcessResponse, call_app
from lakehouse.asgi.types import App
from lakehouse.config import Config
from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.extras import LAKE, install_hint, missing_modules
from lakehouse.services.contracts.documents import find_format
from lakehouse.services.host.composition import open_apps
from lakehouse.services.host.library_documents import LakeDocuments
from lakehouse.services.host.library_indexes import LakeIndexes
from lakehouse.services.host.library_upload import UploadSource, name_of, upload
from lakehouse.services.ingestd.answer import IngestResult, TableColumn
from lakehouse.services.lake.directory import locate, open_directory
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.queryd.responses import Scanned

IngestFormat = Literal["csv", "tsv", "json", "ndjson", "parquet", "arrow"]
IngestMode = Literal["replace", "append", "upsert"]
ExportFormat = Literal["arrow", "parquet", "csv", "ndjson"]
Parameters = Sequence[object] | Mapping[str, object]

_MEDIA_TYPES: Mapping[ExportFormat, str] = {
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
}


class SqlResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a query, with its rows as JSON represents them: a DECIMAL or an INTERVAL is a string.

    `truncated`: there were more rows than `max_rows`. `warnings` are sentences of the engine.
    """

    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[Any, ...], ...]
    row_count: int
    truncated: bool
    elapsed_ms: float
    scanned: Scanned
    warnings: tuple[str, ...] = ()


class Lake(LakeDocuments, LakeIndexes):
    """An open lake. Its errors are `LakehouseError`s: those that the HTTP API answers with, as exceptions."""

    def __init__(self, apps: Mapping[str, App], folder: Path) -> None:
        self.folder = folder
        self._apps = apps

    async def ingest(
        self,
        name: str,
        source: UploadSource,
        *,
        format: IngestFormat | None = None,  # noqa: A002 - the name of the parameter in the HTTP API
        mode: IngestMode = "replace",
        key: Sequence[str] = (),
        evolve: bool = False,
        types: Mapping[str, str] | None = None,
        file_name: str = "",
        idempotency_key: str = "",
    ) -> IngestResult:
        """Store a file, or its bytes, as the table `name`; durable at return.

        The format is found out from `file_name`, which is that of a path by default, and from the first bytes, unless
        it is given. Raises ErrUnprocessable for a file that cannot be read, with the line in its `details`,
        ErrConflict for other columns than the table's, and OSError for a path that cannot be opened.
        """
        given = {"name": name, "format": format, "mode": mode, "key": ",".join(key), "evolve": evolve and "true"}
        given["types"] = msgspec.json.encode(types).decode() if types else ""
        shown = file_name or name_of(source)
        if format is None and find_format(shown):
            raise ErrBadRequest(f"{shown} is a document: `ingest_document` puts it into a corpus", field="format")
        answer = await upload(self._apps["ingestd"], given, source, file_name=shown, idempotency_key=idempotency_key)
        return msgspec.json.decode(answer, type=IngestResult)

    async def sql(
        self,
        sql: str,
        params: Parameters = (),
        *,
        max_rows: int | None = None,
        timeout: float | None = None,
        snapshot: str | None = None,
        engine: str | None = None,
    ) -> SqlResult:
        """Run one read-only statement. `timeout`, in seconds, and `max_rows` only lower the limits of the lake.

        `engine` is one that is configured, by default that of `[queryd] engine`.

        Raises ErrBadRequest, with the position in its `details`, ErrForbidden for a statement that is not read-only,
        ErrTimeout.
        """
        document = _sql_document(sql, params, max_rows=max_rows, timeout=timeout, snapshot=snapshot, engine=engine)
        async with self._post_sql(document, "application/json") as answer:
            return msgspec.json.decode(await answer.read(), type=SqlResult)

    @asynccontextmanager
    async def stream_sql(
        self,
        sql: str,
        params: Parameters = (),
        *,
        timeout: float | None = None,
        snapshot: str | None = None,
        engine: str | None = None,
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Run one read-only statement; iterating over what the block gives yields each row as a dictionary.

        The number of rows has no limit. The engine waits for the caller, and stops with the block.
        """
        document = _sql_document(sql, params, timeout=timeout, snapshot=snapshot, engine=engine)
        async with self._post_sql(document, _MEDIA_TYPES["ndjson"]) as answer, aclosing(_decode_lines(answer)) as rows:
            yield rows

    @asynccontextmanager
    async def export_sql(
        self,
        sql: str,
        params: Parameters = (),
        *,
        format: ExportFormat = "arrow",  # noqa: A002 - as above
        timeout: float | None = None,
        snapshot: str | None = None,
        engine: str | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """`stream_sql` as the bytes of a file or stream, in pieces. They are complete if the iteration has ended."""
        document = _sql_document(sql, params, timeout=timeout, snapshot=snapshot, engine=engine)
        async with self._post_sql(document, _MEDIA_TYPES[format]) as answer:
            yield aiter(answer)

    @asynccontextmanager
    async def _post_sql(self, document: bytes, accept: str) -> AsyncIterator[InProcessResponse]:
        headers = [("content-type", "application/json"), ("accept", accept)]
        async with call_app(self._apps["queryd"], "POST", "/sql", headers=headers, body=document) as answer:
            yield answer


@asynccontextmanager
async def open_lake(lake: str | Path | Config | None = None) -> AsyncIterator[Lake]:
    """Open a lake for the length of the block: a folder, or the one of a configuration; by default the user's own.

    The folder is made if it is missing. Raises LakeError: another process has it open, or the extra `lake` is not
    installed. All child processes have ended after the block.
    """
    if absent := missing_modules(*LAKE):
        raise LakeError(f"the lake {install_hint('lake', absent)}")
    config = lake if isinstance(lake, Config) else Config()
    folder = locate(config.lake.path if isinstance(lake, Config) else str(lake or ""), os.environ)
    async with open_directory(folder) as directory, open_apps(directory, config) as services:
        yield Lake(services.apps, folder)


def _sql_document(sql: str, params: Parameters, **limits: object) -> bytes:
    given = {name: value for name, value in limits.items() if value is not None}
    return msgspec.json.encode({"sql": sql, **({"params": params} if params else {}), **given})


async def _decode_lines(pieces: AsyncIterable[bytes]) -> AsyncGenerator[dict[str, Any]]:
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield msgspec.json.decode(line, type=dict[str, Any])
