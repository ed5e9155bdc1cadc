"""Durations for people."""

from __future__ import annotations


def format_seconds(value: float) -> str:
    """A duration in its shortest form."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 100:
        return f"{value:.1f} s"
    minutes = int(value // 60)
    return f"{minutes} m {int(value % 60):02d} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} m"
