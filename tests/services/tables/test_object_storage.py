"""The files of tables in a bucket, as the tables process sees them."""

from __future__ import annotations

import pytest

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables.object_storage import ObjectStorage as Storage
from tools.kit.scaleout.object_storage import ObjectStorage


def test_a_bucket_of_another_catalog_is_not_swept(object_storage: ObjectStorage) -> None:
    mine, other = (
        Storage(object_storage.make_settings("owned/", catalog)) for catalog in ("postgresql://a/x", "postgresql://b/x")
    )
    mine.check_owner()
    mine.check_owner()
    with pytest.raises(CallError, match="belongs to the catalog postgresql://a/x"):
        other.check_owner()


def test_locations_of_the_bucket_and_of_others(object_storage: ObjectStorage) -> None:
    storage = Storage(object_storage.make_settings("p/"))
    location = storage.locate("datasets/t/data/x.parquet")
    assert location == "s3://lake/p/datasets/t/data/x.parquet"
    for spelled in (location, location.replace("s3:", "s3a:"), location.replace("s3:", "s3n:")):
        assert storage.resolve(spelled) == "datasets/t/data/x.parquet"
    assert storage.resolve("s3://lake/other/x.parquet") == "s3://lake/other/x.parquet"
    assert storage.delete(["_lakehouse/catalog", "objects/a"]) == (0, 0)  # only files of tables
