"""The keys of the SQL engines: which of them are configured, and what is wrong with them."""

from __future__ import annotations

import pytest

from lakehouse.config import ConfigError, parse_config
from lakehouse.config.document import decode_config, encode_config
from lakehouse.config.query_engine_tables import list_engines


def test_an_engine_with_a_url_is_configured() -> None:
    trino = {"url": "https://u:p%40ss@trino.internal:8443/", "session": {"query_priority": 1, "spill_enabled": True}}
    config, _ = parse_config({"queryd": {"engine": "trino", "trino": trino}})
    assert list_engines(config.queryd) == ("trino", "duckdb")
    assert config.queryd.trino.url == "https://trino.internal:8443"
    assert config.queryd.trino.session == {"query_priority": "1", "spill_enabled": "true"}
    assert decode_config(encode_config(config)) == config
    assert list_engines(parse_config({}).config.queryd) == ("duckdb",)


@pytest.mark.parametrize(
    ("queryd", "problem"),
    [
        ({"engine": "trino"}, 'queryd.trino.url must be set as well: queryd.engine is "trino"'),
        ({"engine": "presto"}, "queryd.engine must be one of"),
        ({"trino": {"url": "trino:8080"}}, "queryd.trino.url must include scheme and host"),
        ({"trino": {"user": "a:b"}}, "queryd.trino.user must be a name of ASCII characters without a colon"),
        ({"trino": {"session": {"a=b": 1}}}, 'queryd.trino.session has the property "a=b"'),
        ({"trino": {"session": {"a": []}}}, "queryd.trino.session must have a string, a number, true or false"),
        ({"spark": {"url": "http://spark:15002"}}, "queryd.spark.url must have a host and a port"),
        ({"spark": {"url": "sc://spark:15002/;token=s3cret"}}, "queryd.spark.url must have no user and no secret"),
        ({"flightsql": {"url": "grpc://u:p@h:1"}}, "queryd.flightsql.url must have no user and no secret"),
    ],
)
def test_what_is_wrong_with_a_key(queryd: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"queryd": queryd})
    assert any(found.startswith(problem) for found in caught.value.problems), caught.value.problems
    assert "s3cret" not in str(caught.value)
