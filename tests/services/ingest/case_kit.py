"""The cases of tests/data/ingest_cases: what an upload is, and whether an outcome that is acceptable came out.

A case is a folder with `expect.json` and the upload. `expect.json` has the fields `about`, `kind`, `file`,
`content_type`, `make` (the parts of a large upload), `query` and `raw_query` (parameters), `before` (uploads that come
first), `ways`, and `outcomes`, of which one must hold whole.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[2] / "data" / "ingest_cases"

CLASSES = {
    "integer": r"(TINY|SMALL|BIG|HUGE|U)?INT(EGER)?|INT(8|16|32|64)",
    "float": r"DOUBLE|FLOAT",
    "decimal": r"DECIMAL\(.*\)",
    "text": r"VARCHAR",
    "boolean": r"BOOLEAN",
    "date": r"DATE",
    "timestamp": r"TIMESTAMP.*",
    "time": r"TIME",
    "uuid": r"UUID",
    "binary": r"BLOB",
    "nested": r"STRUCT\(.*\)|.*\[\]|MAP\(.*\)|JSON|VARIANT",
    "enum": r"ENUM\(.*\)",
    "any": r".*",
}


@dataclass(frozen=True)
class Upload:
    """One request: the body, the file's name, the content type, the parameters."""

    body: bytes
    file: str
    content_type: str
    query: dict[str, str] = field(default_factory=dict)
    raw_query: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What came of an upload: the status, the document, and a way to ask SQL, in which {t} is the table."""

    status: int
    document: dict[str, Any]
    ask: Callable[[str], Sequence[Sequence[Any]]]


@dataclass(frozen=True)
class Case:
    """One case."""

    name: str
    kind: str
    upload: Upload
    before: Sequence[Upload]
    outcomes: Sequence[dict[str, Any]]
    ways: Sequence[str]

    def check(self, answer: Answer) -> None:
        """Fail unless one of the outcomes holds."""
        problems = [find_problem(outcome, answer) for outcome in self.outcomes]
        if all(problems):
            raise AssertionError(f"{self.name}: {problems}\n{answer.status} {json.dumps(answer.document)[:2000]}")


def load_cases() -> list[Case]:
    """All cases, by name."""
    return [load_case(path.parent) for path in sorted(CASES.glob("*/expect.json"))]


def load_case(folder: Path) -> Case:
    expected = json.loads((folder / "expect.json").read_text())
    body = make_body(expected["make"]) if "make" in expected else (folder / expected["file"]).read_bytes()
    return Case(
        name=folder.name,
        kind=expected["kind"],
        upload=Upload(
            body, expected["file"], expected["content_type"], expected.get("query", {}), expected.get("raw_query", {})
        ),
        before=[
            Upload((folder / one["file"]).read_bytes(), one["file"], expected["content_type"], one.get("query", {}))
            for one in expected.get("before", [])
        ],
        outcomes=expected["outcomes"],
        ways=expected.get("ways", ["form", "raw"]),
    )


def make_body(make: dict[str, Any]) -> bytes:
    parts = b"".join(map(make_part, make["parts"]))
    return gzip.compress(parts) if make.get("compress") == "gzip" else parts


def make_part(part: dict[str, Any]) -> bytes:
    if "hex" in part:
        return bytes.fromhex(part["hex"])
    if "count" in part:
        text = part["count"]
        return "".join(
            text.replace("{i}", str(i)).replace("{2i}", str(2 * i)) for i in range(part["from"], part["to"] + 1)
        ).encode()
    return str(part["text"]).encode() * int(part.get("repeat", 1))


def find_problem(outcome: dict[str, Any], answer: Answer) -> str:
    """Why an outcome does not hold; empty if it does."""
    if answer.status not in outcome["status"]:
        return f"status {answer.status}"
    if answer.status >= 400:
        return _find_refusal_problem(outcome, answer)
    checks = (_find_column_problem, _find_row_problem, _find_check_problem, _find_warning_problem)
    return next((problem for check in checks if (problem := check(outcome, answer))), "")


def _find_refusal_problem(outcome: dict[str, Any], answer: Answer) -> str:
    error = answer.document["error"]
    text = f"{error['message']} {json.dumps(error.get('details'), ensure_ascii=False)}"
    missing = [one for one in outcome.get("says", []) if not _says(text, one)]
    if missing:
        return f"does not say {missing}"
    for check in outcome.get("after", []):
        if (problem := _ask_one(check, answer)) is not None:
            return problem
    return ""


def _says(text: str, wanted: str | int | list[Any]) -> bool:
    if isinstance(wanted, list):
        return any(_says(text, one) for one in wanted)
    if isinstance(wanted, int):
        return str(wanted) in re.findall(r"\d+", text.replace(",", ""))
    if len(wanted) <= 3:
        return re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text, re.IGNORECASE) is not None
    return wanted.lower() in text.lower()


def _find_column_problem(outcome: dict[str, Any], answer: Answer) -> str:
    if outcome.get("row_count") is not None:
        counts = (answer.document["row_count"], answer.ask("SELECT count(*) FROM {t}")[0][0])
        if counts != (outcome["row_count"],) * 2:
            return f"row_count {counts}"
    if "columns" not in outcome:
        return ""
    described = [(row[0], row[1]) for row in answer.ask("DESCRIBE {t}")]
    answered = [(column["name"], column["type"]) for column in answer.document["columns"]]
    return _compare_columns(outcome["columns"], answered) or _compare_columns(outcome["columns"], described)


def _compare_columns(wanted: list[dict[str, Any]], columns: list[tuple[str, str]]) -> str:
    if len(wanted) != len(columns):
        return f"columns {columns}"
    if len({name.lower() for name, _ in columns}) < len(columns):
        return f"names {columns}"
    for one, (name, type_name) in zip(wanted, columns, strict=True):
        names = one["name"] if isinstance(one["name"], list) else [one["name"]]
        classes = one["type"] if isinstance(one["type"], list) else [one["type"]]
        if "*" not in names and name not in names:
            return f"name {name!r} is not {names}"
        if not any(re.fullmatch(CLASSES[kind], type_name, re.IGNORECASE) for kind in classes):
            return f"type of {name} is {type_name}, not {classes}"
    return ""


def _find_row_problem(outcome: dict[str, Any], answer: Answer) -> str:
    if "rows" not in outcome:
        return ""
    names = [column["name"] for column in answer.document["columns"]]
    select = ", ".join('CAST("{}" AS VARCHAR)'.format(name.replace('"', '""')) for name in names)
    left = [list(row) for row in answer.ask(f"SELECT {select} FROM {{t}}")]
    for wanted in outcome["rows"]:
        match = next((row for row in left if _row_fits(wanted, row)), None)
        if match is None:
            return f"no row {wanted} among {left[:10]}"
        left.remove(match)
    return f"rows too many: {left[:10]}" if left else ""


def _row_fits(wanted: list[Any], row: list[Any]) -> bool:
    return len(wanted) == len(row) and all(
        value in one["any"] if isinstance(one, dict) else value == one for one, value in zip(wanted, row, strict=True)
    )


def _find_check_problem(outcome: dict[str, Any], answer: Answer) -> str:
    return next(
        (problem for check in outcome.get("checks", []) if (problem := _ask_one(check, answer)) is not None), ""
    )


def _ask_one(check: dict[str, Any], answer: Answer) -> str | None:
    rows = answer.ask(check["sql"])
    if len(rows) == 1 and all(
        value in one if isinstance(one, list) else value == one for one, value in zip(check["is"], rows[0], strict=True)
    ):
        return None
    return f"{check['sql']} is {rows[:5]}, not {check['is']}"


def _find_warning_problem(outcome: dict[str, Any], answer: Answer) -> str:
    if "warnings" not in outcome:
        return ""
    warnings = answer.document["warnings"]
    if not outcome["warnings"]:
        return f"warnings {warnings}" if warnings else ""
    for wanted in outcome["warnings"]:
        if not any(_warning_fits(wanted, warning) for warning in warnings):
            return f"no warning {wanted} among {warnings}"
    return ""


def _warning_fits(wanted: dict[str, Any], warning: dict[str, Any]) -> bool:
    lines = wanted.get("line")
    return (
        ("column" not in wanted or warning["column"] == wanted["column"])
        and (lines is None or warning["line"] in (lines if isinstance(lines, list) else [lines]))
        and all(
            _says(f"{warning['column']} {warning['line']} {warning['message']}", one) for one in wanted.get("says", [])
        )
    )
