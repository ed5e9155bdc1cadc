"""A test that does not end is reported with its stacks and fails, and the others run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPTIONS = """
[pytest]
trio_mode = true
addopts = -p no:anyio -p no:cacheprovider --tx popen --dist worksteal
"""
CONFTEST = """
from tools.kit.stuck_tests import StuckTests

def pytest_configure(config):
    config.pluginmanager.register(StuckTests(config, limit=4.0))
"""
TESTS = """
import subprocess
import sys
import trio

async def wait_for_nothing():
    await trio.Event().wait()

async def test_stuck():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_nothing)

def test_other():
    pass
"""


@pytest.mark.alone
def test_a_stuck_test_is_reported_and_fails_and_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(OPTIONS)
    command = [sys.executable, "-m", "pytest", "test_it.py"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stdout
    assert "1 failed, 1 passed" in ended.stdout
    assert "crashed while running 'test_it.py::test_stuck'" in ended.stdout
    assert "test_it.py::test_stuck did not end within 4 s" in ended.stderr
    assert " wait_for_nothing" in ended.stderr
    assert "\nthread " in ended.stderr
    assert "-c input()" in ended.stderr
