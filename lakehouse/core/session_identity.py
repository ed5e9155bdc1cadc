"""The name of a run: what a request says about the session and the agent that it belongs to.

| source | session | agent | parent of the agent |
|---|---|---|---|
| an agent that OpenCode's has started | `x-parent-session-id` | `x-session-id` | |
| `x-session-id` (ours, OpenCode's, OpenRouter's) | its value | `x-session-agent-id` | `x-session-parent-agent-id` |
| Claude Code | `x-claude-code-session-id` | `x-claude-code-agent-id` | `x-claude-code-parent-agent-id` |
| Codex | `session-id` | `thread-id`, unless it is the session's | |
| the field `session` of our own forms | a string, or its `id` | its `agent` | its `parent_agent` |

The first source that names a session is taken, and no other. A name that is not acceptable is an error in `x-session-…`
and in the last of them, which name a session for this service. The headers of other programs may mean something else to
them, so one of their values that is not acceptable is treated as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from lakehouse.core.errors import ErrBadRequest

MAX_NAME = 256
"""Characters of the name of a session or of an agent."""

_NAME = re.compile(rf"(?!\.\.?$)[!-~]{{1,{MAX_NAME}}}")
"""Not `.` and `..`: clients remove them from paths such as `/v1/sessions/..`, so that nobody could stop the session."""
_RULE = f"1 to {MAX_NAME} visible characters of ASCII, and not `.` or `..`"


class SessionIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The session of a request, and the agent in it. An empty `agent` is the agent that the session begins with."""

    id: str
    agent: str = ""
    parent_agent: str = ""


class SessionField(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The field `session` of our own forms, written as an object."""

    id: str
    agent: str | None = None
    parent_agent: str | None = None

    def __post_init__(self) -> None:
        for name in ("id", "agent", "parent_agent"):
            value = getattr(self, name)
            if value is not None and _NAME.fullmatch(value) is None:
                raise ValueError(f"`session.{name}` must be {_RULE}")


class _Source(NamedTuple):
    session: bytes
    agent: bytes
    parent_agent: bytes


OURS, CLAUDE_CODE, CODEX = b"x-session-id", b"x-claude-code-session-id", b"session-id"
"""The headers that name a session. A request without any of them has none from its headers."""

OUR_AGENT, PARENT = b"x-session-agent-id", b"x-parent-session-id"
"""Headers that give the value of `OURS` another meaning, or add to it."""

_SOURCES = (
    _Source(PARENT, OURS, b""),  # only beside the other one
    _Source(OURS, OUR_AGENT, b"x-session-parent-agent-id"),
    _Source(CLAUDE_CODE, b"x-claude-code-agent-id", b"x-claude-code-parent-agent-id"),
    _Source(CODEX, b"thread-id", b""),
)


def read_session_headers(fields: Mapping[bytes, bytes]) -> SessionIdentity | None:
    """The session that headers name, whose names are in lower case. Raises ErrBadRequest naming the header."""
    for session, agent, parent_agent in _SOURCES:
        if (name := fields.get(session)) is not None and (session != PARENT or agent in fields):
            try:
                identity = _read_known(session, name, fields.get(agent), fields.get(parent_agent))
            except _TooLong:
                identity = _read_source(session, name, fields.get(agent), fields.get(parent_agent))
            if identity is not None:
                return identity
    return None


class _TooLong(Exception):
    """Values that are not to be kept."""


@lru_cache(1024)
def _read_known(header: bytes, name: bytes, agent: bytes | None, parent_agent: bytes | None) -> SessionIdentity | None:
    """`_read_source`, cached because a run sends the same headers with each of its requests. Raises _TooLong."""
    if any(len(value or b"") > MAX_NAME for value in (name, agent, parent_agent)):
        raise _TooLong
    return _read_source(header, name, agent, parent_agent)


def _read_source(header: bytes, name: bytes, agent: bytes | None, parent_agent: bytes | None) -> SessionIdentity | None:
    """The identity in the headers of one source, None if the session's name is not acceptable."""
    source = next(source for source in _SOURCES if source.session == header)
    session = _read(source.session, name)
    if not session:
        return None
    return make_identity(session, _read(source.agent, agent), _read(source.parent_agent, parent_agent))


def make_identity(session: str, agent: str | None = None, parent_agent: str | None = None) -> SessionIdentity:
    """An identity of names that are acceptable. An agent with the session's name is the one that it begins with."""
    known = "" if agent is None or agent == session else agent
    parent = "" if not known or parent_agent in (None, known, session) else parent_agent
    return SessionIdentity(id=session, agent=known, parent_agent=parent or "")


def convert_field(field: str | SessionField | None) -> SessionIdentity | None:
    """The session that the field `session` of a body names. Raises ErrBadRequest."""
    if field is None:
        return None
    if isinstance(field, SessionField):
        return make_identity(field.id, field.agent, field.parent_agent)
    if _NAME.fullmatch(field) is None:
        raise ErrBadRequest(f"`session` must be {_RULE}", field="session")
    return make_identity(field)


def is_session_name(text: str) -> bool:
    """Whether a text may be the name of a session or of an agent."""
    return _NAME.fullmatch(text) is not None


def _read(header: bytes, value: bytes | None) -> str:
    """The name in a header, empty if there is none. Raises ErrBadRequest for a bad one in a header of ours."""
    text = "" if value is None else value.decode("latin-1")
    if value is None or is_session_name(text):
        return text
    if header.startswith(b"x-session-"):
        raise ErrBadRequest(f"the header `{header.decode()}` must be {_RULE}", field=header.decode())
    return ""
