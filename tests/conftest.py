"""What holds for every test.

Properties are tried with the same examples each time, so that a failure can be repeated, and a busy machine is none:
nothing is judged by how long it took to make an example.
"""

from __future__ import annotations

import gc

from hypothesis import HealthCheck, settings

settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


def pytest_collection_finish() -> None:
    """Thousands of collected tests are looked through by every collection of garbage otherwise, for nothing."""
    gc.collect()
    gc.freeze()
