"""The service under valgrind, whose system tables signals switch: SIGUSR1 on, SIGUSR2 off.

`python -m tools.bench.counted SOCKET serve …`. Rows go to a process that listens on SOCKET and stores nothing: valgrind
has no pidfd_open, which the service needs to start its own processes. What is done once in a period is done as seldom
for each request as without valgrind, under which all takes about 40 times as long.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from lakehouse.telemetry import log_sink, telemetry, traffic
from tools.bench import switched

SLOWER = 40


def run() -> int:
    """Run the command line, with the telemetry of the service under signals."""
    recorder = traffic.TrafficRecorder(Path(sys.argv.pop(1)))
    with ExitStack() as stack:
        for module in (log_sink, traffic):
            stack.enter_context(patch.object(module, "FLUSH_INTERVAL", SLOWER * module.FLUSH_INTERVAL))
        stack.enter_context(patch.object(telemetry, "PERSIST_INTERVAL", SLOWER * telemetry.PERSIST_INTERVAL))
        return switched.run(recorder)


if __name__ == "__main__":
    sys.exit(run())
