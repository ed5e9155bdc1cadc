"""Measures the grid of clients, and writes it into docs/clients.md: every installed client, or those that are named.

    python -m tools.client_grid                     the Python and JavaScript clients, and Codex
    python -m tools.client_grid claude opencode     programs that no test runs

Rows of clients that are not measured stay as they are. Exits with 1 if a check failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import trio

from tools.kit.client_grid.javascript_clients import measure_javascript_clients
from tools.kit.client_grid.programs import measure_program
from tools.kit.client_grid.python_clients import PYTHON_CLIENTS, measure_python_client
from tools.kit.client_grid.service import open_grid_service
from tools.kit.client_grid.table import GridRow, write_table
from tools.kit.client_programs import PROGRAMS
from tools.kit.doc_pages.client_page import PAGE
from tools.kit.not_installed import NotInstalled

DEFAULT = ("python", "javascript", "codex")


Measure = Callable[[str, Path], Awaitable[list[GridRow]]]
"""Returns the rows of a client of the service at a URL, for which it has a folder. Raises `NotInstalled`."""


def list_measures() -> Mapping[str, Sequence[Measure]]:
    """What measures the clients, by the names of the command line."""

    async def measure_python(client: str, form: str, url: str, _: Path) -> list[GridRow]:
        return [await measure_python_client(client, form, url)]

    async def measure_one_program(name: str, url: str, folder: Path) -> list[GridRow]:
        return [await measure_program(name, url, folder)]

    return {
        "python": [partial(measure_python, client, form) for client, form in PYTHON_CLIENTS],
        "javascript": [measure_javascript_clients],
        **{name: [partial(measure_one_program, name)] for name in PROGRAMS},
    }


async def measure_all(names: Sequence[str]) -> list[GridRow]:
    """The rows of the clients that are installed; says which are not."""
    measures = list_measures()
    rows: list[GridRow] = []
    async with open_grid_service() as url:
        for measure in chain.from_iterable(measures[name] for name in names):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    rows += await measure(url, Path(folder))
                except NotInstalled as missing:
                    print(missing, file=sys.stderr)
    return rows


def main() -> int:
    """Measure, write, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list_measures()
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=", ".join(known))
    arguments = parser.parse_args()
    if unknown := set(arguments.clients) - set(known):
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    rows = trio.run(measure_all, arguments.clients or DEFAULT)
    PAGE.write_text(write_table(PAGE.read_text(), rows))
    for row in rows:
        print(f"{row.client} {row.version}: {row.failures or 'passed'}")
    return 1 if any(row.failures for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
