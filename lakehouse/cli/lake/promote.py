"""The work of `lakehouse promote`: from a folder to a bucket and a shared catalog."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.interrupt import INTERRUPTED, run_interruptible
from lakehouse.cli.lake.progress import PhaseProgress, is_shown
from lakehouse.cli.lake.promotion_report import format_report, make_report
from lakehouse.cli.lake.run import EXPECTED, report_error
from lakehouse.cli.lake.warehouse_lines import Tables, change_file, make_tables, set_values
from lakehouse.cli.lake_options import with_lake
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.cli.style import Style
from lakehouse.config import ConfigError, LakeTable, values, warehouse_values
from lakehouse.config.files import read_text
from lakehouse.core.extras import LAKE, install_hint, missing_modules
from lakehouse.core.groups import unwrap_single
from lakehouse.process.tasks import open_background
from lakehouse.services.lake.directory import locate
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.key_file import KeyFile, KeyFileError
from lakehouse.services.lake.promoted import read_mark
from lakehouse.services.promotion.progress import Progress
from lakehouse.services.promotion.promoter import Outcome, open_promotion
from lakehouse.services.promotion.records import make_records_address
from lakehouse.services.promotion.target import Target
from lakehouse.services.warehouse.configured import find_problem, make_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One call of the command. `configuration` is the file that is changed, None if none is."""

    folder: Path
    target: Target
    tables: Tables
    configuration: Path | None
    dry_run: bool
    json: bool


def run(arguments: argparse.Namespace) -> int:
    """Promote the lake. Raises ConfigError."""
    try:
        work, problem = _make_work(arguments)
    except LakeError as error:
        report_error(error)
        return 1
    return _run(work, problem=problem)


def _make_work(arguments: argparse.Namespace) -> tuple[Work, str]:
    """What is to be done, and what is missing for it. Raises ConfigError, LakeError."""
    loaded = load_configuration(arguments)
    config = with_lake(loaded.config, arguments.lake)
    lake = _read_target(config.lake, arguments)
    _check_source(config.lake, lake)
    settings = make_settings(lake, os.environ)
    assert settings is not None  # noqa: S101 - the warehouse is not empty
    records = _read_records(arguments.records)
    address = make_records_address(lake, records, os.environ) if records else None
    target = Target(warehouse=lake.warehouse, catalog=settings.catalog, settings=settings, records=address)
    tables = make_tables(lake, settings.catalog_user, records=records, records_user=address.user if address else "")
    if arguments.lake is not None:
        tables = {**tables, "lake": {**tables["lake"], "path": str(locate(config.lake.path, os.environ))}}
    configuration = None
    if arguments.switch:
        passwords = {"--catalog": settings.catalog_password, "--records": address.url_password if address else ""}
        configuration = _find_configuration(loaded.path, tables, lake, passwords)
    work = Work(
        folder=locate(config.lake.path, os.environ),
        target=target,
        tables=tables,
        configuration=configuration,
        dry_run=arguments.dry_run,
        json=arguments.json,
    )
    return work, _find_missing(lake)


def _check_source(lake: LakeTable, target: LakeTable) -> None:
    """Raise ConfigError for a lake that is not in a folder, unless it is what was promoted to this target before."""
    if not lake.warehouse:
        return
    mark = read_mark(locate(lake.path, os.environ))
    if lake.warehouse != target.warehouse or mark is None or mark.warehouse != target.warehouse:
        raise ConfigError([f"lake.warehouse is {lake.warehouse}: this lake is not in a folder"])


def _read_target(lake: LakeTable, arguments: argparse.Namespace) -> LakeTable:
    """The table `[lake]` with the target. Raises ConfigError with every problem."""
    options = {
        "--to": ("warehouse", arguments.to, warehouse_values.warehouse),
        "--catalog": ("catalog", arguments.catalog, warehouse_values.catalog),
        "--name": ("name", arguments.name, warehouse_values.word),
        "--endpoint": ("endpoint", arguments.endpoint, values.optional_url),
        "--region": ("region", arguments.region, warehouse_values.word),
        "--key-file": ("key_file", arguments.key_file, _read_file_name),
    }
    problems: list[str] = []
    found: dict[str, Any] = {}  # keys of the table with values of their types
    for option, (key, value, read) in options.items():
        if value is None:
            continue
        try:
            found[key] = read(value)
        except ValueError as error:
            problems.append(f"{option} {error}")
        else:
            if not found[key] and key in ("warehouse", "catalog"):
                problems.append(f"{option} must not be empty")
    if problems:
        raise ConfigError(problems)
    return replace(lake, **found)


def _read_records(value: str | None) -> str:
    """The database for traces and operations, empty for none. Raises ConfigError."""
    try:
        return warehouse_values.record_store(value or "")
    except ValueError as error:
        raise ConfigError([f"--records {error}"]) from None


def _read_file_name(value: object) -> str:
    """An absolute path: the service may run in another folder."""
    path = values.path(value)
    return os.path.abspath(path) if path else ""  # noqa: PTH100 - links are not resolved


def _find_configuration(path: Path | None, tables: Tables, lake: LakeTable, passwords: Mapping[str, str]) -> Path:
    """The file for `--switch`. Raises ConfigError if it cannot be changed, before anything else is done.

    It gets no password: one of `passwords`, those in the URLs of options, must be where a service finds it as well.
    """
    if path is None:
        raise ConfigError(["--switch: there is no configuration file to change: name it with -c"])
    text = read_text(str(path))
    if set_values(text, tables) == text:
        return path
    if not os.access(path, os.W_OK):
        raise ConfigError([f"--switch: {path} cannot be written"])
    if (given := [option for option, password in passwords.items() if password]) and not _has_password(lake):
        problem = f"--switch: the password in {' and '.join(given)} is not written into {path}"
        raise ConfigError([f"{problem}: name a file that has it as PGPASSWORD with --key-file (lake.key_file)"])
    return path


def _has_password(lake: LakeTable) -> bool:
    """Whether a service finds a password for PostgreSQL. Raises ConfigError for a key file that cannot be read."""
    try:
        return bool(KeyFile(lake.key_file, os.environ).load().get("PGPASSWORD"))
    except KeyFileError as error:
        raise ConfigError([str(error)]) from None


def _find_missing(lake: LakeTable) -> str:
    if absent := missing_modules(*LAKE):
        return f"the lake {install_hint('lake', absent)}"
    return find_problem(lake)


def _run(work: Work, *, problem: str) -> int:
    async def promote() -> int:
        try:
            if problem:
                raise LakeError(problem)
            outcome = await _promote(work)
        except (*EXPECTED, BaseExceptionGroup, OSError) as caught:
            error = unwrap_single(caught)
            if not isinstance(error, (*EXPECTED, OSError)):
                raise
            report_error(error)
            return 1
        changed = work.configuration if not work.dry_run else None
        copy = None if changed is None else change_file(changed, work.tables)
        report = make_report(outcome, work.folder, work.target.warehouse, work.tables, dry_run=work.dry_run)
        if work.json:
            write_output(msgspec.json.format(msgspec.json.encode(report)).decode())
        else:
            for line in format_report(report, Style(sys.stdout)):
                write_output(line)
        if copy is not None:
            write_diagnostic(f"{changed} was changed; {copy} has its former text")
        return 0

    status = run_interruptible(promote)
    if status == INTERRUPTED:
        write_diagnostic("lakehouse: interrupted; the same command continues where it was")
    return status


async def _promote(work: Work) -> Outcome:
    progress = Progress()
    async with _shown(progress), open_promotion(work.folder, work.target, progress) as promotion:
        return await (promotion.plan() if work.dry_run else promotion.run())


@asynccontextmanager
async def _shown(progress: Progress) -> AsyncIterator[None]:
    async with open_background() as background:
        if is_shown():
            background.start_soon(PhaseProgress(progress).show)
        yield
