"""Apply `ResourceLimits` to this process."""

from __future__ import annotations

import resource

from lakehouse.process.spec import ResourceLimits

XCPU_GRACE = 1
"""Seconds of processor time between SIGXCPU, at the soft limit, and SIGKILL, at the hard limit."""


def apply_limits(limits: ResourceLimits) -> None:
    """Set the soft and hard value of each given limit, which then cannot be raised. Raises OSError, ValueError."""
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_AS, limits.address_space)
    _set_limit(resource.RLIMIT_FSIZE, limits.file_size)
    _set_limit(resource.RLIMIT_NOFILE, limits.open_files)
    if limits.cpu_seconds is not None:
        _set_limit(resource.RLIMIT_CPU, limits.cpu_seconds, grace=XCPU_GRACE)


def _set_limit(which: int, value: int | None, *, grace: int = 0) -> None:
    if value is None:
        return
    _, hard = resource.getrlimit(which)
    wanted = value + grace
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(which, (min(value, ceiling), ceiling))
