"""The floors of the package: `python -m tools.floors` draws them into docs/architecture.md."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/architecture.md"
PROJECT = ROOT / "pyproject.toml"

_PICTURE = re.compile(r"(<!-- floors: [^\n]*-->\n```\n).*?(```\n)", re.DOTALL)


def read_floors() -> tuple[Sequence[Sequence[str]], Mapping[str, str]]:
    """The packages of each floor, from top to bottom, and what each package is for."""
    table = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["tool"]["lakehouse"]["floors"]
    return table["order"], table["about"]


def draw() -> str:
    """The picture: a line for each package, with the number of its floor in front."""
    order, about = read_floors()
    width = max(len(name) for floor in order for name in floor)
    numbered = [(len(order) - i, name) for i, floor in enumerate(order) for name in floor]
    return "".join(f"{number:2}  {name:{width}}  {about[name]}\n" for number, name in numbered)


def insert(page: str) -> str:
    """The page with the picture in its place. Raises LookupError if it has no place for it."""
    drawn, places = _PICTURE.subn(lambda match: match[1] + draw() + match[2], page)
    if places != 1:
        raise LookupError(f"{PAGE.name} has {places} places for the picture of the floors")
    return drawn


def main() -> None:
    """Draw the picture."""
    PAGE.write_text(insert(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
