"""What we rely on in Hypercorn and Quart-Trio. A change there is to be noticed here, not in production."""

from __future__ import annotations

import inspect

from hypercorn.config import Config
from quart import Quart
from quart.asgi import ASGIHTTPConnection
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection

from lakehouse.chat.api.application import ChatConnection


def test_quart_trio_offers_its_connection_class_as_the_seam() -> None:
    assert QuartTrio.asgi_http_class is TrioASGIHTTPConnection
    assert issubclass(ChatConnection, TrioASGIHTTPConnection)
    for name in ("handle_messages", "handle_request", "_send_response", "_create_request_from_scope"):
        assert callable(getattr(TrioASGIHTTPConnection, name)), name
    assert list(inspect.signature(ASGIHTTPConnection.__init__).parameters) == ["self", "app", "scope"]


def test_quart_limits_time_and_bodies_where_we_switch_it_off() -> None:
    for name in ("RESPONSE_TIMEOUT", "BODY_TIMEOUT", "MAX_CONTENT_LENGTH"):
        assert name in Quart(__name__).config, name


def test_hypercorn_makes_our_tls_context() -> None:
    config = Config()
    assert config.create_ssl_context() is None
    for name in ("certfile", "keyfile", "alpn_protocols"):
        assert hasattr(config, name), name
