"""Kill the embedded model again and again under load: what becomes of the requests?

    python -m tools.kills [--kills N] [--workers N] [--clients N] [--seed N]

The service runs in processes of its own, with the demonstration model. Clients ask for whole answers and streams in
both forms, without a pause, and SIGKILL meets the model's process at random instants of its life, the loading of the
model included. Each request must be answered, or fail with an error that says so: a stream that broke has an `error`
for its last event. None may wait for the cooldown of a circuit. Prints what happened; exits with 1 when that does not
hold, or when the model does not answer in the end.
"""

from __future__ import annotations

import argparse
import sys

import trio

from tools.kit.model_kills import kill_under_load
from tools.kit.serve_process import run_lakehouse


def main() -> int:
    """Read the command line, do it, print what happened."""
    parser = argparse.ArgumentParser(prog="python -m tools.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    tables: dict[str, dict[str, object]] = {
        "chatd": {"ollama_url": "", "default": "local"},
        "chatd.local": {"demo": True},
        "observe": {"log": "off"},
    }
    with run_lakehouse(tables, "--workers", str(asked.workers)) as running:
        url = f"http://{running.host}:{running.port}"
        tally = trio.run(
            lambda: kill_under_load(url, running.pid, kills=asked.kills, clients=asked.clients, seed=asked.seed)
        )
    print(tally.report())
    return 1 if tally.wrong or tally.kills < asked.kills else 0


if __name__ == "__main__":
    sys.exit(main())
