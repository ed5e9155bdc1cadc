"""Embedded services in the gateway's table: one URL for all of them, with limits and connections of their own."""

from __future__ import annotations

import pytest

from lakehouse.config import GatewayTable, parse_config
from lakehouse.config.values import EMBEDDED, service_url
from lakehouse.gateway.gateway import EMBEDDED_RESPONSE_TIMEOUT, Gateway

NAMES = ["storaged", "catalogd", "vectord", "pathwayd", "matrixd", "observerd", "ingestd", "queryd", "embedd"]


def test_all_nine_are_embedded_by_default_and_each_has_an_upstream_of_its_own() -> None:
    gateway = Gateway(GatewayTable(), embedded_url="unix:/run/services")
    assert list(gateway.upstreams) == NAMES
    assert {upstream.endpoint.address.socket_path for upstream in gateway.upstreams.values()} == {"/run/services"}
    assert len(set(gateway.upstreams.values())) == 9


def test_a_url_is_a_service_elsewhere_with_the_configured_limit() -> None:
    table = parse_config({"gateway": {"queryd_url": "http://127.0.0.1:3214", "response_timeout": "5s"}}).config.gateway
    gateway = Gateway(table, embedded_url="unix:/run/services")
    queryd, ingestd = gateway.upstreams["queryd"].endpoint, gateway.upstreams["ingestd"].endpoint
    assert (queryd.address.port, queryd.response_timeout) == (3214, 5.0)
    assert (ingestd.address.socket_path, ingestd.response_timeout) == ("/run/services", EMBEDDED_RESPONSE_TIMEOUT)


def test_an_embedded_service_needs_a_process_or_an_application() -> None:
    with pytest.raises(ValueError, match="storaged is embedded, and there is no services process"):
        Gateway(GatewayTable())


@pytest.mark.parametrize("written", ["Embedded", "embedded/", "", None, 1])
def test_only_the_word_itself_embeds(written: object) -> None:
    assert service_url("embedded") == EMBEDDED
    with pytest.raises(ValueError, match="must include scheme and host"):
        service_url(written)
