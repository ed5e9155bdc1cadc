"""Retired words name nothing again: no module, class, function or constant of the package, the tests and the tools.

The words are in retired_names.toml; what replaced them is in docs/glossary.md.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

RETIRED = {
    kind: frozenset(words.split())
    for kind, words in tomllib.loads(Path(__file__).with_name("retired_names.toml").read_text()).items()
}


class Named(NamedTuple):
    """A name, and what it names: `module`, `class`, `function`, `constant`, or `test` for the last three in tests."""

    kind: str
    name: str
    line: int


def names_in(file: Path) -> Iterator[Named]:
    """The names that a file gives."""
    yield Named("module", file.parent.name if file.stem in ("__init__", "__main__") else file.stem, 1)
    in_tests = file.is_relative_to(ROOT / "tests")
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ClassDef):
            yield Named("test" if in_tests else "class", node.name, node.lineno)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Named("test" if in_tests else "function", node.name, node.lineno)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and target.id.isupper():
                    yield Named("test" if in_tests else "constant", target.id, node.lineno)


def words_of(name: str) -> set[str]:
    """The words of a name in snake case, capitals or camel case, in lower case."""
    usual = re.sub(r"in[\s_-]?flight|flight[\s_-]?sql", "", name, flags=re.IGNORECASE)
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", usual)}


def is_retired(named: Named) -> bool:
    """Whether a name must not be used."""
    words = words_of(named.name)
    if words & RETIRED["anywhere"]:
        return True
    if named.kind == "test":
        return False
    if words & RETIRED["in_code"]:
        return True
    return named.name.strip("_") in RETIRED["modules" if named.kind == "module" else "names"]


@pytest.mark.parametrize("folder", ["lakehouse", "tests", "tools"])
def test_no_retired_word_names_anything(folder: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}:{named.line}: {named.kind} {named.name}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for named in names_in(file)
        if is_retired(named)
    ]
    assert found == [], "see docs/glossary.md for the terms in use"


@pytest.mark.parametrize(
    ("kind", "name", "retired"),
    [
        ("class", "Flight", True),
        ("class", "RequestFlight", True),
        ("class", "InFlightNow", False),
        ("class", "FlightSqlTable", False),
        ("function", "_flight_ended", True),
        ("function", "requests_in_flight", False),
        ("constant", "CLOSE_PATIENCE", True),
        ("class", "Wire", True),
        ("class", "WireTable", False),
        ("function", "_ours", True),
        ("function", "text_only", False),
        ("test", "test_what_a_client_is_told", False),
        ("test", "test_a_lifeline_ends", True),
        ("module", "glance", True),
        ("module", "sse", False),
    ],
)
def test_what_is_retired(kind: str, name: str, retired: bool) -> None:
    assert is_retired(Named(kind, name, 1)) is retired


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").rglob("*.md")), *ROOT.glob("*.md")], ids=lambda page: page.name
)
def test_the_glossary_alone_has_retired_words(page: Path) -> None:
    if page.name in ("glossary.md", "CHANGELOG.md"):  # the changelog tells of versions that had them
        return
    assert words_of(page.read_text()) & RETIRED["anywhere"] == set()
