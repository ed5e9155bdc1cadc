"""What `docs/clients.md` has to paste."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "clients.md"


def find_blocks(heading: str, language: str) -> list[str]:
    """The blocks of one language below a heading of the third level."""
    section = PAGE.read_text().partition(f"### {heading}\n")[2]
    section = re.split(r"^##", section, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
