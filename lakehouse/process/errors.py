"""The errors of child processes. Each message is a sentence with the name of the child."""

from __future__ import annotations

import msgspec


class ChildError(Exception):
    """Any failure of a child process."""


class ChildStartFailed(ChildError):
    """A child did not become ready. `reason` is a clause without a full stop."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} did not start: {reason}")
        self.reason = reason


class ChildExited(ChildError):
    """The child ended during a call, or was killed because it violated the protocol."""


class PoolUnavailable(ChildError):
    """No child of a pool could take the call. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CallFailed(ChildError):
    """The child reported the failure of a call. `kind` is a fixed identifier, `details` a JSON value."""

    def __init__(self, kind: str, message: str, details: msgspec.Raw) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details
