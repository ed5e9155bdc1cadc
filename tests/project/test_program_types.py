"""The programs of the documentation pass `mypy --strict`: what they show is what the public signatures accept."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PRELUDE = """import trio
import lakehouse


async def main(config: lakehouse.Config, request: lakehouse.Request) -> None:
"""
"""What the README's fragments leave out."""


def programs() -> dict[str, str]:
    """Each Python program of the pages, by the name of a module for it."""
    library = PROGRAM.findall((ROOT / "docs/library.md").read_text())
    readme = [code for code in PROGRAM.findall((ROOT / "README.md").read_text()) if "lakehouse." in code]
    found = {f"library_{number}": code for number, code in enumerate(library)}
    return found | {f"readme_{number}": PRELUDE + indent(code, "    ") for number, code in enumerate(readme)}


def check(folder: Path, code: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run mypy in strict mode over these programs."""
    files = []
    for name, text in code.items():
        files.append(folder / f"{name}.py")
        files[-1].write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", *files]
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.extended
def test_the_programs_of_the_documentation_are_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    assert len(programs()) >= 8
    checked = check(tmp_path, programs())
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_wrong_program_is_found(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    checked = check(tmp_path, {"wrong": "import lakehouse\n\nlakehouse.Request(model=1, messages=[{'role': 2}])\n"})
    assert 'Argument "model" to "Request" has incompatible type "int"' in checked.stdout
