"""The passwords and tokens of SQL engines: where they come from, and that texts do not have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.core.errors import ErrUpstream
from lakehouse.services.engines.remote.secrets import Secrets, SecretSource


def test_the_file_comes_before_the_environment_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "engines.env"
    file.write_text("TRINO_TOKEN=first\n")
    source = SecretSource("trino", str(file), {"TRINO_TOKEN": "outer", "TRINO_PASSWORD": "word"})
    assert source.load() == Secrets("word", "first")
    file.write_text("TRINO_TOKEN=the second\n")
    assert source.load() == Secrets("word", "the second")


def test_a_file_that_cannot_be_read_is_named_by_its_key(tmp_path: Path) -> None:
    source = SecretSource("spark", str(tmp_path / "absent.env"), {"SPARK_TOKEN": "outer"})
    with pytest.raises(ErrUpstream, match=r"queryd\.key_file .*absent\.env cannot be read"):
        source.load()


def test_a_text_of_the_server_is_shown_without_secrets() -> None:
    secrets = Secrets("pass-word", "abc")
    assert secrets.redact("user:pass-word at abc") == "user:*** at abc"
    assert "pass-word" not in repr(secrets)
