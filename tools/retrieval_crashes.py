"""Kill the processes of a lake again and again while clients write to its indexes: is anything lost, halved or untrue?

    python -m tools.retrieval_crashes [--kills N] [--seed S] [--folder PATH]

`lakehouse serve` runs in processes of its own on a new lake. Clients add, replace, delete and merge items of indexes of
texts and of vectors, make and drop indexes, keep one to a table, record playbooks, and search, without a pause, while
SIGKILL meets the engine of the indexes, the services process, the process of the tables, a query engine, the gateway,
or all of them, at random moments. Whatever was acknowledged must be there, whatever was not acknowledged must be there
as a whole or not at all, searches meanwhile must find whole batches, and each item must be found by its word and by its
text. Prints what happened; exits with 1 when any of it does not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from random import Random

import trio

from tools.kit.lake_crashes.killer import choose_victims
from tools.kit.lake_crashes.retrieval_run import VICTIMS, run_retrieval_crashes


def main() -> int:
    """Read the command line, do it, print what happened."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.retrieval_crashes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="an empty folder for the lake and the log, which is kept")
    asked = parser.parse_args()
    victims = choose_victims(asked.kills, Random(asked.seed), VICTIMS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = trio.run(lambda: run_retrieval_crashes(folder, victims, seed=asked.seed))
    print(report.format())
    return 1 if report.wrong or report.kills.total() < asked.kills else 0


if __name__ == "__main__":
    sys.exit(main())
