"""What a coding agent does with each way in which an answer can fail: how often it asks, and what it shows.

    python -m tools.client_endings claude                          all failures, over chat completions
    python -m tools.client_endings codex --over responses cut      one of them, on a relayed stream

The program has to be installed. Its requests are counted at this service, which makes no retries of its own. The tables
in docs/clients.md have the results.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from tools.kit.client_programs import PROGRAMS, find_version, run_program
from tools.kit.failing_providers import FAILURES, fail_as_named
from tools.kit.service_with_providers import open_service_with_providers
from tools.kit.telemetry_fixtures import CapturedLog
from tools.kit.wires import PREFIXES, PROVIDERS, Wire

TIMEOUT = 600.0
"""Seconds for one run: Claude Code waits 210, OpenCode 150."""

AT_ONCE = 3
"""Programs that run at the same time; most of them wait."""


async def measure(program: str, failure: str, wire: Wire) -> str:
    """The line of one failure."""
    log = CapturedLog()
    scripts = {PROVIDERS[wire]: fail_as_named}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        async with open_service_with_providers(scripts=scripts, log=log.log, observe={"log": "json"}) as there:
            ran = None
            with trio.move_on_after(TIMEOUT):
                run = partial(run_program, program, "Say hello.", url=there.service.urls[0], folder=Path(folder))
                ran = await run(model=PREFIXES[wire] + failure)
    took = time.monotonic() - began
    asked = [line for line in log.lines if line.get("method") == "POST"]
    answered = itertools.groupby(line["status"] for line in asked)
    statuses = " ".join(f"{status}x{len([*group])}" for status, group in answered)
    shown = "went on" if ran is None else f"status {ran.status}: {(ran.out + ran.err)[-300:]!r}"
    return f"{failure:18} {len(asked):3} requests ({statuses}) in {took:3.0f} s, {shown}"


async def measure_all(program: str, failures: Sequence[str], wire: Wire) -> None:
    """Print the lines of the failures as they come."""
    print(f"{PROGRAMS[program].title} {find_version(program)}, over {wire}")
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def measure_one(failure: str) -> None:
        async with limiter:
            print(await measure(program, failure, wire), flush=True)

    async with trio.open_nursery() as nursery:
        for failure in failures:
            nursery.start_soon(measure_one, failure)


def main() -> int:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("failures", nargs="*", metavar="FAILURE", help=", ".join(FAILURES))
    parser.add_argument("--over", choices=PREFIXES, default="chat_completions", help="the protocol of the provider")
    arguments = parser.parse_args()
    if unknown := set(arguments.failures) - set(FAILURES):
        parser.error(f"no such failure: {', '.join(sorted(unknown))}")
    trio.run(measure_all, arguments.program, arguments.failures or [*FAILURES], arguments.over)
    return 0


if __name__ == "__main__":
    sys.exit(main())
