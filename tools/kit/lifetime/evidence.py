"""What tells noise from a fault: time without the wait for a processor, and a test that measures until it is sure.

A promise in milliseconds is measured on machines that are busy with something else, so single measurements miss it
without any fault of the service. Two things are done about that.

`waited_for_cpu` is how long this thread was ready to run and was not let, as the kernel counts it
(`/proc/thread-self/schedstat`, run delay). Client, service and upstreams are one thread, so what a busy machine adds to
a measurement is that number, and it is taken away. A wait of the service's own, a timer or an event that comes late,
stays: a thread that sleeps is not ready to run.

`Sequential` is Wald's sequential probability ratio test. It takes measurements, each of which keeps the promise or
misses it, until it can say whether the share of misses is that of noise (at most `noise`) or of a fault (at least
`fault`). It calls noise a fault with a probability of at most `false_alarm`, and a fault noise with one of at most
`oversight`. A share between the two may be called either.
"""

from __future__ import annotations

from math import log
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


def waited_for_cpu(*others: int) -> float:
    """Seconds that this thread, and the first threads of other processes, have waited for a processor since they began;
    0 where the kernel does not count them."""
    files = [_SCHEDSTAT, *(Path(f"/proc/{pid}/schedstat") for pid in others)]
    try:
        return sum(int(file.read_text().split()[1]) for file in files) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


class Sequential:
    """The test of one promise: `add` measurements until there is a `verdict`."""

    def __init__(self, *, noise: float, fault: float, false_alarm: float = 1e-6, oversight: float) -> None:
        if not 0 < noise < fault < 1:
            raise ValueError("the share of misses is that of noise, or a larger one: 0 < noise < fault < 1")
        self._missed = log(fault / noise)
        self._kept = log((1 - fault) / (1 - noise))
        self._fault_at = log((1 - oversight) / false_alarm)
        self._kept_at = log(oversight / (1 - false_alarm))
        self._evidence = 0.0
        self.misses = 0
        self.tries = 0

    def add(self, *, missed: bool) -> None:
        """One more measurement. What comes after the verdict does not change it."""
        if self.verdict is None:
            self.tries += 1
            self.misses += missed
            self._evidence += self._missed if missed else self._kept

    @property
    def verdict(self) -> bool | None:
        """Whether the promise is kept; None while that is open."""
        if self._evidence >= self._fault_at:
            return False
        return True if self._evidence <= self._kept_at else None

    def __str__(self) -> str:
        return f"{self.misses} of {self.tries} measurements missed it"
