"""The routes of the lake in the document: operations and schemas."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.services.catalogd.responses import ManifestDocument, SnapshotDocument
from lakehouse.services.ingestd.answer import IngestResult
from lakehouse.services.ingestd.corpora import CorpusResult, RemovedSource
from lakehouse.services.queryd.app import EngineList
from lakehouse.services.queryd.request import SqlRequest
from tools.kit.doc_pages.openapi import embeddings, vectors
from tools.kit.doc_pages.openapi.operations import GATEWAY_ERRORS, JSON, Operation
from tools.kit.doc_pages.openapi.shapes import BOOLEAN, DATE_TIME, INTEGER, NUMBER, STRING, array, nullable, struct
from tools.kit.doc_pages.openapi.translate import Schema, reference

BYTES, CSV, NDJSON = "application/octet-stream", "text/csv", "application/x-ndjson"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"

LAKE_ERRORS = (*GATEWAY_ERRORS, 501)
TABLE_ERRORS = (*LAKE_ERRORS, 404, 405)

INGEST_QUERY = {
    "name": "The table: letters, digits, `_`, `-`, `.`, `/`; at most 200 bytes.",
    "mode": "`replace` (default), `append` or `upsert`.",
    "key": "Columns of the key for `upsert`, separated by commas.",
    "evolve": "`true`: new columns are added and types widened. Without it the columns are those of the table; with "
    "`append` and `upsert` also of other types, if the table's hold every value.",
    "format": "`csv`, `tsv`, `json`, `ndjson`, `parquet` or `arrow` for a table, `text`, `markdown`, `html`, `pdf` or "
    "`docx` for a document; found out where it is left out.",
    "types": "A JSON object from columns to types that are forced.",
    "encoding": "Of a text file, by its name in Python.",
    "delimiter": "Of a CSV file; found in the header line where it is left out.",
    "quote": 'Of a CSV file; `"` where it is left out.',
    "null": "A text that means NULL, beside the empty field.",
    "header": "`false`: the first line is data.",
    "skip": "How many lines are left out at the beginning.",
    "source": "The name of a document in its corpus; that of the form's part where it is left out.",
    "model": "The embedding model of a new corpus.",
}

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/ingest",
        id="ingest",
        tag="lake",
        summary="Put a file into a table, or a document into a corpus",
        description="The file is the one part of a form, or the body itself. It is stored whole or not at all. An "
        "`Idempotency-Key` makes a repeated upload answer as the first did. 201 for a new table or corpus. The passages "
        "of a document replace those that its corpus has from the same source.",
        bodies={"multipart/form-data": "Upload", BYTES: None, CSV: None, JSON: None, NDJSON: None, PARQUET: None},
        query=INGEST_QUERY,
        answers={JSON: "Ingested"},
        statuses=(200, 201),
        errors=(*LAKE_ERRORS, 405, 409, 415, 422, 507),
    ),
    Operation(
        method="delete",
        path="/v1/ingest",
        id="remove_document",
        tag="lake",
        summary="Delete the passages of one document",
        query={"name": "The corpus.", "source": "The name of the document in it."},
        answers={JSON: "RemovedSource"},
        errors=TABLE_ERRORS,
    ),
    Operation(
        method="post",
        path="/v1/sql",
        id="sql",
        tag="lake",
        summary="Run one statement that reads",
        description="JSON has at most `[lake] max_rows` rows; the other forms are streamed without a limit.",
        request="SqlRequest",
        answers={JSON: "QueryResult", NDJSON: None, CSV: None, ARROW: None, PARQUET: None},
        errors=(*LAKE_ERRORS, 405, 422),
    ),
    Operation(
        method="get",
        path="/v1/sql/engines",
        id="engines",
        tag="lake",
        summary="List the engines that a statement can name",
        answers={JSON: "EngineList"},
        errors=TABLE_ERRORS,
    ),
    Operation(
        method="get",
        path="/v1/catalog/list",
        id="tables",
        tag="lake",
        summary="List the tables",
        answers={JSON: "TableList"},
        errors=TABLE_ERRORS,
    ),
    Operation(
        method="get",
        path="/v1/catalog/manifest/{name}",
        id="table",
        tag="lake",
        summary="Describe one table",
        answers={JSON: "ManifestDocument"},
        errors=TABLE_ERRORS,
    ),
    Operation(
        method="get",
        path="/v1/catalog/tables/{name}/snapshots",
        id="snapshots",
        tag="lake",
        summary="List the snapshots of a table, the newest first",
        answers={JSON: "SnapshotList"},
        errors=TABLE_ERRORS,
    ),
    Operation(
        method="get",
        path="/v1/storage/list",
        id="objects",
        tag="lake",
        summary="List objects",
        query={
            "prefix": "",
            "delimiter": "",
            "limit": "At most 10,000.",
            "cursor": "`next_cursor` of the page before.",
        },
        answers={JSON: "ObjectList"},
        errors=TABLE_ERRORS,
    ),
    Operation(
        method="put",
        path="/v1/storage/put/{key}",
        id="put_object",
        tag="lake",
        summary="Store an object; 201 for a new one",
        description="`If-None-Match: *` and `If-Match` make it conditional.",
        bodies={BYTES: None},
        answers={JSON: "Object"},
        statuses=(200, 201),
        errors=(*TABLE_ERRORS, 412, 415, 507),
    ),
    Operation(
        method="get",
        path="/v1/storage/get/{key}",
        id="get_object",
        tag="lake",
        summary="Fetch an object, or a range of it",
        answers={"*/*": None},
        statuses=(200, 206),
        errors=(*TABLE_ERRORS, 412, 416),
    ),
    Operation(
        method="delete",
        path="/v1/storage/delete/{key}",
        id="delete_object",
        tag="lake",
        summary="Delete an object",
        statuses=(204,),
        errors=TABLE_ERRORS,
    ),
    *vectors.OPERATIONS,
    *embeddings.OPERATIONS,
)


TYPES = (
    IngestResult,
    CorpusResult,
    RemovedSource,
    ManifestDocument,
    SnapshotDocument,
    SqlRequest,
    EngineList,
    *embeddings.TYPES,
)
"""The documents of the lake that are types of the code."""

ABOUT: Mapping[str, str] = {
    **embeddings.ABOUT,
    "IngestResult": "`row_count` is the table's, `rows_added` the upload's; `key` is the newest data object.",
    "CorpusResult": "A finished ingest of a document. `length` is the number of passages in the corpus, of all its "
    "documents; `pages` is null for a format without pages.",
    "RemovedSource": "The passages of a document have been deleted from a corpus.",
    "UploadWarning": "What an upload says about a column; `line` is the line of the file that decided it.",
    "ManifestDocument": "A table at its newest snapshot.",
    "SqlRequest": "One statement. `timeout` can only shorten the service's own; `snapshot` reads the past of the one "
    "table.",
    "EngineList": "The engines that are configured; `default` runs the statements that name none.",
    "SnapshotDocument": "A committed state of a table.",
}


def schemas() -> Mapping[str, Schema]:
    """The schemas of the lake's other documents by their names."""
    return {
        "TableList": struct({"manifests": array(reference("ManifestDocument")), "count": INTEGER}),
        "SnapshotList": struct({"name": STRING, "snapshots": array(reference("SnapshotDocument")), "count": INTEGER}),
        "Ingested": {"anyOf": [reference("IngestResult"), reference("CorpusResult")]},
        "Upload": struct({"file": {"type": "string", "contentMediaType": BYTES}}),
        **_query_schemas(),
        **_object_schemas(),
        **vectors.schemas(),
        **embeddings.schemas(),
    }


def _query_schemas() -> Mapping[str, Schema]:
    return {
        "QueryResult": struct(
            {
                "columns": array(reference("ColumnDocument")),
                "rows": array({"type": "array"}),
                "row_count": INTEGER,
                "truncated": BOOLEAN,
                "elapsed_ms": NUMBER,
                "scanned": struct({"rows": INTEGER, "bytes": INTEGER}),
                "warnings": array(STRING),
            },
            "Values that JSON cannot hold are strings: integers beyond 2^53, decimals, intervals, NaN, infinities.",
            optional=("warnings",),
        ),
    }


def _object_schemas() -> Mapping[str, Schema]:
    one = {"key": STRING, "size": INTEGER, "etag": STRING, "last_modified": DATE_TIME}
    return {
        "Object": struct(one),
        "ObjectList": struct(
            {
                "prefix": STRING,
                "objects": array(reference("Object")),
                "prefixes": array(STRING),
                "truncated": BOOLEAN,
                "next_cursor": nullable(STRING),
            }
        ),
    }
