"""Sessions in the document: their operations and schemas."""

from __future__ import annotations

from typing import get_args

from lakehouse.asgi.middleware.sessions import SESSIONS_PATH
from lakehouse.core.context import Outcome, Phase
from tools.kit.doc_pages.openapi.operations import JSON, READ_ERRORS, Operation
from tools.kit.doc_pages.openapi.shapes import BOOLEAN, DATE_TIME, INTEGER, NUMBER, STRING, array, nullable, struct
from tools.kit.doc_pages.openapi.translate import Schema, reference

OPERATIONS = (
    Operation(
        method="get",
        path=SESSIONS_PATH,
        id="sessions",
        tag="observability",
        summary="List the sessions over all workers, the one that was active last first",
        query={"limit": "1 to 1000; 100 by default", "tree": "`1`: each session has the `tree` of its agents"},
        answers={JSON: "Sessions"},
        errors=(400, *READ_ERRORS),
    ),
    Operation(
        method="get",
        path=f"{SESSIONS_PATH}/{{session}}",
        id="session",
        tag="observability",
        summary="One session with the tree of its agents, their calls in flight and the last that have ended",
        answers={JSON: "Session"},
        errors=(400, *READ_ERRORS, 404),
    ),
    Operation(
        method="delete",
        path=f"{SESSIONS_PATH}/{{session}}",
        id="stop_session",
        tag="observability",
        summary="End every call of a session, and refuse further ones",
        description="Everything that the calls have started has been cancelled. Further calls of the session are "
        "refused with 400 until `stopped_until`.",
        query={"agent": "end the calls of this agent and of those below it, and no others"},
        answers={JSON: "SessionReceipt"},
        errors=(400, *READ_ERRORS),
    ),
)

_SUMS: dict[str, Schema] = {
    "calls": INTEGER,
    "in_flight": INTEGER,
    "failed": INTEGER,
    "refused": INTEGER,
    "input_tokens": INTEGER,
    "output_tokens": INTEGER,
    "cost_usd": NUMBER,
    "seconds": NUMBER,
}

_REPLIES: dict[str, Schema] = {"workers": INTEGER, "silent": INTEGER}


def schemas() -> dict[str, Schema]:
    """Documents that the code makes as dictionaries."""
    summary: dict[str, Schema] = {
        "id": STRING,
        "state": {"enum": ["running", "idle", "stopped"]},
        "principal": nullable(STRING),
        "started": DATE_TIME,
        "last_active": DATE_TIME,
        "age": NUMBER,
        "idle": NUMBER,
        "stopped_until": nullable(DATE_TIME),
        "reason": nullable(STRING),
        "agents": INTEGER,
        **_SUMS,
    }
    tree = {"tree": reference("SessionAgent")}
    return {
        "SessionSummary": struct({**summary, **tree}, "A session; times are seconds.", optional=("tree",)),
        "Sessions": struct({"sessions": array(reference("SessionSummary")), "total": INTEGER, **_REPLIES}),
        "Session": struct({**summary, **tree, **_REPLIES}, "A session with the tree of its agents."),
        "SessionAgent": _agent(),
        "SessionCall": _call(),
        "SessionReceipt": _receipt(),
    }


def _agent() -> Schema:
    return struct(
        {
            "agent": nullable(STRING),
            "stopped": BOOLEAN,
            **_SUMS,
            "calls_in_flight": array(reference("SessionCall")),
            "calls_ended": array(reference("SessionCall")),
            "agents": array(reference("SessionAgent")),
        },
        "One agent, and those that it has started. The one that the session begins with has no name.",
    )


def _call() -> Schema:
    return struct(
        {
            "id": STRING,
            "agent": nullable(STRING),
            "worker": INTEGER,
            "method": STRING,
            "route": STRING,
            "provider": nullable(STRING),
            "model": nullable(STRING),
            "started": DATE_TIME,
            "seconds": NUMBER,
            "phase": nullable({"enum": list(get_args(Phase))}),
            "status": nullable(INTEGER),
            "outcome": nullable({"enum": list(get_args(Outcome))}),
            "error": nullable(STRING),
            "input_tokens": nullable(INTEGER),
            "output_tokens": nullable(INTEGER),
            "cost_usd": nullable(NUMBER),
        },
        "One call; it is in flight if it has no `outcome`, and has ended if it has no `phase`.",
    )


def _receipt() -> Schema:
    return struct(
        {
            "id": STRING,
            "agent": nullable(STRING),
            "state": {"enum": ["stopped"]},
            "known": BOOLEAN,
            "stopped_until": DATE_TIME,
            "calls": INTEGER,
            "agents": INTEGER,
            "ended": array(reference("SessionCall")),
            **_REPLIES,
        },
        "What a stop has ended. `known`: calls of the session have been seen here.",
    )
