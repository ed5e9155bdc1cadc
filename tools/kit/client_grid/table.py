"""Rows of the grid, and the table of `docs/clients.md` that has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tools.kit.wires import PREFIXES, Wire

MODELS: dict[Wire, str] = {wire: f"{prefix}m" for wire, prefix in PREFIXES.items()}
"""A model behind each wire protocol."""

HEAD = "| client | in the form | over chat completions | over responses | over messages | over Ollama | tested with |"
_WIRES: tuple[Wire, ...] = ("chat_completions", "responses", "messages", "ollama")


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """What a client's checks found. `problems` has a text for each check with each wire protocol, empty if it passed."""

    client: str
    form: str
    version: str
    problems: Mapping[Wire, Mapping[str, str]]

    @property
    def cells(self) -> tuple[str, ...]:
        """The row without the version: client, form, and for each wire protocol the checks that passed."""
        passed = (
            ", ".join(name for name, problem in self.problems[wire].items() if not problem) or "nothing"
            for wire in _WIRES
        )
        return (self.client, self.form, *passed)

    @property
    def failures(self) -> dict[str, str]:
        """What went wrong, by wire protocol and check."""
        return {
            f"{wire}: {name}": problem
            for wire, checks in self.problems.items()
            for name, problem in checks.items()
            if problem
        }


def read_table(page: str) -> dict[tuple[str, str], list[str]]:
    """The cells of each row of the table, by client and form. Raises `ValueError` if the page has no table."""
    lines = page[page.index(HEAD) :].split("\n")[2:]
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")])
    return {(cells[0], cells[1]): cells for cells in rows}


def write_table(page: str, rows: Iterable[GridRow]) -> str:
    """The page with the rows that were measured in place of its own; other rows stay."""
    table = read_table(page)
    for row in rows:
        table[row.client, row.form] = [*row.cells, row.version]
    start = page.index(HEAD)
    end = page.index("\n\n", start)
    ruler = "|---" * HEAD.count(" | ") + "|---|"
    lines = [HEAD, ruler, *(f"| {' | '.join(cells)} |" for cells in table.values())]
    return page[:start] + "\n".join(lines) + page[end:]
