"""The states of a response as it is parsed, with their transitions."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final


class ResponseState(IntEnum):
    """Progress of a response, in order: `state >= BODY` once the final head is complete."""

    IDLE = 0
    """No byte has arrived."""
    HEAD = 1
    """Bytes have arrived; interim responses and an incomplete final head are read in this state."""
    BODY = 2
    COMPLETE = 3
    UPGRADED = 4
    """Complete with status 101: the bytes on the connection belong to another protocol."""


# Looking a member up in its class costs five times as much as these.
IDLE: Final = ResponseState.IDLE
HEAD: Final = ResponseState.HEAD
BODY: Final = ResponseState.BODY
COMPLETE: Final = ResponseState.COMPLETE
UPGRADED: Final = ResponseState.UPGRADED


class Event(Enum):
    """What moves a response to its next state."""

    FIRST_BYTE = "first byte"
    FINAL_HEAD = "end of the final head"
    LAST_BYTE = "end of the message"
    SWITCHED = "end of a message with status 101"
    CONNECTION_CLOSED = "end of the connection"


TRANSITIONS: Final[dict[Event, dict[ResponseState, ResponseState]]] = {
    Event.FIRST_BYTE: {IDLE: HEAD},
    Event.FINAL_HEAD: {HEAD: BODY},
    Event.LAST_BYTE: {BODY: COMPLETE},
    Event.SWITCHED: {BODY: UPGRADED},
    Event.CONNECTION_CLOSED: {BODY: COMPLETE},  # of a body without a length only
}
"""The transitions; any other is a `KeyError`, and a defect of the parser."""
