"""The lines of the configuration that name a warehouse: for the terminal, and set in a file whose other lines stay."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from lakehouse.config import ConfigError, LakeTable, parse_config
from lakehouse.config.files import read_text
from lakehouse.services.lake.durability import sync_directory

_ANY_TABLE = re.compile(r"^\s*\[")
_PASSWORD = re.compile(r"^([a-z+]+://[^/@:]*):[^/]*@")

Values = Mapping[str, str | bool]
Tables = Mapping[str, Values]


def make_tables(lake: LakeTable, user: str, *, records: str = "", records_user: str = "") -> Tables:
    """The keys of a warehouse that differ from the defaults, by table. There is no password among them.

    `user` is that of the catalog, `records` the database for traces and operations, with its user.
    """
    values: dict[str, str | bool] = {"warehouse": lake.warehouse, "catalog": _with_user(str(lake.catalog), user)}
    default = LakeTable()
    for key in ("name", "endpoint", "region", "key_file"):
        if (value := str(getattr(lake, key))) != getattr(default, key):
            values[key] = value
    if not lake.path_style:
        values["path_style"] = False
    if not records:
        return {"lake": values}
    store = {"store": _with_user(records, records_user)}
    return {"lake": values, "pathwayd": store, "observerd": store}


def _with_user(url: str, user: str) -> str:
    return url.replace("://", f"://{quote(user, safe='')}@", 1) if user else url


def write_lines(tables: Tables) -> list[str]:
    """The lines of the tables, with an empty one between them."""
    lines: list[str] = []
    for table, values in tables.items():
        lines += ["", *_write_table(table, values)] if lines else _write_table(table, values)
    return lines


def _write_table(table: str, values: Values) -> list[str]:
    return [f"[{table}]", *(_write_line(key, value) for key, value in values.items())]


def _write_line(key: str, value: str | bool) -> str:
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


def set_values(text: str, tables: Tables) -> str:
    """The text of a configuration with these values in its tables. Comments and other lines stay.

    So does the whole text if it has the values, with a password in a URL or without. Raises ConfigError for a text in
    which that cannot be done, such as one with `lake = {…}`.
    """
    if _has_values(text, tables):
        return text
    lines = text.splitlines()
    for table, values in tables.items():
        _set_in_table(lines, table, values)
    changed = "\n".join(lines) + "\n"
    _check(text, changed, tables)
    return changed


def _has_values(text: str, tables: Tables) -> bool:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    found = {table: document[table] for table in tables if isinstance(document.get(table), dict)}
    return all(
        key in found.get(table, {}) and _hide_password(found[table][key]) == value
        for table, values in tables.items()
        for key, value in values.items()
    )


def _hide_password(value: object) -> object:
    return _PASSWORD.sub(r"\1@", value) if isinstance(value, str) else value


def _set_in_table(lines: list[str], table: str, values: Values) -> None:
    header = re.compile(rf"^\s*\[\s*{table}\s*\]\s*(#.*)?$")
    start = next((number for number, line in enumerate(lines) if header.match(line)), None)
    if start is None:
        lines += ["", *_write_table(table, values)] if lines else _write_table(table, values)
        return
    rest = lines[start + 1 :]
    length = next((number for number, line in enumerate(rest) if _ANY_TABLE.match(line)), len(rest))
    own = [line for line in rest[:length] if not _sets(line, values)]
    lines[start + 1 : start + 1 + length] = [*(_write_line(key, value) for key, value in values.items()), *own]


def _sets(line: str, values: Values) -> bool:
    key = line.partition("=")[0].strip().strip("\"'")
    return "=" in line and key in values


def _check(text: str, changed: str, tables: Tables) -> None:
    """Nothing but the values differs in what the texts mean."""
    try:
        before, after = tomllib.loads(text), tomllib.loads(changed)
    except tomllib.TOMLDecodeError:
        after = before = {}
    expected = before | {table: {**before.get(table, {}), **values} for table, values in tables.items()}
    if not after or after != expected:
        names = ", ".join(f"[{table}]" for table in tables)
        raise ConfigError([f"the configuration file has {names} in a form that cannot be changed here"])
    parse_config(after)


def change_file(path: Path, tables: Tables) -> Path | None:
    """Set the values in a file; durable at return. Returns the path of the copy that has the former text.

    A file that has the values already stays as it is, and so does the copy of an earlier change: None is returned.
    Raises ConfigError, OSError.
    """
    text = read_text(str(path))
    changed = set_values(text, tables)
    if changed == text:
        return None
    status = path.stat()
    copy = path.with_name(f"{path.name}.before-promotion")
    for file, content in ((copy, text), (draft := path.with_name(f".{path.name}.draft"), changed)):
        with file.open("w", encoding="utf-8") as output:
            output.write(content)
            output.flush()
            os.fsync(output.fileno())
        file.chmod(status.st_mode & 0o777)
    draft.replace(path.resolve())
    sync_directory(path.parent)
    return copy
