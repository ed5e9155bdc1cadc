"""The mark of a folder whose tables and objects were promoted to a warehouse: `promoted.json`.

The folder goes on to be that of a service with this warehouse, for what is not shared. Without a warehouse it is
refused: what would be written into it would be in no other service.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from lakehouse.services.lake.durability import sync_directory
from lakehouse.services.lake.folder_lock import LakeDirectoryError

PROMOTED_NAME = "promoted.json"


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the mark: the promotion, its target, and when it began to switch or had switched (RFC 3339).

    `state` is `switching` while the tables are being registered; a promotion that is interrupted then is continued.
    """

    state: Literal["switching", "promoted"]
    promotion: str
    warehouse: str
    catalog: str
    name: str
    time: str


def read_mark(path: Path) -> Promoted | None:
    """The mark of a folder, None if it has none. Raises LakeDirectoryError for a damaged one."""
    file = path / PROMOTED_NAME
    try:
        return msgspec.json.decode(file.read_bytes(), type=Promoted)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise LakeDirectoryError(f"{file} is damaged: delete it if the lake was not promoted") from None


def write_mark(path: Path, mark: Promoted) -> None:
    """Mark a folder; durable at return."""
    draft = path / f"{PROMOTED_NAME}.draft"
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(mark))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path / PROMOTED_NAME)
    sync_directory(path)


def remove_mark(path: Path) -> None:
    """Remove the mark of a promotion that has not switched; durable at return."""
    (path / PROMOTED_NAME).unlink(missing_ok=True)
    sync_directory(path)


def refuse_promoted(path: Path) -> None:
    """Raise LakeDirectoryError if tables and objects of the folder are not to be used any more."""
    mark = read_mark(path)
    if mark is None:
        return
    if mark.state == "switching":
        raise LakeDirectoryError(
            f"the promotion of the lake {path} to {mark.warehouse} was interrupted while it switched: run `lakehouse"
            f" promote --to {mark.warehouse} --catalog {mark.catalog}` again, which completes it"
        )
    raise LakeDirectoryError(
        f"the tables and objects of the lake {path} were promoted to {mark.warehouse} at {mark.time}: set"
        f" lake.warehouse and lake.catalog ({mark.catalog}), or delete {path / PROMOTED_NAME} to use the folder as it"
        " was"
    )
