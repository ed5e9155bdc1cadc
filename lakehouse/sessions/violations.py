"""A limit that a session has broken, and the error that its next call gets."""

from __future__ import annotations

from typing import NamedTuple

from lakehouse.core.errors import ErrSessionStopped
from lakehouse.core.session_identity import SessionIdentity


class Violation(NamedTuple):
    """`rule` is the key of `[observerd.limits]`; `reason` is a clause, `evidence` the same for programs.

    Neither has contents of messages: both are recorded.
    """

    rule: str
    reason: str
    evidence: dict[str, object]

    def describe(self, session: str) -> str:
        """The violation as a sentence about the session."""
        return f"the session {session} is over: {self.clause}"

    @property
    def clause(self) -> str:
        """The violation as the end of a sentence about the session."""
        return f"it has broken the limit `{self.rule}`: {self.reason}"

    def make_details(self, identity: SessionIdentity) -> dict[str, object]:
        """What the error tells programs."""
        agent = {"agent": identity.agent} if identity.agent else {}
        return {"session": identity.id, **agent, "rule": self.rule, **self.evidence}

    def make_error(self, identity: SessionIdentity) -> ErrSessionStopped:
        """The error of a call of the session, a new one for each call."""
        return ErrSessionStopped(self.describe(identity.id), details=self.make_details(identity))
