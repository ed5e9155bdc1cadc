"""The service under valgrind, whose system tables signals switch: SIGUSR1 on, SIGUSR2 off.

`python -m tools.bench.counted SOCKET serve …`. Rows go to a process that listens on SOCKET and stores nothing: valgrind
has no pidfd_open, which the service needs to start its own processes. What is done once in a period is done as seldom
for each request as without valgrind, under which all takes about 40 times as long.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lakehouse.cli import main
from lakehouse.telemetry import log_sink, traffic
from lakehouse.telemetry.telemetry import Telemetry
from tools.bench.switched import obey_signals

SLOWER = 40


def run() -> int:
    """Run the command line, with the telemetry of the service under signals."""
    socket = Path(sys.argv.pop(1))
    make = Telemetry.__init__

    def make_counted(self: Telemetry, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed on
        make(self, *arguments, **{**options, "traffic": traffic.TrafficRecorder(socket)})
        obey_signals(self)

    with ExitStack() as stack:
        stack.enter_context(patch.object(Telemetry, "__init__", make_counted))
        for module in (log_sink, traffic):
            stack.enter_context(patch.object(module, "FLUSH_INTERVAL", SLOWER * module.FLUSH_INTERVAL))
        return main()


if __name__ == "__main__":
    sys.exit(run())
