"""Release notes come from the changelog, which has a section for the version that is being made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lakehouse

ROOT = Path(__file__).parents[2]
TEXT = """# Changelog

## [Unreleased]

- new

## [1.1.0] - 2026-12-01

### Fixed

- a thing

## [1.0.0] - 2026-11-01

- first
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.release_notes", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_section_without_its_heading(tmp_path: Path) -> None:
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(TEXT)
    assert run("1.1.0", "-c", str(changelog)).stdout == "### Fixed\n\n- a thing\n"
    assert run("1.0.0", "-c", str(changelog)).stdout == "- first\n"


def test_a_version_that_is_not_there(tmp_path: Path) -> None:
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(TEXT)
    failed = run("2.0.0", "-c", str(changelog))
    assert failed.returncode == 1
    assert "no section for 2.0.0; it has Unreleased, 1.1.0, 1.0.0" in failed.stderr


def test_this_version_has_notes() -> None:
    assert "### Added" in run(lakehouse.__version__).stdout
