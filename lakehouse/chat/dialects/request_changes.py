"""Record of what differs between the caller's request and the body that is sent."""

from __future__ import annotations

import msgspec

MAX_RECORDED_FIELDS = 100
"""Field names that are kept for the log: a client may invent any number of them."""


class RequestChanges(msgspec.Struct):
    """Names of request fields that are not sent as the caller wrote them, for the log.

    `left_out`: fields that the dialect cannot represent and that do not change the meaning of the answer. `adjusted`:
    fields that are sent with the nearest supported value.
    """

    left_out: list[str] = []
    adjusted: list[str] = []

    def leave_out(self, name: str, value: object = True) -> None:
        """Record that the field `name` is not sent. A `value` of None means that the caller did not set the field, and
        nothing is recorded."""
        if value is not None and name not in self.left_out and len(self.left_out) < MAX_RECORDED_FIELDS:
            self.left_out.append(name)

    def adjust(self, name: str) -> None:
        """Record that the field `name` is sent with another value."""
        if name not in self.adjusted:
            self.adjusted.append(name)
