"""The release notes of a version, from the CHANGELOG: `python -m tools.release_notes 0.1.0` (or `Unreleased`)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"


def release_notes(changelog: str, version: str) -> str:
    """The section of `version`, without its heading. Raises LookupError naming the versions that there are."""
    parts = re.split(r"^## \[(.+?)\].*$", changelog, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    if version not in sections:
        raise LookupError(f"the changelog has no section for {version}; it has {', '.join(sections)}")
    return sections[version].strip() + "\n"


if __name__ == "__main__":
    try:
        print(release_notes(CHANGELOG.read_text(encoding="utf-8"), sys.argv[1]), end="")
    except (LookupError, IndexError) as error:
        raise SystemExit(f"release_notes: {error}") from None
