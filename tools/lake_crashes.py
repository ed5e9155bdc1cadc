"""Kill the processes of a lake again and again while clients write to it: is anything lost, halved or left over?

    python -m tools.lake_crashes [--kills N] [--seed S] [--folder PATH]

`lakehouse serve` runs in processes of its own on a new lake. Clients put, replace and delete objects, upload files in
every mode, change, rename, restore, drop and expire tables, without a pause, while SIGKILL meets the services process,
the process of the tables, a write engine, a query engine, the gateway, or all of them, at random moments. Whatever was
acknowledged must be there, whatever was not acknowledged must be there as a whole or not at all, and an upload that is
repeated with its Idempotency-Key must have been taken once. Reads meanwhile must be whole. In the end the folder must
have nothing in it that nobody uses. Prints what happened; exits with 1 when any of it does not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from random import Random

import trio

from tools.kit.lake_crashes.killer import choose_victims
from tools.kit.lake_crashes.run import run_crashes


def main() -> int:
    """Read the command line, do it, print what happened."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.lake_crashes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="an empty folder for the lake and the log, which is kept")
    asked = parser.parse_args()
    victims = choose_victims(asked.kills, Random(asked.seed))
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = trio.run(lambda: run_crashes(folder, victims, seed=asked.seed))
    print(report.format())
    return 1 if report.wrong or report.kills.total() < asked.kills else 0


if __name__ == "__main__":
    sys.exit(main())
