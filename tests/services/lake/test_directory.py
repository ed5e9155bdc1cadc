"""The folder of a lake: one process at a time, private, swept at the start, movable, and no copy of a folder in use."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import trio

from lakehouse.services.lake.directory import LakeDirectory, default_path, locate, open_lake_directory
from lakehouse.services.lake.folder_lock import LakeDirectoryError, LakeInUse, LockContent, find_holder
from lakehouse.services.lake.layout import LAYOUT_VERSION, check_layout

HOLDER = """
import sys
from pathlib import Path
from lakehouse.services.lake.directory import open_lake_directory
with open_lake_directory(Path(sys.argv[1]), socket="/run/a.sock"):
    print("open", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lake open; it closes it at the end of its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.kill()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private_and_has_its_places(tmp_path: Path) -> None:
    with open_lake_directory(tmp_path / "a/b") as lake:
        places = (lake.path, lake.objects, lake.datasets, lake.staging, lake.spill)
        assert [mode_of(place) for place in places] == [0o700] * 5
        assert msgspec.json.decode((lake.path / "lake.json").read_bytes()) == {"version": LAYOUT_VERSION}
    with open_lake_directory(tmp_path / "a/b"):
        pass


def test_an_existing_lake_loses_the_permissions_of_others(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    with open_lake_directory(path):
        path.chmod(0o755)
    with open_lake_directory(path):
        assert mode_of(path) == 0o700


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    mode = mode_of(tmp_path)
    with pytest.raises(LakeDirectoryError, match="has files and no lake in it: name an empty or a new folder"):
        with open_lake_directory(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == [tmp_path / "letter.txt"]
    assert mode_of(tmp_path) == mode


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(LakeDirectoryError, match=r"the disk of the lake .* is full: 4096 bytes are free"):
        with open_lake_directory(tmp_path / "lake"):
            pass
    monkeypatch.undo()
    with open_lake_directory(tmp_path / "lake"):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("")
    with pytest.raises(LakeDirectoryError, match="is not a directory"):
        with open_lake_directory(tmp_path / "lake"):
            pass


@pytest.mark.parametrize("place", ["lake.lock", "datasets", "staging"])
def test_a_folder_that_cannot_be_prepared_is_refused_with_the_reason(tmp_path: Path, place: str) -> None:
    with open_lake_directory(tmp_path):
        pass
    (tmp_path / "lake.lock").unlink()
    if place == "lake.lock":
        (tmp_path / place).mkdir()
    else:
        (tmp_path / place).rmdir()
        (tmp_path / place).write_text("")
    with pytest.raises(LakeDirectoryError, match=r"cannot be opened: .*(Is a directory|File exists)"):
        with open_lake_directory(tmp_path):
            pass


def test_a_disk_without_room_for_the_lock_is_refused_with_the_reason(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with pytest.raises(LakeDirectoryError, match=r"lake\.lock cannot be written: File too large"):
            with open_lake_directory(tmp_path / "lake"):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    with open_lake_directory(tmp_path / "lake"):
        pass


def test_a_second_process_is_told_who_holds_the_lake(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    assert find_holder(path) is None
    with holder(path) as process:
        found = find_holder(path)
        assert found is not None
        assert (found.pid, found.socket) == (process.pid, "/run/a.sock")
        with pytest.raises(LakeInUse, match=rf"is in use by process {process.pid}: one process at a time") as caught:
            with open_lake_directory(path):
                pass
        assert caught.value.pid == process.pid
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
    assert find_holder(path) is None
    with open_lake_directory(path), pytest.raises(LakeInUse, match=str(os.getpid())):
        with open_lake_directory(path):
            pass


def test_a_killed_process_holds_nothing_and_what_it_was_writing_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    with holder(path) as process:
        for place in ("staging/1", "spill/2"):
            (path / place).mkdir()
            (path / place / "part").write_bytes(b"x" * 1000)
        (path / "staging/stray").write_text("")
        (path / "datasets/kept").mkdir()
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with open_lake_directory(path) as lake:
        assert list(lake.staging.iterdir()) == list(lake.spill.iterdir()) == []
        assert list(lake.datasets.iterdir()) == [lake.datasets / "kept"]


def test_a_moved_folder_is_the_same_lake(tmp_path: Path) -> None:
    with holder(tmp_path / "here") as process:
        process.kill()
        process.wait(10)
    (tmp_path / "here").rename(tmp_path / "there")
    with open_lake_directory(tmp_path / "there"):
        pass


def test_a_copy_of_a_closed_folder_is_another_lake(tmp_path: Path) -> None:
    with open_lake_directory(tmp_path / "lake"):
        pass
    shutil.copytree(tmp_path / "lake", tmp_path / "copy")
    with open_lake_directory(tmp_path / "lake"), open_lake_directory(tmp_path / "copy"):
        pass


def test_a_copy_that_was_made_while_the_lake_was_in_use_is_refused_until_it_is_accepted(tmp_path: Path) -> None:
    with open_lake_directory(tmp_path / "lake"):
        shutil.copytree(tmp_path / "lake", tmp_path / "copy")
    with pytest.raises(LakeDirectoryError, match="was copied while the lake was in use") as caught:
        with open_lake_directory(tmp_path / "copy"):
            pass
    assert f"delete {tmp_path / 'copy/lake.lock'} to use this copy as it is" in str(caught.value)
    (tmp_path / "copy/lake.lock").unlink()
    with open_lake_directory(tmp_path / "copy"):
        pass


def test_a_device_that_is_numbered_anew_after_a_restart_of_the_machine_makes_no_copy(tmp_path: Path) -> None:
    with open_lake_directory(tmp_path / "lake"):
        pass
    lock = tmp_path / "lake/lake.lock"
    left = LockContent(pid=1, state="open", device=lock.stat().st_dev + 1, inode=lock.stat().st_ino, boot="another")
    lock.write_bytes(msgspec.json.encode(left))
    with open_lake_directory(tmp_path / "lake"):
        now = msgspec.json.decode(lock.read_bytes(), type=LockContent)
    lock.write_bytes(msgspec.json.encode(msgspec.structs.replace(now, device=now.device + 1)))
    with pytest.raises(LakeDirectoryError, match="was copied"):
        with open_lake_directory(tmp_path / "lake"):
            pass


def test_a_lock_file_that_was_cut_off_is_no_obstacle(tmp_path: Path) -> None:
    with open_lake_directory(tmp_path / "lake"):
        pass
    (tmp_path / "lake/lake.lock").write_bytes(b'{"pid": 1')
    with open_lake_directory(tmp_path / "lake"):
        pass


def test_a_later_layout_is_refused_and_a_damaged_one_named(tmp_path: Path) -> None:
    with open_lake_directory(tmp_path / "lake"):
        pass
    layout = tmp_path / "lake/lake.json"
    layout.write_text('{"version": 99}')
    with pytest.raises(
        LakeDirectoryError, match=r"has layout 99, .* knows layouts up to 1: use the version that wrote it"
    ):
        with open_lake_directory(tmp_path / "lake"):
            pass
    layout.write_text("{}")
    with pytest.raises(LakeDirectoryError, match=r"lake\.json is damaged"):
        with open_lake_directory(tmp_path / "lake"):
            pass


def test_upgrades_run_in_order_and_go_on_where_one_failed(tmp_path: Path) -> None:
    check_layout(tmp_path)
    done: list[int] = []

    def fail(_: Path) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        check_layout(tmp_path, version=3, upgrades={1: lambda _: done.append(1), 2: fail})
    check_layout(tmp_path, version=3, upgrades={1: fail, 2: lambda _: done.append(2)})
    assert done == [1, 2]
    check_layout(tmp_path, version=3, upgrades={})


async def test_a_staging_folder_lives_as_long_as_its_block(tmp_path: Path) -> None:
    with open_lake_directory(tmp_path / "lake") as lake:
        async with lake.stage() as one, lake.stage() as two:
            assert one.parent == two.parent == lake.staging
            assert mode_of(one) == 0o700
            (one / "deep").mkdir()
            (one / "deep/file").write_text("")
            assert one != two
        assert list(lake.staging.iterdir()) == []
        with trio.move_on_after(0.01):
            async with lake.open_spill() as folder:
                (folder / "file").write_text("")
                await trio.sleep_forever()
        assert list(lake.spill.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_DATA_HOME": "/data"}, Path("/data/lakehouse")),
        ({"XDG_DATA_HOME": "relative"}, Path.home() / ".local/share/lakehouse"),
        ({}, Path.home() / ".local/share/lakehouse"),
    ],
)
def test_the_default_folder(variables: dict[str, str], expected: Path) -> None:
    assert default_path(variables) == locate("", variables) == expected


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(LakeDirectoryError, match=r"has no home directory for the lake: name its folder as lake\.path"):
        locate("", {})
    assert locate("/l", {}) == Path("/l")


def test_a_path_of_the_configuration_becomes_absolute() -> None:
    assert locate("x/../lake", {}) == Path.cwd() / "lake"
    assert LakeDirectory(Path("/l")).catalog_db == Path("/l/catalog.db")
