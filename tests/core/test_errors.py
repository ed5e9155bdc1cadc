"""The errors of the service: their statuses, their documents and their headers."""

from __future__ import annotations

import errno
import json
import sqlite3
from contextlib import closing
from typing import get_args

import msgspec
import pytest

import lakehouse
from lakehouse.core import errors
from lakehouse.core.errors import (
    Attempt,
    ErrConflict,
    ErrMethodNotAllowed,
    ErrNotFound,
    ErrNotImplemented,
    ErrPreconditionFailed,
    ErrRangeNotSatisfiable,
    ErrTimeout,
    ErrUnauthorized,
    ErrUnavailable,
    ErrUnprocessable,
    ErrUnsupportedMediaType,
    LakehouseError,
    is_disk_full,
)
from lakehouse.core.failure_classes import ERROR_CLASSES, ErrorClass
from lakehouse.core.provider_failures import FAILURE_MEANINGS, make_failure

STATUSES = {
    "ErrBadRequest": 400,
    "ErrSessionStopped": 400,
    "ErrUnauthorized": 401,
    "ErrForbidden": 403,
    "ErrNotFound": 404,
    "ErrProviderNotFound": 404,
    "ErrMethodNotAllowed": 405,
    "ErrConflict": 409,
    "ErrPreconditionFailed": 412,
    "ErrTooLarge": 413,
    "ErrUnsupportedMediaType": 415,
    "ErrRangeNotSatisfiable": 416,
    "ErrUnprocessable": 422,
    "ErrRateLimited": 429,
    "ErrNotImplemented": 501,
    "ErrNotInstalled": 501,
    "ErrUpstream": 502,
    "ErrUnavailable": 503,
    "ErrTimeout": 504,
    "ErrInsufficientStorage": 507,
}


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
def test_every_error_has_its_status_its_name_as_code_and_is_public(name: str, status: int) -> None:
    kind: type[LakehouseError] = getattr(lakehouse, name)
    assert (kind.code, kind.status) == (name, status)
    assert name in lakehouse.__all__
    assert f"{name} ".ljust(2) in str(errors.__doc__)


def test_no_error_is_missing_from_the_table() -> None:
    public = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LakehouseError)
    }
    assert public == {*STATUSES, "ErrInternal"}


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (ErrConflict("taken"), []),
        (ErrPreconditionFailed("changed"), []),
        (ErrUnsupportedMediaType("no XML"), []),
        (
            ErrUnsupportedMediaType("no XML", accepted=("text/csv", "application/json")),
            ["accept: text/csv, application/json"],
        ),
        (ErrRangeNotSatisfiable("too far", size=10), ["content-range: bytes */10"]),
        (ErrUnprocessable("no such column"), []),
        (ErrNotImplemented("no MERGE"), []),
        (ErrUnauthorized("no"), ["www-authenticate: Bearer"]),
        (ErrMethodNotAllowed("no", allowed=("POST", "GET")), ["allow: GET, POST"]),
        (ErrUnavailable("busy", retry_after=1.2), ["retry-after: 2"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_headers_of_an_error(error: LakehouseError, headers: list[str]) -> None:
    assert [": ".join(pair) for pair in error.headers()] == headers


def test_details_are_a_member_of_the_document_only_if_they_are_given() -> None:
    plain = ErrConflict("a table of this name exists").document("r-1")["error"]
    assert isinstance(plain, dict)
    assert "details" not in plain
    detailed = ErrConflict("a table of this name exists", details={"table": "t", "version": 3}).document("r-1")["error"]
    assert isinstance(detailed, dict)
    assert list(detailed) == [*plain, "details"]
    assert detailed["details"] == {"table": "t", "version": 3}
    assert json.loads(msgspec.json.encode(detailed)) == detailed


@pytest.mark.parametrize(
    "error",
    [
        ErrMethodNotAllowed("no", allowed=(), details={"a": 1}),
        ErrUnsupportedMediaType("no", details={"a": 1}),
        ErrRangeNotSatisfiable("no", size=0, details={"a": 1}),
        ErrNotFound("no", details={"a": 1}),
    ],
)
def test_every_error_takes_details(error: LakehouseError) -> None:
    document = error.document()["error"]
    assert isinstance(document, dict)
    assert document["details"] == {"a": 1}


def test_attempts_are_listed_in_the_document() -> None:
    tried = Attempt(provider="kimi", model="k2", status=529, error="overloaded", ms=1.5)
    document = ErrTimeout("late", attempts=(tried,)).document()["error"]
    assert isinstance(document, dict)
    assert document["attempts"] == [
        {"provider": "kimi", "model": "k2", "status": 529, "error": "overloaded", "ms": 1.5}
    ]


def test_every_failure_class_has_its_error() -> None:
    assert get_args(ErrorClass) == ERROR_CLASSES
    assert set(FAILURE_MEANINGS) == set(ERROR_CLASSES)
    for error_class in ERROR_CLASSES:
        made = make_failure(error_class, "no", provider="kimi", upstream_status=418)
        assert type(made) is FAILURE_MEANINGS[error_class].error
        assert (made.error_class, made.provider, made.upstream_status) == (error_class, "kimi", 418)
        assert made.retryable is FAILURE_MEANINGS[error_class].retryable
        assert make_failure(error_class, "no", retryable=not made.retryable).retryable is not made.retryable


def fill(connection: sqlite3.Connection) -> sqlite3.Error:
    """The error of a database that has no room."""
    connection.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("CREATE TABLE a (x)")
        connection.execute("CREATE TABLE b AS SELECT hex(randomblob(100000)) AS x")
    return caught.value


def test_a_full_disk_is_recognized_by_the_errors_of_the_system_and_of_sqlite() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        full = fill(connection)
    wrapped = Exception("as SQLAlchemy wraps it")
    wrapped.orig = full  # type: ignore[attr-defined]
    assert is_disk_full(full)
    assert is_disk_full(wrapped)
    assert is_disk_full(OSError(errno.ENOSPC, "no space"))
    assert not is_disk_full(OSError(errno.EACCES, "full of people"))
    assert not is_disk_full(sqlite3.OperationalError("the table is full of rows"))
