"""Commits that are repeated because another program was faster: on top of what that has done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lakehouse.services.tables.catalog import TABLE_PROPERTIES, open_catalog
from lakehouse.services.tables.describe import ManifestCache
from lakehouse.services.tables.expiry import Expiry
from lakehouse.services.tables.messages import TablesSettings
from lakehouse.services.tables.transaction import REQUEST_ID, AlreadyCommitted, begin

NAME = ("main", "t")


class Program:
    """One of several programs on a lake, with a catalog of its own."""

    def __init__(self, max_snapshots: int = 100) -> None:
        self.catalog: Any = open_catalog(TablesSettings(directory=".", retention=60))
        self._expiry = Expiry(self.catalog, ManifestCache(), retention=60, max_snapshots=max_snapshots)

    def stage(self, request_id: str = "") -> Any:
        """A transaction with a snapshot, and with the expiry that is due."""
        transaction = begin(self.catalog.load_table(NAME), request_id)
        properties = {REQUEST_ID: request_id} if request_id else {}
        transaction.update_snapshot(snapshot_properties=properties).fast_append().commit()
        self._expiry.stage(transaction)
        return transaction

    def list_snapshots(self) -> list[int]:
        """The ids of the snapshots."""
        return [snapshot.snapshot_id for snapshot in self.catalog.load_table(NAME).metadata.snapshots]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from pyiceberg.schema import Schema

    monkeypatch.chdir(tmp_path)
    catalog: Any = open_catalog(TablesSettings(directory=".", retention=60))
    catalog.create_namespace("main")
    catalog.create_table(NAME, Schema(), location="datasets/t", properties=TABLE_PROPERTIES)
    catalog.engine.dispose()
    return tmp_path


def test_snapshots_that_two_programs_expire_are_expired_once(folder: Path) -> None:
    one, other = Program(max_snapshots=4), Program(max_snapshots=4)
    for _ in range(4):
        one.stage().commit_transaction()
    late = one.stage()  # a fifth snapshot: the oldest ones are to go
    other.stage().commit_transaction()
    kept = other.list_snapshots()
    late.commit_transaction()
    assert len(one.list_snapshots()) == len(kept) + 1
    assert set(kept) < set(one.list_snapshots())
    for program in (one, other):
        program.catalog.engine.dispose()


def test_a_snapshot_that_another_program_tags_meanwhile_stays(folder: Path) -> None:
    one, other = Program(max_snapshots=4), Program()
    for _ in range(4):
        one.stage().commit_transaction()
    late, oldest = one.stage(), one.list_snapshots()[0]
    with other.catalog.load_table(NAME).manage_snapshots() as changes:
        changes.create_tag(oldest, "keep")
    other.stage().commit_transaction()
    late.commit_transaction()
    assert oldest in one.list_snapshots()
    for program in (one, other):
        program.catalog.engine.dispose()


def test_a_request_that_another_program_has_committed_is_not_committed_again(folder: Path) -> None:
    one, other = Program(), Program()
    late = one.stage("r")
    other.stage("r").commit_transaction()
    with pytest.raises(AlreadyCommitted):
        late.commit_transaction()
    with pytest.raises(AlreadyCommitted):
        one.stage("r")
    assert len(one.list_snapshots()) == 1
    for program in (one, other):
        program.catalog.engine.dispose()
