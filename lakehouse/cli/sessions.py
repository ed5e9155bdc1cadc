"""The work of `lakehouse sessions`: lists the sessions of a running service, shows one as a tree, or stops it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from urllib.parse import quote, urlencode

import msgspec

from lakehouse.cli.lake.client import Column
from lakehouse.cli.lake.tables import print_table
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.cli.service_client import ServiceClient, run_with_service
from lakehouse.cli.session_documents import Agent, Call, Receipt, Session, Sessions, format_cost, format_tokens
from lakehouse.cli.style import escape_control_chars
from lakehouse.cli.times import format_seconds

PATH = "/v1/sessions"

_COLUMNS = tuple(
    Column(name=name, type=type_)
    for name, type_ in (
        ("session", ""),
        ("state", ""),
        ("agents", "BIGINT"),
        ("calls", "BIGINT"),
        ("in flight", "BIGINT"),
        ("failed", "BIGINT"),
        ("tokens", "BIGINT"),
        ("cost", "BIGINT"),
        ("age", "BIGINT"),
        ("idle", "BIGINT"),
    )
)


def run(arguments: argparse.Namespace) -> int:
    """List, show or stop. Returns 1 for a session that is not known, 2 for arguments that do not fit together."""
    if (problem := _find_problem(arguments)) is not None:
        write_diagnostic(f"lakehouse sessions: {problem}")
        return 2
    work = {"list": _list, "show": _show, "stop": _stop}[arguments.action]
    return run_with_service("sessions", arguments, partial(work, arguments))


def _find_problem(arguments: argparse.Namespace) -> str | None:
    if arguments.action == "list" and arguments.id is not None:
        return "a list takes no ID"
    if arguments.action != "list" and not arguments.id:
        return f"{arguments.action} needs the ID of a session"
    if arguments.agent is not None and arguments.action != "stop":
        return "--agent is for stop"
    return None


async def _list(arguments: argparse.Namespace, service: ServiceClient) -> int:
    body = await service.call("GET", f"{PATH}?limit={arguments.limit}")
    listed = msgspec.json.decode(body, type=Sessions)
    if arguments.json:
        write_output(body.decode())
    elif listed.sessions:
        print_table(_COLUMNS, [_row(session) for session in listed.sessions])
        if (more := listed.total - len(listed.sessions)) > 0:
            write_output(f"{more} more")
    else:
        write_output("no session is known: no request has named one, by x-session-id for example")
    return 0


async def _show(arguments: argparse.Namespace, service: ServiceClient) -> int:
    body = await service.call("GET", f"{PATH}/{quote(arguments.id, safe='')}")
    session = msgspec.json.decode(body, type=Session)
    if arguments.json:
        write_output(body.decode())
    else:
        for line in describe_session(session):
            write_output(escape_control_chars(line, sys.stdout))
    return 0


async def _stop(arguments: argparse.Namespace, service: ServiceClient) -> int:
    body = await stop_session(service, arguments.id, arguments.agent)
    receipt = msgspec.json.decode(body, type=Receipt)
    write_output(body.decode() if arguments.json else receipt.describe())
    return 0 if receipt.known and not receipt.silent else 1


async def stop_session(service: ServiceClient, session: str, agent: str | None = None) -> bytes:
    """Stop a session, or one agent of it: the receipt."""
    query = f"?{urlencode({'agent': agent})}" if agent else ""
    return await service.call("DELETE", f"{PATH}/{quote(session, safe='')}{query}")


def _row(session: Session) -> tuple[str, ...]:
    return (
        session.id,
        session.state,
        str(session.agents),
        str(session.calls),
        str(session.in_flight),
        str(session.failed),
        format_tokens(session.input_tokens + session.output_tokens),
        format_cost(session.cost_usd),
        format_seconds(session.age),
        "" if session.in_flight else format_seconds(session.idle),
    )


def describe_session(session: Session) -> Iterator[str]:
    """The session, its agents below each other, and the calls of each: the last that ended, then those in flight."""
    facts = [session.state, f"{session.calls} calls", f"{session.in_flight} in flight", f"{session.failed} failed"]
    facts += [f"{session.refused} refused"] if session.refused else []
    yield f"{session.id}: {', '.join([*facts, *_spent(session)])}, {format_seconds(session.age)}"
    if session.reason:
        yield f"  {session.reason}"
    for depth, agent in [] if session.tree is None else session.tree.iterate():
        indent = "  " * (depth + 1)
        if agent.agent is not None:
            stopped = ", stopped" if agent.stopped else ""
            facts = [f"{agent.calls} calls", f"{agent.in_flight} in flight", *_spent(agent)]
            yield f"{indent}{agent.agent}: {', '.join(facts)}{stopped}"
        for call in (*agent.calls_ended, *agent.calls_in_flight):
            yield f"{indent}  {_describe_call(call)}"


def _spent(counted: Session | Agent) -> list[str]:
    tokens = counted.input_tokens + counted.output_tokens
    return [*([f"{format_tokens(tokens)} tokens"] if tokens else []), *filter(None, [format_cost(counted.cost_usd)])]


def _describe_call(call: Call) -> str:
    state = call.phase if call.outcome is None else call.error or call.outcome
    what = " ".join(filter(None, [call.method, call.route, call.model or ""]))
    status = f" {call.status}" if call.status and call.outcome is not None else ""
    return f"{what}: {state}{status}, {format_seconds(call.seconds)}"
