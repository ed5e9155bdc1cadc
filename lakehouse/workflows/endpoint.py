"""The routes of workflows: POST of a run, GET of the modes."""

from __future__ import annotations

import msgspec

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import BodyLimits
from lakehouse.asgi.json_body import receive_json
from lakehouse.asgi.middleware.sessions import join_session
from lakehouse.asgi.responses import json_response
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.chat.api.protocols import Dispatcher
from lakehouse.core.context import RequestContext
from lakehouse.core.session_identity import convert_field
from lakehouse.workflows.graph import Node, Workflow
from lakehouse.workflows.modes import DataServices, make_modes
from lakehouse.workflows.runner import NodeResult, WorkflowRunner, describe

BODY_LIMITS = BodyLimits(max_size=4 * 1024 * 1024, max_size_key="4 MiB for a workflow")


class WorkflowEndpoint:
    """The applications of both routes, inside of `RequestLifetimeMiddleware`."""

    def __init__(self, runner: WorkflowRunner) -> None:
        self._runner = runner

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST: run the workflow of the body, and answer with the end of each node."""
        workflow = await receive_json(scope, receive, Workflow, BODY_LIMITS)
        join_session(scope, convert_field(workflow.session))
        context = request_scope.get(scope).context
        context.begin_step("running")
        result = await self._runner.run(workflow, context=context)
        await json_response(msgspec.to_builtins(result)).send_to(send)

    async def list_modes(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """GET: the names of the modes."""
        await json_response({"modes": list(self._runner.modes)}).send_to(send)


def make_workflow_endpoint(
    dispatcher: Dispatcher, services: DataServices, default_model: str | None
) -> WorkflowEndpoint:
    """The endpoint over a dispatcher and the data services, which record the end of each node."""

    async def record(workflow: Workflow, node: Node, result: NodeResult, context: RequestContext) -> None:
        operation = describe(workflow, node, result)
        await services.call("observerd", "POST", "/observer/event", operation, context=context)

    return WorkflowEndpoint(WorkflowRunner(make_modes(dispatcher, services, default_model), record))
