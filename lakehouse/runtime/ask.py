"""The ask of the service: over the dispatcher and the services behind the gateway."""

from __future__ import annotations

from functools import partial

from lakehouse.asgi.lazy import LazyApp
from lakehouse.asgi.types import App
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.config import Config
from lakehouse.core.errors import ErrNotImplemented
from lakehouse.gateway.gateway import Gateway
from lakehouse.runtime.data_services import UnavailableService
from lakehouse.runtime.dependency_status import find_embedded_model

ASK_PATH = "/v1/ask"


def make_ask_app(dispatcher: ServiceDispatcher, gateway: Gateway, config: Config) -> App:
    """The application for POST on `ASK_PATH`. It answers 501 if the chat group runs in another process."""
    if config.gateway.chatd_url:
        message = "an ask needs the chat group in this process: leave gateway.chatd_url empty"
        return UnavailableService(ErrNotImplemented(message))
    return LazyApp(partial(_load_ask, dispatcher, gateway, config))


def _load_ask(dispatcher: ServiceDispatcher, gateway: Gateway, config: Config) -> App:
    from lakehouse.ask.asker import Asker  # 6 ms, which a service without questions need not spend
    from lakehouse.ask.endpoint import AskEndpoint

    limits = config.chatd
    asker = Asker(dispatcher, gateway.calls, timeout=limits.timeout, default_model=choose_default_model(config))
    return AskEndpoint(asker, max_body=limits.max_body, timeout=limits.timeout, idle_timeout=limits.idle_timeout)


def choose_default_model(config: Config) -> str | None:
    """The model of an ask that names none: the first tier, else the embedded model, else None."""
    return next(iter(config.models), None) or find_embedded_model(config)
