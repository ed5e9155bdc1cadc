"""The coding agents of the grid: each is started once for a round with its tool for commands, and once to be refused."""

from __future__ import annotations

from pathlib import Path

import trio

from tools.kit.client_grid.conversation import QUESTION, REFUSED, WEATHER
from tools.kit.client_grid.table import MODELS, GridRow
from tools.kit.client_programs import PROGRAMS, find_version, run_program
from tools.kit.wires import Wire

TIMEOUT = 240.0
"""Seconds for one run; it takes three, and OpenCode twenty on a machine with nothing else to do."""

WORDS = {"streamed": (QUESTION, f"The tool says {WEATHER}"), "refused": (REFUSED, "temperature: out of range")}
"""The prompt of each check, and what the program has to show."""


async def measure_program(name: str, url: str, folder: Path) -> GridRow:
    """The row of a program; `folder` is for its homes. Raises `NotInstalled`."""
    version = await trio.to_thread.run_sync(find_version, name)
    problems: dict[Wire, dict[str, str]] = {wire: {} for wire in MODELS}
    for wire, model in MODELS.items():
        for check, (prompt, words) in WORDS.items():
            place = folder / name / wire / check
            problem = f"no end within {TIMEOUT:.0f} s"
            with trio.move_on_after(TIMEOUT):
                ran = await run_program(name, prompt, url=url, model=model, folder=place)
                shown = ran.out + ran.err
                passed = words in shown and (ran.status == 0 or check == "refused")
                problem = "" if passed else f"status {ran.status}: {shown[-1000:]}"
            problems[wire][check] = problem
    program = PROGRAMS[name]
    return GridRow(client=program.title, form=program.form, version=version, problems=problems)
