"""The signal with which the kernel kills a process when its parent ends (prctl(2), PR_SET_PDEATHSIG)."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def set_parent_death_signal(parent: int) -> None:
    """End this process when `parent` ends; at once if it has ended already.

    For the kernel, the parent is the *thread* that forked this process: a parent must fork in a thread that lives as
    long as the child should. A change of user or of capabilities clears the setting, so make such changes before.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the call
        os._exit(1)
