"""Runs one command of the lake: with a client, until its end or Ctrl-C; expected errors are printed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import msgspec

from lakehouse.cli.interrupt import run_interruptible
from lakehouse.cli.lake.client import ErrorResponse, LakeClient
from lakehouse.cli.lake.connect import open_client
from lakehouse.cli.lake.error_text import describe_error
from lakehouse.cli.output import write_diagnostic
from lakehouse.config import Config
from lakehouse.core.errors import LakehouseError
from lakehouse.core.groups import unwrap_single
from lakehouse.services.lake.errors import LakeError


def run_with_client(config: Config, work: Callable[[LakeClient], Awaitable[int]]) -> int:
    """Run `work` and return its exit status; 1 if the lake cannot be reached or opened."""

    async def connect_and_work() -> int:
        try:
            async with open_client(config, os.environ) as client:
                return await work(client)
        except (*EXPECTED, BaseExceptionGroup) as caught:
            error = unwrap_single(caught)
            if not isinstance(error, EXPECTED):
                raise
            report_error(error)
            return 1

    return run_interruptible(connect_and_work)


EXPECTED = (ErrorResponse, LakehouseError, LakeError, msgspec.DecodeError)


def report_error(error: Exception, *, sql: str = "", subject: str = "lakehouse") -> None:
    """Print an expected error to standard error."""
    if isinstance(error, ErrorResponse):
        for number, line in enumerate(describe_error(error, sql=sql)):
            write_diagnostic(line if number else f"{subject}: {line}")
    elif isinstance(error, LakehouseError):
        write_diagnostic(f"{subject}: {error.code}: {error.message}")
    elif isinstance(error, msgspec.DecodeError):
        write_diagnostic(f"{subject}: the lake answered, but not with a document that this version understands")
    else:
        write_diagnostic(f"{subject}: {error}")
