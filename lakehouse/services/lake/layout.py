"""The version of the layout of a lake's folder, in `lake.json`, and the upgrades from one version to the next."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from lakehouse.services.lake.durability import sync_directory
from lakehouse.services.lake.folder_lock import LakeDirectoryError

LAYOUT_NAME = "lake.json"
LAYOUT_VERSION = 1

Upgrade = Callable[[Path], None]
"""Changes the folder from one version to the next. Runs again if the process ends before it has returned."""

UPGRADES: Mapping[int, Upgrade] = {}
"""The upgrades by the version that they start from."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `lake.json`."""

    version: int


def check_layout(path: Path, *, version: int = LAYOUT_VERSION, upgrades: Mapping[int, Upgrade] = UPGRADES) -> None:
    """Bring the folder to `version`; a new folder is marked with it. Raises LakeDirectoryError for a later version."""
    found = _read_version(path / LAYOUT_NAME)
    if found is None:
        _write_version(path, version)
        return
    if found > version:
        raise LakeDirectoryError(
            f"the lake {path} has layout {found}, and this version of Lakehouse knows layouts up to {version}: use the "
            "version that wrote it, or a later one"
        )
    for start in range(found, version):
        upgrades[start](path)
        _write_version(path, start + 1)


def _read_version(file: Path) -> int | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Layout).version
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise LakeDirectoryError(f'{file} is damaged: it must be a JSON object such as {{"version": 1}}') from None


def _write_version(path: Path, version: int) -> None:
    """Replace the file as a whole; durable at return."""
    draft = path / f"{LAYOUT_NAME}.draft"
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(Layout(version=version)))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path / LAYOUT_NAME)
    sync_directory(path)
