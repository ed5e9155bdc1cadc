"""One run: each node runs as soon as those that it depends on have ended, all of them below the request's scope."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
import trio

from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrTooLarge, LakehouseError
from lakehouse.core.groups import unwrap_single
from lakehouse.core.rfc3339 import format_time
from lakehouse.workflows.graph import Node, Workflow, find_ancestors, order_nodes
from lakehouse.workflows.modes import Mode
from lakehouse.workflows.references import FillError, check_references, fill

logger = logging.getLogger("lakehouse.workflows")

MAX_CONCURRENT = 16
"""Nodes of one run that are at work at the same time."""
MAX_OUTPUTS = 32 * 1024 * 1024
"""Bytes of all outputs of one run as JSON: they are in memory until it has ended, and take several times as much."""
MAX_SUMMARY = 400
"""Characters of a prompt and of an output in the record of a node."""


class NodeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a node. `started_at` is in RFC 3339, None for a node that was skipped."""

    id: str
    status: Literal["success", "failed", "skipped"]
    output: object = None
    error: str | None = None
    started_at: str | None = None
    duration_ms: float = 0.0


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run, with the nodes in their order."""

    name: str
    nodes: Sequence[NodeResult]


Record = Callable[[Workflow, Node, NodeResult, RequestContext], Awaitable[None]]
"""Records the end of a node. Raises LakehouseError, which does not end the run."""


class WorkflowRunner:
    """Runs workflows."""

    def __init__(self, modes: Mapping[str, Mode], record: Record) -> None:
        self.modes = modes
        self._record = record

    async def run(self, workflow: Workflow, *, context: RequestContext) -> RunResult:
        """Run the nodes. A node that fails skips those that depend on it, and no other.

        Raises ErrBadRequest for a graph that cannot be run, before any node is. Cancelled, all nodes have ended.
        """
        nodes = order_nodes(workflow, tuple(self.modes))
        ancestors, names = find_ancestors(nodes), {node.id for node in nodes}
        for node in nodes:
            check_references(node, ancestors[node.id], names)
        run = _Run(workflow, nodes, self.modes, self._record, context)
        return RunResult(name=workflow.name, nodes=await run.run())


class _Run:
    """The state of one run."""

    def __init__(
        self,
        workflow: Workflow,
        nodes: Sequence[Node],
        modes: Mapping[str, Mode],
        record: Record,
        context: RequestContext,
    ) -> None:
        self._workflow = workflow
        self._nodes = nodes
        self._modes = modes
        self._record = record
        self._context = context
        self._limiter = trio.CapacityLimiter(MAX_CONCURRENT)
        self._ended = {node.id: trio.Event() for node in nodes}
        self._results: dict[str, NodeResult] = {}
        self._kept = 0
        """The bytes of the outputs."""

    async def run(self) -> Sequence[NodeResult]:
        try:
            async with trio.open_nursery() as nursery:
                for node in self._nodes:
                    nursery.start_soon(self._run_node, node)
        except BaseExceptionGroup as group:
            raise unwrap_single(group) from None
        return [self._results[node.id] for node in self._nodes]

    async def _run_node(self, node: Node) -> None:
        for name in node.depends_on:
            await self._ended[name].wait()
        failed = next((name for name in node.depends_on if self._results[name].status != "success"), None)
        if failed is not None:
            error = f"the node {failed!r}, on which it depends, {_past(self._results[failed])}"
            result = NodeResult(id=node.id, status="skipped", error=error)
        else:
            async with self._limiter:
                result = await self._call(node)
        self._results[node.id] = result
        self._ended[node.id].set()
        try:
            await self._record(self._workflow, node, result, self._context)
        except LakehouseError as raised:
            logger.warning("the end of the node %s was not recorded: %s", node.id, raised.message)

    async def _call(self, node: Node) -> NodeResult:
        started, began = datetime.now(UTC), trio.current_time()
        output, error = None, None
        try:
            outputs = {name: result.output for name, result in self._results.items() if result.status == "success"}
            prompt, inputs = fill(node.prompt, outputs), fill(node.inputs, outputs)
            text = prompt if isinstance(prompt, str) else msgspec.json.encode(prompt).decode()
            assert isinstance(inputs, dict)  # noqa: S101 - as it was before
            output = self._keep(await self._modes[node.mode](text, inputs, self._context))
        except FillError as unfilled:
            error = str(unfilled)
        except LakehouseError as raised:
            error = f"{raised.code}: {raised.message}"
        except BaseExceptionGroup as group:
            raised_alone = unwrap_single(group)
            if not isinstance(raised_alone, LakehouseError):
                raise
            error = f"{raised_alone.code}: {raised_alone.message}"
        return NodeResult(
            id=node.id,
            status="success" if error is None else "failed",
            output=output,
            error=error,
            started_at=format_time(started),
            duration_ms=round((trio.current_time() - began) * 1000, 3),
        )

    def _keep(self, output: object) -> object:
        """Count an output of a node. Raises ErrTooLarge."""
        size = len(msgspec.json.encode(output))
        if self._kept + size > MAX_OUTPUTS:
            raise ErrTooLarge(f"the outputs of a run may have at most {MAX_OUTPUTS} bytes, with this one of {size}")
        self._kept += size
        return output


def _past(result: NodeResult) -> str:
    return "failed" if result.status == "failed" else "was skipped"


def describe(workflow: Workflow, node: Node, result: NodeResult) -> dict[str, object]:
    """The operation that records the end of a node."""
    output = "" if result.output is None else msgspec.json.encode(result.output).decode()
    operation: dict[str, object] = {
        "endpoint": f"workflow/{workflow.name}/{node.id}" if workflow.name else f"workflow/{node.id}",
        "source": "workflow",
        "event_kind": node.mode,
        "input_summary": node.prompt[:MAX_SUMMARY],
        "output_summary": output[:MAX_SUMMARY],
        "success": result.status == "success",
        "duration_ms": result.duration_ms,
    }
    return operation if result.error is None else {**operation, "error": result.error}
