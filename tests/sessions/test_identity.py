"""What a request says about its run: a table of headers and of fields, and the session that they name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lakehouse.asgi.json_body import decode_json
from lakehouse.ask.request import AskRequest
from lakehouse.chat.api.native import NativeFormat
from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.session_identity import (
    MAX_NAME,
    SessionField,
    SessionIdentity,
    convert_field,
    read_session_headers,
)
from lakehouse.workflows.graph import Workflow

LONG = "x" * MAX_NAME


def parse(text: str) -> SessionIdentity | None:
    """The session of header lines."""
    pairs = [line.split(": ", 1) for line in text.split("; ") if line]
    return read_session_headers({name.encode(): value.encode() for name, value in pairs})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("", None),
        ("accept: */*", None),
        ("x-session-id: run-1", ("run-1", "", "")),
        ("x-session-id: run-1; x-session-agent-id: a", ("run-1", "a", "")),
        ("x-session-id: r; x-session-agent-id: a; x-session-parent-agent-id: b", ("r", "a", "b")),
        ("x-session-id: r; x-session-parent-agent-id: b", ("r", "", "")),
        ("x-session-id: r; x-session-agent-id: a; x-session-parent-agent-id: a", ("r", "a", "")),
        ("x-session-id: r; x-session-agent-id: a; x-session-parent-agent-id: r", ("r", "a", "")),
        ("x-session-agent-id: a", None),
        ("x-session-id: ...", ("...", "", "")),
        ("x-session-id: team|run#7?x=%41", ("team|run#7?x=%41", "", "")),
        (f"x-session-id: {LONG}", (LONG, "", "")),
        ("x-session-id: child; x-parent-session-id: run", ("run", "child", "")),
        ("x-session-id: run; x-parent-session-id: run", ("run", "", "")),
        ("x-session-id: run; x-parent-session-id: two words", ("run", "", "")),
        ("x-parent-session-id: run", None),
        ("x-parent-session-id: run; session-id: d", ("d", "", "")),
        ("x-claude-code-session-id: c", ("c", "", "")),
        (
            "x-claude-code-session-id: c; x-claude-code-agent-id: a; x-claude-code-parent-agent-id: b",
            ("c", "a", "b"),
        ),
        ("session-id: 0195; thread-id: 0195", ("0195", "", "")),
        ("session-id: 0195; thread-id: 0196", ("0195", "0196", "")),
        ("thread-id: 0196", None),
        ("x-session-id: ours; x-claude-code-session-id: c; session-id: d; x-claude-code-agent-id: a", ("ours", "", "")),
        ("x-claude-code-session-id: c; session-id: d; thread-id: t", ("c", "", "")),
        ("session-id: two words", None),
        ("session-id: ; x-claude-code-session-id: c", ("c", "", "")),
        ("x-claude-code-session-id: c d; session-id: d", ("d", "", "")),
        (f"x-claude-code-session-id: c; x-claude-code-agent-id: {LONG}x", ("c", "", "")),
    ],
)
def test_the_first_source_that_names_a_session_is_taken(headers: str, expected: tuple[str, str, str] | None) -> None:
    found = parse(headers)
    assert (None if found is None else (found.id, found.agent, found.parent_agent)) == expected


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ("x-session-id: two words", "x-session-id"),
        ("x-session-id: ", "x-session-id"),
        (f"x-session-id: {LONG}x", "x-session-id"),
        ("x-session-id: ..", "x-session-id"),
        ("x-session-id: r\u00e9sum\u00e9", "x-session-id"),
        ("x-session-id: two words; x-parent-session-id: run", "x-session-id"),
        ("x-session-id: r; x-session-agent-id: a b", "x-session-agent-id"),
        ("x-session-id: r; x-session-agent-id: a; x-session-parent-agent-id: b\x7f", "x-session-parent-agent-id"),
    ],
)
def test_a_bad_name_in_a_header_of_ours_is_an_error_that_names_it(headers: str, named: str) -> None:
    with pytest.raises(ErrBadRequest, match=f"`{named}`") as refused:
        parse(headers)
    assert refused.value.field == named


BODIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "chat": (NativeFormat().parse, {"model": "m", "messages": [{"role": "user", "content": "?"}]}),
    "ask": (lambda body: decode_json(body, AskRequest), {"question": "?"}),
    "workflow": (lambda body: decode_json(body, Workflow), {"nodes": []}),
}


@pytest.mark.parametrize("form", BODIES)
@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (None, None),
        ("run-1", SessionIdentity(id="run-1")),
        ({"id": "r"}, SessionIdentity(id="r")),
        ({"id": "r", "agent": None}, SessionIdentity(id="r")),
        ({"id": "r", "agent": "a", "parent_agent": "b"}, SessionIdentity(id="r", agent="a", parent_agent="b")),
        ("two words", "session"),
        ("", "session"),
        (".", "session"),
        (7, "session"),
        ({}, "session.id"),
        ({"id": "r", "agents": "a"}, "session.agents"),
        ({"id": "r", "agent": ""}, "session"),
        ({"id": "r", "agent": "a", "parent_agent": LONG + "x"}, "session"),
    ],
)
def test_the_field_session_of_our_own_forms(form: str, field: Any, expected: SessionIdentity | str | None) -> None:
    parse_body, body = BODIES[form]

    def read() -> SessionIdentity | None:
        parsed = parse_body(msgspec.json.encode({**body, "session": field}))
        if form == "chat":
            session: SessionIdentity | None = parsed.session
            return session
        given: str | SessionField | None = parsed.session
        return convert_field(given)

    if isinstance(expected, str):
        with pytest.raises(ErrBadRequest) as refused:
            read()
        assert refused.value.field == expected
    else:
        assert read() == expected
