"""The service as `lakehouse serve` runs it, whose system tables signals switch: SIGUSR1 on, SIGUSR2 off.

`python -m tools.bench.switched serve …`. One process then has both variants that are compared: two processes differ by
up to a twentieth in the cost of the same request, because their memory lies elsewhere. Switched off, telemetry has no
recorder, as in a service whose configuration turns the tables off.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any
from unittest.mock import patch

from lakehouse.cli import main
from lakehouse.telemetry.telemetry import Telemetry
from lakehouse.telemetry.traffic import TrafficRecorder


def obey_signals(telemetry: Telemetry) -> None:
    """Take the recorder of traffic away at a signal, or give it back. Send one while no request is under way."""
    recorder = telemetry.traffic

    def switch(number: int, _frame: FrameType | None) -> None:
        telemetry.traffic = recorder if number == signal.SIGUSR1 else None

    signal.signal(signal.SIGUSR1, switch)
    signal.signal(signal.SIGUSR2, switch)


def run(recorder: TrafficRecorder | None = None) -> int:
    """Run the command line, with the telemetry of the service under signals and this recorder, by default its own."""
    make = Telemetry.__init__

    def make_switched(self: Telemetry, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed on
        make(self, *arguments, **(options if recorder is None else options | {"traffic": recorder}))
        obey_signals(self)

    with patch.object(Telemetry, "__init__", make_switched):
        return main()


if __name__ == "__main__":
    sys.exit(run())
