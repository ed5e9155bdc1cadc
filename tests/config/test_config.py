"""The configuration: defaults, values as people write them, and every problem reported with its key."""

from __future__ import annotations

import base64
import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest

from lakehouse.config import (
    Address,
    Config,
    ConfigError,
    Loaded,
    find_file,
    load_config,
    parse_config,
    values,
    warehouse_values,
)
from lakehouse.config.document import decode_config, encode_config
from lakehouse.config.urls import BaseURL

ROOT = Path(__file__).parents[2]


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(tomllib.loads(text))
    return caught.value.problems


def test_the_shipped_file_names_every_key_with_its_default() -> None:
    document = tomllib.loads((ROOT / "conf/lakehouse.toml").read_text())
    loaded = parse_config(document)
    config = loaded.config
    assert config == Config()
    assert loaded.warnings == ()

    def keys(table: object, path: str = "") -> set[str]:
        found = set()
        for name in getattr(table, "__dataclass_fields__", ()):
            inner = keys(getattr(table, name), f"{path}{name}.")
            found |= inner or {f"{path}{name}"}
        return found

    def written(table: dict[str, object], path: str = "") -> set[str]:
        found = set()
        for name, value in table.items():
            found |= written(value, f"{path}{name}.") if isinstance(value, dict) and value else {f"{path}{name}"}
        return found

    assert written(document) == keys(Config())


def test_an_empty_file_is_the_defaults() -> None:
    assert parse_config({}) == Loaded(config=Config())
    config, warnings = parse_config({"elsewhere": {}})
    assert config == Config()
    assert ["elsewhere" in warning for warning in warnings] == [True]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[gateway]\nstoraged_url = "127.0.0.1:3211"', 'gateway.storaged_url must include scheme and host (got "127.0.0.1:3211")'),
        ('[gateway]\nstoraged_url = ""', 'gateway.storaged_url must include scheme and host (got "")'),
        ('[gateway]\nqueryd_url = "http://"', 'gateway.queryd_url must include scheme and host (got "http://")'),
        ('[gateway]\nqueryd_url = "localhost"', 'gateway.queryd_url must include scheme and host (got "localhost")'),
        ('[gateway]\nqueryd_url = "ftp://x"', 'gateway.queryd_url must have the scheme http or https (got "ftp://x")'),
        ('[gateway]\nqueryd_url = "http://x:99999"', "gateway.queryd_url is not a URL: Port out of range 0-65535"),
        ('[gateway]\nqueryd_url = "http://x?y=1"', "gateway.queryd_url must not have a query or fragment"),
        ("[gateway]\nqueryd_url = 3", "gateway.queryd_url must include scheme and host (got 3)"),
        ('[gateway]\nstored_url = "x"', "gateway.stored_url is not a known key (did you mean storaged_url?)"),
        ('[gateway]\nbind = "3110"', 'gateway.bind must be "HOST:PORT"'),
        ('[gateway]\nbind = "::1:80"', 'gateway.bind must be "HOST:PORT"'),
        ('[gateway]\nbind = "h:70000"', 'gateway.bind must be "HOST:PORT" with a port from 0 to 65535'),
        ("[gateway]\nmax_connections = 0", "gateway.max_connections must be at least 1 (got 0)"),
        ('[gateway]\nconnect_timeout = "5 parsecs"', "gateway.connect_timeout must be a number of seconds or a duration"),
        ("[gateway]\nconnect_timeout = 0", "gateway.connect_timeout must be longer than zero (got 0)"),
        ("[gateway]\nconnect_timeout = -1", "gateway.connect_timeout must be a number of seconds or a duration"),
        ("[gateway]\nconnect_timeout = nan", "gateway.connect_timeout must be a number of seconds or a duration"),
        ("[gateway]\nconnect_timeout = true", "gateway.connect_timeout must be a number of seconds or a duration"),
        ('[gateway]\ntrusted_proxies = ["10.0.0.1/8"]', "gateway.trusted_proxies must be a list of networks: 10.0.0.1/8 has host bits"),
        ("[chatd]\nthink = 1", "chatd.think must be true or false (got 1)"),
        ('[chatd]\ndefault = "openai"', 'chatd.default must be one of "ollama", "local" (got "openai")'),
        ('[chatd]\nmax_body = "8 parsecs"', "chatd.max_body must be a number of bytes above zero or a size"),
        ('[chatd]\nmax_body = "0MB"', "chatd.max_body must be a number of bytes above zero or a size"),
        ('[chatd]\nbind = "127.0.0.1:3110"', "chatd.bind must differ from gateway.bind (both are 127.0.0.1:3110)"),
        ('[ollama]\nbind = "127.0.0.1:3110"', "ollama.bind must differ from gateway.bind (both are 127.0.0.1:3110)"),
        ('[chatd]\nbind = "h:1"\n[ollama]\nbind = "h:1"', "ollama.bind must differ from chatd.bind (both are h:1)"),
        ('[ollama]\nbind = "127.0.0.1:11434"', "chatd.ollama_url leads to ollama.bind (127.0.0.1:11434): set it to the"),
        ('[ollama]\nbind = ":11434"', "chatd.ollama_url leads to ollama.bind (0.0.0.0:11434)"),
        ('[gateway]\nchatd_url = "http://h:1"\n[ollama]\nbind = "h:2"', "ollama.bind needs the chat group in this process"),
        ('[ollama]\nallow = ["everybody"]', "ollama.allow must be a list of networks"),
        ("[ollama]\ncontext_length = 0", "ollama.context_length must be at least 1 (got 0)"),
        ('[chatd.kimi]\nwire = "morse"', 'chatd.kimi.wire must be one of "messages", "chat" (got "morse")'),
        ('[chatd.policy]\nretries = "2"', 'chatd.policy.retries must be a whole number (got "2")'),
        ("[chatd.policy]\nretries = -1", "chatd.policy.retries must be at least 0 (got -1)"),
        ('[chatd.policy]\non_disconnect = "wait"', 'chatd.policy.on_disconnect must be "cancel" or a duration'),
        ('[chatd.opencode.endpoints]\nm = "soap"', "chatd.opencode.endpoints does not fit"),
        ("[chatd]\nlocal = 3", "chatd.local must be a table (got 3)"),
        ("[models]\nfast = []", "models.fast must be a model's name or a list of names (got [])"),
        ('[models]\nfast = ["a", ""]', "models.fast must be a model's name or a list of names"),
        ('[models]\nfast = "fast"', "models.fast must not name itself"),
        ('[models]\na = "x"\nb = ["a"]', "models.b names the tier a: a tier holds models"),
        ('[server]\ncertfile = "x.pem"', "server.keyfile must be set as well"),
        ('[auth]\nallow = ["everybody"]', "auth.allow must be a list of networks"),
        ("gateway = 3", "gateway must be a table (got 3)"),
    ],
)  # fmt: skip
def test_a_problem_names_its_key(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(problem)


def test_all_problems_are_reported_together() -> None:
    found = problems(
        '[gateway]\nstoraged_url = "x"\nbind = 1\n[chatd.policy]\nretires = 2\n[models]\na = 3\n[auth]\nallow = 1'
    )
    assert [problem.split()[0] for problem in found] == [
        "gateway.storaged_url",
        "gateway.bind",
        "chatd.policy.retires",
        "models.a",
        "auth.allow",
    ]


def test_foreign_tables_are_ignored_with_one_warning() -> None:
    loaded = parse_config({"validatord": {"anything": 1}, "s3": {}, "models": {"fast": "m"}})
    assert loaded.config.models == {"fast": ("m",)}
    assert loaded.warnings == ("tables that are not ours are ignored: s3, validatord",)


FORMER_DAEMONS = """
[storaged]
bind = ":3211"
[catalogd]
bind = ":3212"
storaged_url = "http://127.0.0.1:3211"
[ingestd]
storaged_url = "http://127.0.0.1:3211"
catalogd_url = "http://127.0.0.1:3212"
max_ingest_bytes = 268435456
[queryd]
catalogd_url = "http://127.0.0.1:3212"
refresh_every = "30s"
[vectord]
storaged_url = "http://127.0.0.1:3211"
[embedd]
provider_url = "http://127.0.0.1:11434"
default_model = "nomic-embed-text"
cache_size = 10000
[pathwayd]
persist_path = ""
[matrixd]
embedd_url = "http://127.0.0.1:3216"
vectord_url = "http://127.0.0.1:3215"
[observerd]
persist_path = "/var/lib/lakehouse/observer/ops.jsonl"
"""


def test_the_tables_of_the_former_daemons_are_read_and_what_has_no_effect_is_said_once() -> None:
    config, warnings = parse_config(tomllib.loads(FORMER_DAEMONS))
    assert (config.storaged.bind, config.ingestd.max_ingest_bytes) == (values.Address("0.0.0.0", 3211), 256 * 2**20)
    assert config.embedd.default_model == "nomic-embed-text"
    assert warnings == (
        "keys of the former daemons have no effect here: catalogd.storaged_url, ingestd.storaged_url, ingestd.catalogd_url, queryd.catalogd_url, queryd.refresh_every, vectord.storaged_url, matrixd.embedd_url, matrixd.vectord_url, observerd.persist_path",
    )
    assert problems("[queryd]\nrefresh = 1") == ["queryd.refresh is not a known key (did you mean refresh_every?)"]


@pytest.mark.parametrize(
    ("written", "read"),
    [("50%", "50%"), (" 12.5 % ", "12.5%"), ("100%", "100%"), ("2GB", "2000000000"), (10**9, "1000000000")],
)
def test_memory_is_a_share_or_a_size(written: object, read: str) -> None:
    assert values.memory(written) == read == values.memory(read)


@pytest.mark.parametrize("written", ["0%", "101%", "half", "", 0, True, -5, "-1%", None])
def test_anything_else_is_no_memory(written: object) -> None:
    with pytest.raises(ValueError, match="must be a size such as"):
        values.memory(written)


def test_a_warehouse_is_refused_without_its_password() -> None:
    problem, *_ = problems('[lake]\nwarehouse = "s3://key:secret@bucket/prefix"')
    assert problem.startswith("lake.warehouse must be empty, or a bucket")
    assert problem.endswith('(got "s3://***@bucket/prefix")')


@pytest.mark.parametrize("written", ["s3://b", "s3://", "s3://Bucket", "s3://bucket//a", "s3://bucket/a b", "/data", 3])
def test_anything_else_is_no_warehouse(written: object) -> None:
    with pytest.raises(ValueError, match="must be empty, or a bucket"):
        warehouse_values.warehouse(written)


def test_a_warehouse_and_a_catalog_need_each_other() -> None:
    [problem] = problems('[lake]\nwarehouse = "s3://bucket"')
    assert problem.startswith("lake.catalog must be set as well")
    [problem] = problems('[lake]\ncatalog = "postgresql://h/d"')
    assert problem.startswith("lake.warehouse must be set as well")


def test_traces_that_services_share_need_a_warehouse_and_operations_do_not() -> None:
    [problem] = problems('[pathwayd]\nstore = "postgresql://h/d"')
    assert problem.startswith("pathwayd.store needs lake.warehouse")
    [problem] = problems('[observerd]\nstore = "mysql://me:secret@h/d"')
    assert problem.startswith('observerd.store must be empty, or a database as in "postgresql://user@host/lake"')
    assert "secret" not in problem
    tables = '[lake]\nwarehouse = "s3://bucket"\ncatalog = "postgresql://h/d"\n[pathwayd]\nstore = "postgresql://me:word@h/d"'
    table = decode_config(encode_config(parse_config(tomllib.loads(tables)).config)).pathwayd
    assert isinstance(table.store, BaseURL)
    assert (str(table.store), table.store.authorization[:6]) == ("postgresql://h/d", "Basic ")


def test_the_password_of_a_catalog_is_kept_apart_and_arrives_in_another_process() -> None:
    keys = 'warehouse = "s3://bucket/a/"\ncatalog = "postgresql://me:top%20secret@host:5432/db"'
    table = decode_config(encode_config(parse_config(tomllib.loads(f"[lake]\n{keys}")).config)).lake
    assert (table.warehouse, str(table.catalog)) == ("s3://bucket/a", "postgresql://host:5432/db")
    assert isinstance(table.catalog, BaseURL)
    assert base64.b64decode(table.catalog.authorization.removeprefix("Basic ")) == b"me:top secret"


@pytest.mark.parametrize(
    "written", ["postgresql://h/d", "qdrant+http://h:6333", "qdrant+https://h/base", "chroma+http://h:8000", ""]
)
def test_a_store_of_indexes_is_a_database_or_a_server(written: str) -> None:
    with_password = written.replace("://", "://me:word@")
    table = decode_config(encode_config(parse_config({"vectord": {"store": with_password}}).config)).vectord
    assert str(table.store) == written
    if written:
        assert isinstance(table.store, BaseURL)
        assert base64.b64decode(table.store.authorization.removeprefix("Basic ")) == b"me:word"


@pytest.mark.parametrize("written", ["http://h:6333", "qdrant+ftp://me:word@h", "chroma+", "qdrant+http://h?a=1", 3])
def test_anything_else_is_no_store_of_indexes(written: object) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        warehouse_values.vector_store(written)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("written", ["postgresql://host", "postgresql://host/db?sslmode=off", "mysql://h/d", "x"])
def test_anything_else_is_no_catalog(written: str) -> None:
    with pytest.raises(ValueError, match="must"):
        warehouse_values.catalog(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("7d", 604800.0),
        (5, 5.0),
        (0.25, 0.25),
        ("1.5s", 1.5),
        (0, 0.0),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert values.duration(written) == seconds


@pytest.mark.parametrize(
    ("written", "count"), [("8MB", 8_000_000), ("8MiB", 8 << 20), (10, 10), ("1.5 KB", 1500), ("7", 7)]
)
def test_sizes(written: object, count: int) -> None:
    assert values.size(written) == count


@pytest.mark.parametrize(
    ("written", "read", "loopback"),
    [
        ("127.0.0.1:3110", Address("127.0.0.1", 3110), True),
        ("localhost:0", Address("localhost", 0), True),
        ("[::1]:80", Address("::1", 80), True),
        (":3110", Address("0.0.0.0", 3110), False),
        ("[::]:80", Address("::", 80), False),
        ("gateway.lan:80", Address("gateway.lan", 80), False),
    ],
)
def test_addresses(written: str, read: Address, loopback: bool) -> None:
    assert values.address(written) == read
    assert read.is_loopback is loopback


def test_policy_words_become_values() -> None:
    config = parse_config(
        tomllib.loads(
            '[chatd.policy]\nhedge_after = "2s"\non_disconnect = "10s"\n[auth]\nallow = ["10.0.0.0/8", "::1"]'
        )
    ).config
    assert config.chatd.policy.hedge_after == 2.0
    assert config.chatd.policy.on_disconnect == 10.0
    assert config.auth.allow == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert Config().chatd.policy.hedge_after is None
    assert Config().chatd.policy.on_disconnect is None


def test_a_configuration_can_be_handed_to_another_process() -> None:
    config = parse_config(
        {"models": {"fast": ["a", "b"]}, "chatd": {"opencode": {"endpoints": {"m": "messages"}}}}
    ).config
    assert decode_config(encode_config(config)) == config


def test_the_places_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named, by_variable, here = tmp_path / "a.toml", tmp_path / "b.toml", Path("lakehouse.toml")
    for file in (named, by_variable, here):
        file.write_text("")
    env = {"LAKEHOUSE_CONFIG": str(by_variable)}
    assert find_file(named, env) == named
    assert find_file(None, env) == by_variable
    assert find_file(None, {}) == here
    here.unlink()
    monkeypatch.setattr("lakehouse.config.loader.SYSTEM_FILE", tmp_path / "etc.toml")
    assert find_file(None, {}) is None
    (tmp_path / "etc.toml").write_text("")
    assert find_file(None, {}) == tmp_path / "etc.toml"


@pytest.mark.parametrize(("path", "env"), [("no.toml", {}), (None, {"LAKEHOUSE_CONFIG": "no.toml"})])
def test_a_file_that_was_asked_for_must_exist(path: str | None, env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"there is no file no\.toml"):
        find_file(path, env)


@pytest.mark.parametrize("content", [b"[gateway", b"\xff\xfe", b"[gateway]\nbind = 1\nbind = 2"])
def test_a_file_that_is_no_toml_says_where(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "lakehouse.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file, env={})
    assert str(file) in caught.value.problems[0]
