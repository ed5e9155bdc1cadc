"""The coding agents of the grid: each is started once for a round with its tool for commands, and once to be refused.

One without tools writes a file in the round, as the answer says.
"""

from __future__ import annotations

from pathlib import Path

import trio

from tools.kit.client_grid.conversation import EDIT, EDITED, QUESTION, REFUSED, WEATHER
from tools.kit.client_grid.table import MODELS, GridRow
from tools.kit.client_programs import PROGRAMS, find_version, run_program
from tools.kit.wires import Wire

TIMEOUT = 240.0
"""Seconds for one run; it takes three, and OpenCode twenty on a machine with nothing else to do."""

PROMPTS = {"streamed": QUESTION, "refused": REFUSED}
"""The prompt of each check."""

SHOWN = {"streamed": f"The tool says {WEATHER}", "refused": "temperature: out of range"}
"""What a program has to show."""


async def measure_program(name: str, url: str, folder: Path) -> GridRow:
    """The row of a program; `folder` is for its homes. Raises `NotInstalled`."""
    version = await trio.to_thread.run_sync(find_version, name)
    problems: dict[Wire, dict[str, str]] = {wire: {} for wire in MODELS}
    for wire, model in MODELS.items():
        for check in PROMPTS:
            place = folder / name / wire / check
            problem = f"no end within {TIMEOUT:.0f} s"
            with trio.move_on_after(TIMEOUT):
                problem = await _run_check(name, check, url=url, model=model, folder=place)
            problems[wire][check] = problem
    program = PROGRAMS[name]
    return GridRow(client=program.title, form=program.form, version=version, problems=problems)


async def _run_check(name: str, check: str, *, url: str, model: str, folder: Path) -> str:
    """What is wrong with a check; an empty text if nothing is."""
    edits = PROGRAMS[name].edits and check == "streamed"
    ran = await run_program(name, EDIT if edits else PROMPTS[check], url=url, model=model, folder=folder)
    shown = ran.out + ran.err
    if edits:
        written = folder / "work" / EDITED
        passed = written.is_file() and written.read_text() == f"{WEATHER}\n"
    else:
        passed = SHOWN[check] in " ".join(shown.split())  # aider breaks lines
    passed = passed and (ran.status == 0 or check == "refused")
    return "" if passed else f"status {ran.status}: {shown[-1000:]}"
