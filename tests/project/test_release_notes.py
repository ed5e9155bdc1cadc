"""Release notes come from the changelog, which has a section for the version that is being made."""

from __future__ import annotations

import pytest

import lakehouse
from tools.release_notes import CHANGELOG, release_notes

TEXT = """# Changelog

## [Unreleased]

- new

## [1.1.0] - 2026-12-01

### Fixed

- a thing

## [1.0.0] - 2026-11-01

- first
"""


def test_a_section_without_its_heading() -> None:
    assert release_notes(TEXT, "1.1.0") == "### Fixed\n\n- a thing\n"
    assert release_notes(TEXT, "1.0.0") == "- first\n"


def test_a_version_that_is_not_there() -> None:
    with pytest.raises(LookupError, match=r"no section for 2\.0\.0; it has Unreleased, 1\.1\.0, 1\.0\.0"):
        release_notes(TEXT, "2.0.0")


def test_this_version_has_notes() -> None:
    assert "### Added" in release_notes(CHANGELOG.read_text(), lakehouse.__version__)
