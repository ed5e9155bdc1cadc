"""Durability: before the catalog names a file, the file and its entry in the folder are on the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables.child import Calls
from lakehouse.services.tables.file_io import DurableFileIO, LocalFile
from lakehouse.services.tables.messages import (
    ColumnInfo,
    Committed,
    CommitWrite,
    Prepare,
    Request,
    StagedInfo,
    TablesSettings,
    WriteToken,
)


class FakeCall:
    """A call with a request."""

    def __init__(self, request: Request) -> None:
        self.payload = msgspec.json.encode(request)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of what is synced, in order."""
    paths: list[str] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        paths.append(os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return paths


def test_every_file_of_a_commit_is_synced_with_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("datasets").mkdir()
    handler = Calls(TablesSettings(directory=str(tmp_path), retention=60))

    def handle(request: Request) -> Any:
        return handler.handle(FakeCall(request))  # type: ignore[arg-type]

    prepare = Prepare(name="a/b", columns=[ColumnInfo("id", "BIGINT")], mode="append")
    for folders in (["datasets", "datasets/a", "datasets/a/b", "datasets/a/b"], []):
        del synced[:]
        token = msgspec.json.decode(handle(prepare), type=WriteToken)
        with duckdb.connect() as connection:
            connection.execute(
                f"COPY (SELECT 1::BIGINT AS id) TO 'x.parquet' (FORMAT parquet, FIELD_IDS {token.field_ids})"
            )
        handle(CommitWrite(token=token, files=[StagedInfo(str(tmp_path / "x.parquet"), 1)]))
        *files, metadata, folder = [path for path in synced if path not in folders]
        assert (metadata.endswith(".metadata.json"), folder) == (True, "datasets/a/b/metadata")
        assert files[0] == "datasets/a/b/data"
        new = {str(path) for path in Path("datasets/a/b/metadata").iterdir() if str(path) in synced}
        assert {*files[1:], metadata} == new
        assert len(new) == 3  # a manifest, the list of manifests, the metadata
        assert [path for path in synced if path in folders] == folders
    assert len(list(Path("datasets/a/b/metadata").iterdir())) == 6


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_commit_on_a_full_disk_is_an_error_of_its_own_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.chdir(tmp_path)
    handler = Calls(TablesSettings(directory=str(tmp_path), retention=60))
    prepare = Prepare(name="t", columns=[ColumnInfo("id", "BIGINT")], mode="append")
    token = msgspec.json.decode(handler.handle(FakeCall(prepare)), type=WriteToken)  # type: ignore[arg-type]
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 1::BIGINT AS id) TO 'x.parquet' (FORMAT parquet, FIELD_IDS {token.field_ids})"
        )
    commit: Any = FakeCall(CommitWrite(token=token, files=[StagedInfo(str(tmp_path / "x.parquet"), 1)]))
    with monkeypatch.context() as patch, pytest.raises(CallError, match="the disk of the lake is full") as caught:
        patch.setattr(os, "fsync", fail)
        handler.handle(commit)
    assert caught.value.failure.kind == "disk full"
    assert msgspec.json.decode(handler.handle(commit), type=Committed).state.row_count == 1


def test_a_file_is_opened_by_any_spelling_of_its_path_and_not_overwritten(tmp_path: Path) -> None:
    files = DurableFileIO({})
    path = tmp_path / "new/folder/x.json"
    with files.new_output(str(path)).create() as stream:
        stream.write(b"abc")
        assert stream.tell() == 3
    stream.close()
    for location in (str(path), f"file:{path}", f"file://{path}"):
        with files.new_input(location).open() as reader:
            assert reader.read() == b"abc"
    assert (len(LocalFile(str(path))), path.stat().st_mode & 0o777) == (3, 0o600)
    with pytest.raises(FileExistsError):
        files.new_output(str(path)).create()
    with files.new_output(str(path)).create(overwrite=True) as stream:
        stream.write(b"d")
    assert path.read_bytes() == b"d"
    for _ in range(2):
        files.delete(f"file://{path}")
    assert not files.new_input(str(path)).exists()
