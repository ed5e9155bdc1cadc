"""Metadata of objects in the bucket, and which of its keys are objects of the storage."""

from __future__ import annotations

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.storaged.index.entries import Row
from lakehouse.services.storaged.keys import DATASETS, check_key
from lakehouse.services.warehouse.bucket import ObjectHead
from lakehouse.services.warehouse.documents import ListedKey
from lakehouse.services.warehouse.settings import STATE

PARQUET = "application/vnd.apache.parquet"


def is_shown(key: str) -> bool:
    """Whether a key of the bucket is one of an object.

    Metadata of tables and the state of services are not, nor what other programs store under keys that are not valid.
    """
    if key.startswith(STATE) or (key.startswith(DATASETS) and not key.endswith(".parquet")):
        return False
    try:
        check_key(key)
    except ErrBadRequest:
        return False
    return True


def make_row(key: str, head: ObjectHead) -> Row:
    """The metadata of an object that was looked up."""
    content_type = PARQUET if key.startswith(DATASETS) else head.content_type
    return Row(key.encode(), head.size, head.etag, head.modified, content_type)


def make_listed_row(entry: ListedKey) -> Row:
    """The metadata of an object of a list, which does not say the content type."""
    return Row(entry.key.encode(), entry.size, entry.etag, entry.modified, "application/octet-stream")
