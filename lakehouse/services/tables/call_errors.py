"""What the disk, the bucket and the catalog refuse, as errors of a call. The texts have no secret."""

from __future__ import annotations

import re
import sqlite3

from pyiceberg.exceptions import (
    CommitStateUnknownException,
    NoSuchTableError,
    RESTError,
    TableAlreadyExistsError,
)
from sqlalchemy.exc import DBAPIError

from lakehouse.core.errors import is_disk_full
from lakehouse.process.calls.rpc_child import CallError

_AWS = re.compile(r"AWS Error ([A-Z_]+)")
_KEYS = frozenset(
    ["ACCESS_DENIED", "EXPIRED_TOKEN", "INVALID_ACCESS_KEY_ID", "INVALID_SIGNATURE", "SIGNATURE_DOES_NOT_MATCH"]
)
_UNKNOWN = "the catalog did not say whether the commit was made: look at the table, or send the request again"
MAX_SHOWN = 300
EXPECTED = (
    OSError, DBAPIError, sqlite3.OperationalError, RESTError, CommitStateUnknownException, NoSuchTableError,
    TableAlreadyExistsError,
)  # fmt: skip
"""The exceptions of a call that `explain_failure` may know."""


def explain_failure(error: Exception, *, shared: bool) -> CallError | None:
    """The failure of a call; None for one that is nobody's but ours. `shared`: the lake is beyond one machine."""
    if is_disk_full(error):
        return CallError("disk full", "the disk of the lake is full: nothing was changed")
    if isinstance(error, NoSuchTableError):
        return CallError("not found", "the table was dropped or renamed by another program meanwhile")
    if isinstance(error, TableAlreadyExistsError):
        return CallError("conflict", "a table of this name was made by another program meanwhile")
    return _explain_shared(error) if shared else _explain_local(error)


def _explain_local(error: Exception) -> CallError | None:
    if isinstance(error, OSError) or "locked" not in str(error):
        return None
    return CallError("busy", "the catalog's database is locked by another program")


def _explain_shared(error: Exception) -> CallError | None:
    if isinstance(error, CommitStateUnknownException):
        return CallError("upstream", _UNKNOWN)
    if isinstance(error, DBAPIError):
        return CallError("upstream", f"the catalog's database failed: {_first_line(error.orig or error)}")
    if isinstance(error, RESTError):
        return CallError("upstream", f"the catalog failed: {_first_line(error)}")
    if found := _AWS.search(str(error)):
        why = "the keys are refused, see lake.key_file" if found[1] in _KEYS else "it failed, or cannot be reached"
        return CallError("upstream", f"the object storage: {why} ({found[1]})")
    if isinstance(error, FileNotFoundError):
        return CallError("upstream", f"a file of the table is missing in the bucket: {_first_line(error)}")
    if type(error).__module__.startswith("requests"):
        return CallError("upstream", "the catalog cannot be reached (lake.catalog)")
    return None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:MAX_SHOWN]
