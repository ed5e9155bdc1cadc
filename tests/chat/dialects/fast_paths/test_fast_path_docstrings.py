"""Each fast path states what it skips, the test that proves its equality, and the measurement that it improves."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
MODULES = sorted((ROOT / "lakehouse" / "chat" / "dialects").rglob("*_fast_path.py"))


def test_there_are_fast_paths() -> None:
    assert sorted(module.stem for module in MODULES) == [
        "chunk_fast_path",
        "completion_fast_path",
        "model_strings_fast_path",
        "relayed_completion_fast_path",
        "relayed_message_fast_path",
        "relayed_response_fast_path",
        "request_fast_path",
        "text_delta_fast_path",
        "text_event_fast_path",
        "text_line_fast_path",
    ]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_a_docstring_names_a_property_test_and_a_measurement(module: Path) -> None:
    docstring = ast.get_docstring(ast.parse(module.read_text())) or ""
    assert "Skips: " in docstring
    proof = re.search(r"Equality with [^:]*: `(\w+)\.(\w+)`", docstring)
    assert proof
    source = (HERE / f"{proof[1]}.py").read_text()
    assert re.search(rf"@given\([^@]*\)\ndef {proof[2]}\(", source), "a property test"
    measure = re.search(r"(Budget line|Bench table): `([^`\d]+)", docstring)
    assert measure
    page = "budget.py" if measure[1] == "Budget line" else "report.py"
    assert measure[2] in (ROOT / "tools" / "bench" / page).read_text()
