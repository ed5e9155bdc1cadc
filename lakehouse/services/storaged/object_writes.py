"""Writing objects: an upload is received, then put into the index in one step."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import trio

from lakehouse.core.errors import ErrForbidden, ErrInsufficientStorage, is_disk_full
from lakehouse.services.lake.group_commit import GroupCommit, PendingChange
from lakehouse.services.storaged.files.blob_files import BlobFiles
from lakehouse.services.storaged.index.entries import Entry, Row
from lakehouse.services.storaged.index.object_index import Change, Delete, ObjectIndex, Outcome, Precondition, Put
from lakehouse.services.storaged.index.recent_objects import RecentObjects
from lakehouse.services.storaged.keys import DATASETS, check_key
from lakehouse.services.storaged.receiving import DISCARD_TIMEOUT, MAX_INLINE, receive_content

_Pending = PendingChange[Change, Outcome]


class PutResult(NamedTuple):
    """The object that was put; `created`: its key had none before."""

    row: Row
    created: bool


class ObjectWrites:
    """Puts and deletes objects, in memory as well (`recent`)."""

    def __init__(self, index: ObjectIndex, blobs: BlobFiles, recent: RecentObjects) -> None:
        self._index = index
        self._blobs = blobs
        self._recent = recent
        self._commit = GroupCommit(index.apply, self._record, self._remove)

    def check_space(self, size: int) -> None:
        """Raises ErrInsufficientStorage if an object of `size` bytes cannot fit, so that it need not be received."""
        if size > MAX_INLINE and size > (free := self._blobs.free_space()):
            raise ErrInsufficientStorage(f"the disk has no room for {size} bytes: {free} are left")

    async def put(
        self, key: str, body: AsyncIterator[bytes], *, content_type: str, precondition: Precondition | None = None
    ) -> PutResult:
        """Receive the body, then put the object in one step if the precondition holds. Durable at return.

        Raises ErrInsufficientStorage for a full disk, and what `body` and the precondition raise. Nothing has changed
        then, or when it is cancelled before the last step.
        """
        check_owner(key)
        with _translate_disk_full():
            received = await receive_content(body, self._blobs)
            row = Row(key.encode(), received.size, received.etag, 0, content_type)
            entry = Entry(row, received.data, received.blob)
            outcome = await self._change(Put(entry=entry, precondition=precondition))
        put = entry if outcome.entry is None else outcome.entry
        return PutResult(put.row, created=outcome.former is None)

    async def delete(self, key: str, *, precondition: Precondition | None = None) -> bool:
        """Delete an object. Returns whether the key had one. Durable at return. Raises ErrInsufficientStorage."""
        check_owner(key)
        with _translate_disk_full():
            outcome = await self._change(Delete(key=key.encode(), precondition=precondition))
        return outcome.former is not None

    async def _change(self, change: Change) -> Outcome:
        pending: _Pending = PendingChange(change)
        try:
            return await self._commit.make(pending)
        finally:
            if not pending.taken:
                await self._remove([pending])

    def _record(self, changes: Sequence[_Pending]) -> None:
        """Bring the objects in memory up to date."""
        for pending in changes:
            outcome = pending.outcome
            if outcome is None or outcome.error is not None:
                continue
            if outcome.entry is not None:
                self._recent.replace(outcome.entry)
            else:
                self._recent.remove(pending.change.key)

    async def _remove(self, changes: Sequence[_Pending]) -> None:
        """Remove the files that no object has after these changes: of gigabytes, this takes a while."""
        unused: list[str] = []
        for pending in changes:
            full = isinstance(pending.error, sqlite3.Error) and is_disk_full(pending.error)
            if pending.error is not None and not full:
                self._index.leave_open()  # the transaction may be in the journal: the sweep of the next start decides
            else:
                unused += _unused_blobs(pending)
        if unused:
            with trio.CancelScope(shield=True, relative_deadline=DISCARD_TIMEOUT):
                await trio.to_thread.run_sync(self._blobs.remove, unused, abandon_on_cancel=True)


def _unused_blobs(pending: _Pending) -> list[str]:
    """The names of the files that no object has after a change: the former one's, or its own if it was not made."""
    outcome, change = pending.outcome, pending.change
    if outcome is None or outcome.error is not None:
        name = change.entry.blob if isinstance(change, Put) else None
    else:
        name = None if outcome.former is None else outcome.former.blob
    return [] if name is None else [name]


def check_owner(key: str) -> None:
    """Raise ErrBadRequest for a key that no object can have, ErrForbidden for one of a table's file."""
    check_key(key)
    if key.startswith(DATASETS):
        raise ErrForbidden("the files of tables are written by commits of the tables")


@contextmanager
def _translate_disk_full() -> Iterator[None]:
    """Turn the errors of a full disk into ErrInsufficientStorage."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise ErrInsufficientStorage("the disk has no room for the object") from error
    except sqlite3.Error as error:
        if not is_disk_full(error):
            raise
        raise ErrInsufficientStorage("the disk has no room for the index of objects") from error
