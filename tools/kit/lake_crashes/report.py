"""What happened: kills, requests by how they ended, times until the service answers again, and what must not happen."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass(slots=True)
class CrashReport:
    """What happened in a run."""

    kills: Counter[str] = field(default_factory=Counter)
    steps: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests that write, by their kind and how they ended."""
    reads: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    """How often something was compared."""
    recovery: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from a kill until an upload and a query are answered, by what was killed."""
    wrong: list[str] = field(default_factory=list)

    def format(self) -> str:
        """In words and figures."""
        killed = ", ".join(f"{count} {victim}" for victim, count in sorted(self.kills.items()))
        lines = [f"{self.kills.total()} kills: {killed}", "requests that write:"]
        kinds = sorted({kind for kind, _ in self.steps})
        for kind in kinds:
            ends = {end: count for (each, end), count in sorted(self.steps.items()) if each == kind}
            lines.append(f"  {kind:22}  " + ", ".join(f"{count} {end}" for end, count in ends.items()))
        lines.append("reads: " + ", ".join(f"{count} {what}" for what, count in sorted(self.reads.items())))
        lines.append("checks: " + ", ".join(f"{count} {what}" for what, count in sorted(self.checks.items())))
        lines.append("seconds until the probes are answered again:")
        for victim, seconds in sorted(self.recovery.items()):
            times = sorted(seconds)
            late = times[min(len(times) - 1, len(times) * 95 // 100)]
            lines.append(f"  {victim:10}  median {statistics.median(times):.2f}, p95 {late:.2f}, most {times[-1]:.2f}")
        return "\n".join([*lines, f"wrong: {len(self.wrong)}", *(f"  {each}" for each in self.wrong[:20])])
