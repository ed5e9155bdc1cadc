"""Dispatches the calls, and turns errors of the engine and of the disk into those of a call."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable

import duckdb

from lakehouse.core.errors import is_disk_full
from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.database import hide_directory
from lakehouse.services.engines.writer_child import messages
from lakehouse.services.engines.writer_child.call_errors import DISK_FULL, OUT_OF_MEMORY, UNPROCESSABLE, read_message
from lakehouse.services.engines.writer_child.changes import rewrite, upsert
from lakehouse.services.engines.writer_child.uploads import convert, inspect_upload

MAX_MESSAGE = 500
STAGED = re.compile(r'"?\bstaging/[^\s"]+"?')
"""The path of a staged file, which means nothing to the client."""
Reply = messages.InspectReply | messages.WriteReply


def answer(connection: duckdb.DuckDBPyConnection, request: messages.Request, check: Callable[[], None]) -> Reply:
    """Answer one request. `check` raises if it is cancelled. Raises CallError, and what an interrupt raises."""
    try:
        return _answer(connection, request, check)
    except duckdb.InterruptException:
        raise
    except duckdb.OutOfMemoryException as error:
        traceback.print_exc()
        message = "the write engine ran out of memory with this file"
        raise CallError(OUT_OF_MEMORY, message, replace=True) from error
    except duckdb.Error as error:
        raise _describe(error) from error
    except OSError as error:
        if is_disk_full(error):
            raise CallError(DISK_FULL, "the disk is full: nothing is stored") from error
        raise


def _answer(connection: duckdb.DuckDBPyConnection, request: messages.Request, check: Callable[[], None]) -> Reply:
    if isinstance(request, messages.InspectRequest):
        return inspect_upload(connection, request, check)
    if isinstance(request, messages.ConvertRequest):
        return convert(connection, request)
    if isinstance(request, messages.UpsertRequest):
        return upsert(connection, request)
    return rewrite(connection, request)


def _describe(error: duckdb.Error) -> CallError:
    """The engine reads users' files, and an error of it is one of the file, unless it says that it is its own."""
    message = STAGED.sub("the upload", hide_directory(read_message(error)))
    if "No space left on device" in message or "max_temp_directory_size" in message:
        return CallError(DISK_FULL, "the disk, or the space for temporary files, is full: nothing is stored")
    broken = isinstance(error, duckdb.InternalException | duckdb.FatalException)
    return CallError(UNPROCESSABLE, f"the file cannot be read: {message[:MAX_MESSAGE]}", replace=broken)
