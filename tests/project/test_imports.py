"""Tests and tools share `tools.kit` and nothing else, and a test module imports no other test module.

What the test modules of one folder share may stand in a helper module beside them (`tests/chat/dialects/streams/stream_kit.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def imported_modules(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it; `from tools import kit` is `tools.kit`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names) if module in ("tools", "tests") else [module]


def is_allowed(file: str, module: str) -> bool:
    """Whether a file of tests/ or tools/ may import a module of theirs."""
    if module.partition(".")[0] not in ("tests", "tools") or module.startswith("tools.kit"):
        return True
    if module.startswith("tests."):
        return file.startswith("tests/") and not any(part.startswith("test_") for part in module.split("."))
    return file.startswith("tools/") and not file.startswith("tools/kit/") and module.startswith("tools.")


@pytest.mark.parametrize("folder", ["tests", "tools"])
def test_tests_and_tools_share_the_kit_alone(folder: str) -> None:
    found = [
        f"{name_of(file)} imports {module}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for module in imported_modules(file)
        if not is_allowed(name_of(file), module)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("file", "module", "allowed"),
    [
        ("tests/a/test_b.py", "tools.kit.raw_http", True),
        ("tests/a/test_b.py", "tools.kills", False),
        ("tests/a/test_b.py", "tests.a.test_c", False),
        ("tests/a/test_b.py", "tests.a.kit", True),
        ("tools/kills.py", "tools.bench.load", True),
        ("tools/kills.py", "tests.a.test_b", False),
        ("tools/kit/raw_http.py", "tools.kills", False),
        ("tools/kit/raw_http.py", "lakehouse.server.limits", True),
    ],
)
def test_the_rule(file: str, module: str, allowed: bool) -> None:
    assert is_allowed(file, module) == allowed
