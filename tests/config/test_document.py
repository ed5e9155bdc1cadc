"""A configuration crosses to another process as JSON, and nothing of it is lost or changed."""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from lakehouse.config import Config, ConfigError, parse_config
from lakehouse.config.document import decode_config, encode_config
from lakehouse.config.urls import BaseURL

EVERYTHING = """
[gateway]
bind = "[::1]:0"
storaged_url = "https://user:p%40ss%2dword@storage.example:444/base/"
chatd_url = "http://127.0.0.1:1"
response_timeout = "500ms"
trusted_proxies = ["10.0.0.0/8", "::1"]
[chatd]
bind = ":3220"
ollama_url = ""
max_body = "1MiB"
[chatd.local]
model = "/models/a model.gguf"
[chatd.openrouter]
title = "x"
[chatd.opencode.endpoints]
m = "messages"
[chatd.policy]
hedge_after = "2s"
on_cut = "resume"
on_disconnect = "10s"
[auth]
allow = ["192.168.0.1"]
origins = ["https://app.example"]
[server]
drain_timeout = 0
[observe]
log = "json"
trace_ratio = 0.25
[lake]
path = "/srv/a lake"
start = "eager"
memory = "25%"
engines = 3
retention = "1d"
[storaged]
bind = ":0"
max_put = 5
[queryd]
refresh_every = "30s"
[models]
fast = ["a", "b"]
slow = "c"
"""


@pytest.mark.parametrize("text", ["", EVERYTHING, (Path(__file__).parents[2] / "conf/lakehouse.toml").read_text()])
def test_a_configuration_is_the_same_on_the_other_side(text: str) -> None:
    config = parse_config(tomllib.loads(text)).config
    assert decode_config(encode_config(config)) == config


def test_the_credentials_of_a_url_cross_with_it() -> None:
    config = parse_config(tomllib.loads(EVERYTHING)).config
    given, handed = config.gateway.storaged_url, decode_config(encode_config(config)).gateway.storaged_url
    assert isinstance(given, BaseURL)
    assert isinstance(handed, BaseURL)
    assert (handed, handed.authorization, handed.secrets) == (given, given.authorization, given.secrets)
    assert "word" not in handed
    assert given.authorization


def test_credentials_for_the_default_url_cross_as_well() -> None:
    """As text the URL is the default."""
    config = parse_config({"chatd": {"ollama_url": "http://user:password@127.0.0.1:11434"}}).config
    assert config == Config()
    handed = decode_config(encode_config(config)).chatd.ollama_url
    assert isinstance(handed, BaseURL)
    assert handed.authorization == "Basic dXNlcjpwYXNzd29yZA=="


def test_the_defaults_are_no_part_of_the_document() -> None:
    assert encode_config(Config()) == b"{}"


def test_what_no_configuration_can_say_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gateway\.storaged_url must include scheme and host"):
        decode_config(b'{"gateway": {"storaged_url": "nowhere"}}')


def test_a_field_that_may_be_none_is_none_by_default() -> None:
    """None is left out of the document, so it must be what the reader puts in its place."""

    def check(table: object) -> None:
        for field in fields(table):  # type: ignore[arg-type]
            value = getattr(table, field.name)
            if is_dataclass(value):
                check(value)
            elif "None" in str(field.type):
                assert value is None, field.name

    check(Config())
