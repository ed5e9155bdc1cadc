"""Print the release notes of a version, from a changelog.

python -m tools.release_notes 0.1.0               the section of 0.1.0 (or `Unreleased`) of CHANGELOG.md
python -m tools.release_notes 0.1.0 -c FILE       of another changelog

Exits with 1 and the versions that there are when the changelog has no such section.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"


def release_notes(changelog: str, version: str) -> str:
    """Return the section of `version`, without its heading. Raises LookupError naming the versions that there are."""
    parts = re.split(r"^## \[(.+?)\].*$", changelog, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    if version not in sections:
        raise LookupError(f"the changelog has no section for {version}; it has {', '.join(sections)}")
    return sections[version].strip() + "\n"


def main() -> None:
    """Print the section that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tools.release_notes", description="Release notes of a version.")
    parser.add_argument("version")
    parser.add_argument("-c", "--changelog", type=Path, default=CHANGELOG)
    arguments = parser.parse_args()
    try:
        print(release_notes(arguments.changelog.read_text(encoding="utf-8"), arguments.version), end="")
    except LookupError as error:
        raise SystemExit(f"release_notes: {error.args[0]}") from None


if __name__ == "__main__":
    main()
