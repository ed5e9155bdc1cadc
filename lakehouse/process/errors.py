"""What can go wrong with child processes. Each message is a sentence that names the child."""

from __future__ import annotations

import msgspec


class ChildError(Exception):
    """Any failure of a child process."""


class ChildStartFailed(ChildError):
    """A child did not become ready, for a reason that reads as the end of a sentence."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} did not start: {reason}")
        self.reason = reason


class ChildExited(ChildError):
    """The child of a call ended, or broke the protocol and was killed, before the call was answered."""


class PoolUnavailable(ChildError):
    """No child of a pool could take the call. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CallFailed(ChildError):
    """The child's own answer that a call failed. `kind` is a name for programs, `details` a JSON value."""

    def __init__(self, kind: str, message: str, details: msgspec.Raw) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details
