"""The routes of vectord in the document: operations and schemas."""

from __future__ import annotations

from collections.abc import Mapping

from tools.kit.doc_pages.openapi.operations import GATEWAY_ERRORS, JSON, Operation
from tools.kit.doc_pages.openapi.shapes import BOOLEAN, DATE_TIME, INTEGER, NUMBER, STRING, array, nullable, struct
from tools.kit.doc_pages.openapi.translate import Schema, reference

INDEX = "/v1/vectors/index/{name}"
ERRORS = (*GATEWAY_ERRORS, 404, 405, 415, 501)

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/vectors/index",
        id="create_index",
        tag="lake",
        summary="Create an index of vectors or of texts",
        description="With `dimension` an index of vectors; with `model` one of texts, which that embedding model "
        'embeds. `"default"` is the default model.',
        request="IndexRequest",
        answers={JSON: "Index"},
        statuses=(201,),
        errors=(*ERRORS, 409),
    ),
    Operation(
        method="get",
        path="/v1/vectors/index",
        id="indexes",
        tag="lake",
        summary="List the indexes",
        answers={JSON: "IndexList"},
        errors=ERRORS,
    ),
    Operation(
        method="get",
        path=INDEX,
        id="index",
        tag="lake",
        summary="Describe an index",
        answers={JSON: "Index"},
        errors=ERRORS,
    ),
    Operation(
        method="delete",
        path=INDEX,
        id="delete_index",
        tag="lake",
        summary="Delete an index with its items",
        statuses=(204,),
        errors=ERRORS,
    ),
    Operation(
        method="post",
        path=f"{INDEX}/add",
        id="add_items",
        tag="lake",
        summary="Add items, and replace those with the same ids",
        description="The whole batch is checked first, and an error names the item; durable when it is answered. "
        "Metadata and text of a replaced item stay if they are left out.",
        request="ItemsRequest",
        answers={JSON: "ItemsAdded"},
        errors=(*ERRORS, 409, 422),
    ),
    Operation(
        method="post",
        path=f"{INDEX}/search",
        id="search_index",
        tag="lake",
        summary="Search by vector, by text, or by both",
        description="The filter is applied before the cut: `k` results come if `k` items match.",
        request="IndexSearch",
        answers={JSON: "IndexHits"},
        errors=(*ERRORS, 409),
    ),
    Operation(
        method="post",
        path=f"{INDEX}/merge",
        id="merge_index",
        tag="lake",
        summary="Copy the items that another index lacks",
        request="MergeIndex",
        answers={JSON: "IndexMerged"},
        errors=(*ERRORS, 409),
    ),
    *(
        Operation(
            method=method,
            path=f"{INDEX}/{verb}",
            id=id_,
            tag="lake",
            summary="Delete items by their ids or by a filter",
            request="ItemsSelection",
            answers={JSON: "ItemsDeleted"},
            errors=ERRORS,
        )
        for method, verb, id_ in (("delete", "items", "delete_items"), ("post", "delete", "delete_items_by_post"))
    ),
    Operation(
        method="post",
        path=f"{INDEX}/sync",
        id="sync_index",
        tag="lake",
        summary="Bring an index to the newest snapshot of a table",
        description="Only new and changed rows are embedded and written; rows that are gone are deleted. After the "
        "first sync the body may be empty.",
        request="IndexSync",
        answers={JSON: "IndexSynced"},
        errors=(*ERRORS, 422),
    ),
)

_TEXTS: Schema = array(STRING)
_VECTOR: Schema = array(NUMBER)
_OBJECT: Schema = {"type": "object"}
_FILTER: Schema = {
    "type": "object",
    "description": '`{"a": 1}`, `{"a": [1, 2]}`, `{"a": {"gte": 1, "lt": 5}}` (also `gt`, `lte`, `ne`, `exists`), '
    '`{"and": [...]}`, `{"or": [...]}`, `{"not": {...}}`; all members must hold.',
}
_DISTANCE: Schema = {"enum": ["cosine", "dot", "euclidean"]}
_FIELDS: Schema = {"type": "object", "additionalProperties": {"enum": ["int", "float", "bool", "keyword"]}}


def schemas() -> Mapping[str, Schema]:
    """The schemas of vectord by their names."""
    return {**_index_schemas(), **_item_schemas(), **_search_schemas(), **_sync_schemas()}


def _index_schemas() -> Mapping[str, Schema]:
    request: dict[str, Schema] = {
        "name": STRING,
        "dimension": INTEGER,
        "distance": _DISTANCE,
        "model": STRING,
        "keyword": BOOLEAN,
        "fields": _FIELDS,
        "approximate": BOOLEAN,
        **dict.fromkeys(("m", "M", "ef_search", "ef_construction"), INTEGER),
    }
    index: dict[str, Schema] = {
        "name": STRING,
        "dimension": INTEGER,
        "distance": _DISTANCE,
        "model": nullable(STRING),
        "length": INTEGER,
        "exact": BOOLEAN,
        "recall": nullable(NUMBER),
        "version": INTEGER,
        "keyword": BOOLEAN,
        "keyword_lag": INTEGER,
        "approximate": BOOLEAN,
        "fields": _FIELDS,
        "bytes": INTEGER,
        "created_at": DATE_TIME,
        "source": nullable(reference("IndexSource")),
    }
    return {
        "IndexRequest": struct(
            request,
            "A new index. `fields` are the types of the metadata's fields for quick filters; `m`, `M`, `ef_search` and "
            "`ef_construction` are taken and have no effect.",
            optional=[name for name in request if name != "name"],
        ),
        "Index": struct(
            index,
            "`version` grows with each write; `keyword_lag` is the number of items that a search by word cannot find "
            "yet; `bytes` is memory; `source` is described for a single index only.",
        ),
        "IndexList": struct({"indexes": array(reference("Index")), "count": INTEGER}),
        "MergeIndex": struct({"dest": STRING, "clear_source": BOOLEAN}, optional=["clear_source"]),
        "IndexMerged": struct({"merged": INTEGER, "skipped": INTEGER, "length": INTEGER}),
    }


def _item_schemas() -> Mapping[str, Schema]:
    item = {"id": STRING, "vector": _VECTOR, "text": STRING, "metadata": _OBJECT}
    written = {"length": INTEGER, "version": INTEGER}
    return {
        "Item": struct(
            item, "A vector, or a text that the model of the index embeds, or both.", optional=list(item)[1:]
        ),
        "ItemsRequest": struct(
            {"items": array(reference("Item")), "model": STRING, "truncate": BOOLEAN},
            "`model` is that of the vectors; `truncate` cuts texts that are too long for the model.",
            optional=["model", "truncate"],
        ),
        "ItemsAdded": struct({"added": INTEGER, "replaced": INTEGER, **written}),
        "ItemsSelection": struct({"ids": _TEXTS, "filter": _FILTER}, "One of both.", optional=["ids", "filter"]),
        "ItemsDeleted": struct({"deleted": INTEGER, **written}),
    }


def _search_schemas() -> Mapping[str, Schema]:
    request: dict[str, Schema] = {
        "vector": _VECTOR,
        "text": STRING,
        "k": INTEGER,
        "mode": {"enum": ["vector", "keyword", "hybrid"]},
        "weight": NUMBER,
        "rerank": {"enum": ["", "tokens", "none"]},
        "filter": _FILTER,
        "model": STRING,
        "with": array({"enum": ["text", "metadata", "scores"]}),
    }
    signals = dict.fromkeys(("keyword", "cosine", "token"), NUMBER) | dict.fromkeys(
        ("keyword_rank", "vector_rank"), INTEGER
    )
    hit: dict[str, Schema] = {
        "id": STRING,
        "distance": nullable(NUMBER),
        "corpus": STRING,
        "metadata": nullable(_OBJECT),
        "score": nullable(NUMBER),
        "scores": struct(signals, optional=list(signals)),
        "text": nullable(STRING),
    }
    return {
        "IndexSearch": struct(
            request,
            "`k` is 10 if left out, and at most 1,000. `weight` is the share of the vectors in a hybrid score.",
            optional=list(request),
        ),
        "IndexHit": struct(hit, "Nearest first; after a search for a text, best score first.", optional=list(hit)[2:]),
        "IndexHits": struct(
            {
                "results": array(reference("IndexHit")),
                "exact": BOOLEAN,
                "version": INTEGER,
                "model": nullable(STRING),
                "keyword_lag": INTEGER,
            },
            optional=["model", "keyword_lag"],
        ),
    }


def _sync_schemas() -> Mapping[str, Schema]:
    request: dict[str, Schema] = {
        "table": STRING,
        "key": STRING,
        "text": {"anyOf": [STRING, _TEXTS]},
        "metadata": _TEXTS,
        "truncate": BOOLEAN,
    }
    source: dict[str, Schema] = {
        "table": STRING,
        "key": STRING,
        "text": _TEXTS,
        "metadata": _TEXTS,
        "snapshot_id": nullable(STRING),
        "complete": BOOLEAN,
        "behind": nullable(INTEGER),
    }
    synced: dict[str, Schema] = {
        "added": INTEGER,
        "replaced": INTEGER,
        "deleted": INTEGER,
        "length": INTEGER,
        "version": INTEGER,
        "from_snapshot": nullable(STRING),
        "to_snapshot": STRING,
    }
    return {
        "IndexSync": struct(
            request,
            "The table, the column of the ids, the column or columns of the text, and those of the metadata.",
            optional=list(request),
        ),
        "IndexSource": struct(
            source,
            "`behind` is the number of snapshots since the last sync, null if unknown; `complete` is false if a sync "
            "of several transactions was cut short.",
        ),
        "IndexSynced": struct(synced, "`added` counts new rows, `replaced` changed ones."),
    }
