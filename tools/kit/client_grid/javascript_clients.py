"""The JavaScript clients of the grid, which make their checks in one process of Node.js."""

from __future__ import annotations

import json
from pathlib import Path

import trio

from tools.kit.client_grid.conversation import QUESTION, REFUSED, WEATHER
from tools.kit.client_grid.table import MODELS, GridRow
from tools.kit.node_packages import install_program

SOURCE = Path(__file__).parent / "js"
TIMEOUT = 60.0
"""Seconds for all checks; they take two."""

FORMS = {"chat": "chat completions", "responses": "responses", "messages": "messages"}
NAMES = {"ai": "Vercel's `ai`, JavaScript"}
"""Names of clients that are not shown as that of their package."""


async def measure_javascript_clients(url: str, folder: Path) -> list[GridRow]:
    """The rows of all of them; `folder` is where their packages are, or get installed. Raises `NotInstalled`."""
    await trio.to_thread.run_sync(install_program, SOURCE, folder)
    versions = json.loads((SOURCE / "package.json").read_text())["dependencies"]
    command = ["node", str(folder / "clients.mjs"), url, QUESTION, REFUSED, WEATHER, *MODELS.values()]
    with trio.fail_after(TIMEOUT):
        run = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr.decode())
    rows = []
    for name, problems in json.loads(run.stdout).items():
        package, _, form = name.rpartition("/")
        by_wire = {wire: problems[model] for wire, model in MODELS.items()}
        client = NAMES.get(package, f"`{package}`, JavaScript")
        rows.append(GridRow(client=client, form=FORMS[form], version=versions[package], problems=by_wire))
    return rows
