"""The workflows of the service: over the dispatcher and the services behind the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lakehouse.asgi.lazy import LazyApp
from lakehouse.asgi.router import Methods, Route
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.config import Config
from lakehouse.gateway.gateway import Gateway
from lakehouse.runtime.ask import choose_default_model
from lakehouse.services.host.names import embedded_services

if TYPE_CHECKING:
    from lakehouse.workflows.endpoint import WorkflowEndpoint

RUN_PATH = "/v1/observer/workflow/run"
MODES_PATH = "/v1/observer/workflow/modes"


def workflow_routes(dispatcher: ServiceDispatcher, gateway: Gateway, config: Config) -> Sequence[Route]:
    """The routes of workflows. An observerd at a URL has its own, and they are left to it."""
    if not has_workflows(config):
        return ()
    load = partial(_load_endpoint, dispatcher, gateway, config)
    return (
        Route(RUN_PATH.encode(), Methods(POST=LazyApp(lambda: load().run))),
        Route(MODES_PATH.encode(), Methods(GET=LazyApp(lambda: load().list_modes))),
    )


def _load_endpoint(dispatcher: ServiceDispatcher, gateway: Gateway, config: Config) -> WorkflowEndpoint:
    from lakehouse.workflows.endpoint import make_workflow_endpoint  # 5 ms, for few requests

    return make_workflow_endpoint(dispatcher, gateway.calls, choose_default_model(config))


def has_workflows(config: Config) -> bool:
    """Whether this process runs workflows: it has the chat group, and observerd is embedded."""
    return "observerd" in embedded_services(config.gateway) and not config.gateway.chatd_url
