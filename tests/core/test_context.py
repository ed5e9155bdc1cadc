"""The context of a request: what its methods record, what it shows, and that nothing else writes to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.attempts import AttemptRecord
from lakehouse.core.context import Phase, RequestContext
from lakehouse.core.errors import Attempt, ErrNotFound, ErrUpstream
from lakehouse.core.trace_context import Trace

ROOT = Path(__file__).parents[2]
FIELDS = frozenset(RequestContext.__struct_fields__)


def make(**facts: object) -> RequestContext:
    return RequestContext(**{"id": "r-1", "method": "POST", "path": "/v1/chat", "started": 100.0, **facts})  # type: ignore[arg-type]


def targets(node: ast.AST) -> Iterator[ast.expr]:
    """What a statement assigns to."""
    given = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in given:
        yield from target.elts if isinstance(target, ast.Tuple) else [target]


def assignments(file: Path) -> Iterator[str]:
    """Assignments to an attribute of a variable or attribute whose name ends in `context`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            for target in targets(node):
                if isinstance(target, ast.Attribute) and target.attr in FIELDS:
                    owner = target.value
                    name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
                    if name.endswith("context"):
                        yield f"{file.relative_to(ROOT)}:{node.lineno}: {name}.{target.attr}"


def test_a_context_is_written_to_by_its_methods_alone() -> None:
    found = [line for file in sorted((ROOT / "lakehouse").rglob("*.py")) for line in assignments(file)]
    assert found == []


def test_the_search_finds_what_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "context.phase = 1\nself._context.usage, x = 1, 2\ncall.context.attempt_count += 1\nother.phase = 1\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert [line.rpartition(" ")[2] for line in assignments(file)] == [
        "context.phase",
        "_context.usage",
        "context.attempt_count",
    ]


def test_a_relayed_request() -> None:
    context = make()
    context.begin_relay("/v1/sql", "queryd")
    for phase in get_args(Phase):
        context.begin_phase(phase)
    context.record_first_piece(100.2)
    context.add_upstream_time(0.25)
    context.record_response_status(200)
    context.finish("answered")
    context.close(100.3)
    assert (context.route, context.upstream, context.attempt_count, context.attempts) == ("/v1/sql", "queryd", 1, ())
    assert (context.status, context.outcome, context.error, context.ended) == (200, "answered", None, 100.3)
    assert (context.first_piece, context.upstream_seconds) == (100.2, 0.25)


def test_attempts_are_counted_listed_and_shown() -> None:
    context = make()
    context.assign_provider("kimi", "k2")
    first = context.record_attempt("kimi", "k2", now=100.0)
    first.ended, first.status, first.error = 100.5, 529, "overloaded"
    second = context.record_attempt("ollama", "q", now=100.5, why="fallback")
    unknown = context.record_attempt("ollama", "q", now=100.6, why="retry")
    unknown.error = "ErrBadRequest"  # a code, where a list of attempts has classes
    assert context.attempts == (first, second, unknown)
    assert context.list_attempts(abandoned_as="timeout") == (
        Attempt(provider="kimi", model="k2", status=529, error="overloaded", ms=500.0),
        Attempt(provider="ollama", model="q", error="timeout"),
        Attempt(provider="ollama", model="q", error="timeout"),
    )
    shown = context.describe(101.0)
    assert (shown["attempt_count"], shown["upstream"], shown["provider"], shown["model"]) == (3, "kimi", "kimi", "k2")
    assert shown["attempts"] == [
        {"upstream": "kimi", "model": "k2", "why": "first", "age": 0.5, "running": False, "status": 529, "error": "overloaded"},
        {"upstream": "ollama", "model": "q", "why": "fallback", "age": 0.5, "running": True, "status": None, "error": None},
        {"upstream": "ollama", "model": "q", "why": "retry", "age": 0.4, "running": True, "status": None, "error": "ErrBadRequest"},
    ]  # fmt: skip
    assert isinstance(first, AttemptRecord)


def test_the_deadline_is_shortened_restored_and_lifted() -> None:
    context = make()
    assert (context.deadline, context.describe(100.0)["time_left"]) == (inf, None)
    context.set_timeout(30.0)
    assert context.deadline == 130.0
    before = context.shorten_deadline(110.0)
    assert (before, context.deadline, context.describe(101.5)["time_left"]) == (130.0, 110.0, 8.5)
    assert context.shorten_deadline(120.0) == 110.0  # a later one changes nothing
    assert context.deadline == 110.0
    context.restore_deadline(before)
    assert context.deadline == 130.0
    context.lift_deadline()
    assert context.deadline == inf


def test_the_first_cause_of_a_failure_is_kept() -> None:
    context = make()
    context.record_error(ErrUpstream("no", error_class="overloaded"))
    context.fail(ErrNotFound("no"), "failed")
    assert (context.error, context.outcome) == ("overloaded", "failed")
    context.replace_error(ErrNotFound("no"))
    assert context.error == "ErrNotFound"


def test_the_client_is_asked_until_the_end() -> None:
    context, client = make(), SimpleNamespace(disconnected=False)
    context.watch_client(client)
    seen = [context.client_disconnected]
    client.disconnected = True
    seen.append(context.client_disconnected)
    context.close(101.0)
    seen.append(context.client_disconnected)  # the connection is not kept
    assert seen == [False, True, False]
    assert not make().client_disconnected


def test_changed_fields_are_named_once() -> None:
    context = make()
    context.record_request_changes(left_out=["seed"], adjusted=[])
    context.record_request_changes(left_out=["seed", "top_k"], adjusted=["effort"])
    assert (context.left_out, context.adjusted) == (("seed", "top_k"), ("effort",))


@pytest.mark.parametrize("with_content", [False, True])
def test_a_traced_request_names_its_spans(with_content: bool) -> None:
    context = make()
    assert context.traceparent() is None
    context.begin_trace(Trace(trace_id=1, span_id=2), with_content=with_content)
    record = context.record_attempt("kimi", "k2", now=100.0)
    header = context.traceparent(record)
    assert header == b"00-%032x-%016x-01" % (1, record.span_id)
    assert context.traceparent(record) == header
    assert context.traceparent() != header
    assert (context.content is not None) is with_content


def test_the_active_requests_are_those_that_were_added_and_not_removed() -> None:
    requests, one, other = ActiveRequests(), make(), make()
    requests.add(one)
    requests.add(other)
    for context in requests:  # over a copy
        requests.remove(context)
    requests.remove(one)
    assert (len(requests), list(requests)) == (0, [])
    requests.add(one)
    assert list(requests) == [one]
