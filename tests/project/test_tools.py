"""`python -m tools` lists every program of the folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_PROGRAMS = {"__init__", "__main__", "kit", "proxy_differences_text", "reverse_proxies"}
"""Modules that other tools import."""


def test_every_tool_is_listed() -> None:
    command = [sys.executable, "-m", "tools"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[0] for line in printed.split("\n") if line.startswith("  ")}
    folder = {path.stem for path in (ROOT / "tools").iterdir() if not path.name.startswith(("__pycache__", "."))}
    assert listed == folder - NOT_PROGRAMS | {"bench.budget"}
