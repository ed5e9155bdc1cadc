"""Names of tables: which are valid, which cannot be told apart, how the catalog has them."""

from __future__ import annotations

import pytest

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.catalog import dataset_id
from lakehouse.services.tables.names import (
    canonical,
    check_name,
    decode_dropped,
    decode_name,
    encode_dropped,
    encode_name,
)


@pytest.mark.parametrize("name", ["a", "A-b_c.d", "a/b/c", "2024/01", ".hidden", "a..b", "x" * 200, "data", "mainly/x"])
def test_valid_names_come_back_from_the_catalog(name: str) -> None:
    assert check_name(name) == name
    namespace, table = encode_name(name)
    assert "." not in table
    assert decode_name(namespace, table) == name
    assert decode_dropped(encode_dropped(name, 17)) == (name, 17)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is required"),
        ("x" * 201, "longer than 200 bytes"),
        ("a b", "letters, digits"),
        ("größe", "letters, digits"),
        ("a%2Fb", "letters, digits"),
        ("a\n", "letters, digits"),
        ("a//b", "a segment between slashes"),
        ("/a", "a segment between slashes"),
        ("a/", "a segment between slashes"),
        ("a/../b", "a segment between slashes"),
        ("a/.", "a segment between slashes"),
        ("Main", "reserved"),
        ("information_schema/tables", "reserved"),
        ("lakehouse.x", "reserved"),
    ],
)
def test_invalid_names_are_refused_with_the_reason(name: str, says: str) -> None:
    with pytest.raises(ErrBadRequest, match=says) as caught:
        check_name(name)
    assert caught.value.field == "name"


def test_names_that_sql_cannot_tell_apart_have_one_canonical_form() -> None:
    assert canonical("A.b/C") == canonical("a/b.c") == "a/b/c"
    assert canonical("a_b") != canonical("a/b")


def test_an_entry_of_another_engine_has_no_name_here() -> None:
    assert decode_name("main", "größe") is None
    assert decode_name("a", "b.c") is None
    assert decode_dropped("strange") is None


def test_the_id_of_a_dataset_is_the_same_on_every_machine() -> None:
    assert dataset_id("workers") == dataset_id("workers") != dataset_id("Workers")
    assert dataset_id("workers")[14] == "5"  # the version of the UUID
