"""Large bodies through the service in a process of its own: the same bytes arrive, and its memory stays flat."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.extended
def test_96_mib_each_way_at_flat_memory() -> None:
    command = [sys.executable, "-m", "tools.body_memory", "--mib", "96", "--limit", "20"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("digests match") == 2
