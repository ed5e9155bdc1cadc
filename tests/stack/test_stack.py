"""What we rely on in Hypercorn and Quart-Trio. A change there is to be noticed here, not in production."""

from __future__ import annotations

import inspect

import pytest
from hypercorn.config import Config
from quart import Quart
from quart_trio import QuartTrio

from lakehouse.runtime.quart_app import LakehouseApp

pytestmark = pytest.mark.alone  # measures what Hypercorn does when a client leaves


def test_quart_trio_answers_every_scope_by_the_application_that_we_put_the_router_in_front_of() -> None:
    assert list(inspect.signature(QuartTrio.asgi_app).parameters) == ["self", "scope", "receive", "send"]
    assert issubclass(LakehouseApp, QuartTrio)
    assert LakehouseApp.__call__ is Quart.__call__


def test_quart_limits_time_and_bodies_where_we_switch_it_off() -> None:
    for name in ("RESPONSE_TIMEOUT", "BODY_TIMEOUT", "MAX_CONTENT_LENGTH", "PROPAGATE_EXCEPTIONS"):
        assert name in Quart(__name__).config, name


def test_hypercorn_makes_our_tls_context() -> None:
    config = Config()
    assert config.create_ssl_context() is None
    for name in ("certfile", "keyfile", "alpn_protocols"):
        assert hasattr(config, name), name
