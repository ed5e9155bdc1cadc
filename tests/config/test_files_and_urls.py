"""Files that people write, paths below a home directory, and URLs with a user and a password in them."""

from __future__ import annotations

import base64
import codecs
import json
import logging
import pwd
from collections.abc import Mapping
from os import getuid
from pathlib import Path

import pytest
import trustme

from lakehouse.asgi.middleware.tokens import Tokens
from lakehouse.chat.providers.keys import find_key
from lakehouse.cli import main
from lakehouse.config import AuthTable, Config, ConfigError, load_config, parse_config, values
from lakehouse.config.document import decode_config, encode_config
from lakehouse.config.files import TextError, decode_text
from lakehouse.config.urls import BaseURL, redact, separate_credentials
from lakehouse.runtime.preflight import preflight
from lakehouse.testing.upstreams import answer_with, open_upstream, respond
from tools.kit.in_process_service import client_of, make_config, open_service
from tools.kit.service_with_providers import HELLO, MODELS, ollama

BOM = codecs.BOM_UTF8.decode()
OTHER = {"UTF-16": ("utf-16-le", "utf-16-be", "utf-16"), "UTF-32": ("utf-32-le", "utf-32-be")}
MARKS = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE, "utf-16": b""} | {
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


class TestByteOrderMarks:
    """A mark at the beginning of a text says how it is encoded, and is no part of it."""

    @pytest.mark.parametrize("text", ["", "a", "é\nb", f"a{BOM}b"])
    def test_it_is_no_content(self, text: str) -> None:
        assert decode_text((BOM + text).encode()) == decode_text(text.encode()) == text

    @pytest.mark.parametrize(("name", "codec"), [(name, codec) for name, codecs_ in OTHER.items() for codec in codecs_])
    def test_another_encoding_is_named(self, name: str, codec: str) -> None:
        with pytest.raises(TextError, match=f"is not UTF-8 text but {name}: save it as UTF-8"):
            decode_text(MARKS[codec] + "[gateway]".encode(codec))

    def test_a_configuration(self, tmp_path: Path) -> None:
        file = tmp_path / "lakehouse.toml"
        file.write_text(f'{BOM}[gateway]\r\nbind = "127.0.0.1:1"\r\n', newline="")
        assert load_config(file, env={}).config.gateway.bind.port == 1

    @pytest.mark.parametrize("codec", ["utf-16", "utf-32-le"])
    def test_a_configuration_in_another_encoding(self, tmp_path: Path, codec: str) -> None:
        file = tmp_path / "lakehouse.toml"
        file.write_bytes(MARKS[codec] + '[gateway]\nbind = "127.0.0.1:1"\n'.encode(codec))
        with pytest.raises(ConfigError) as caught:
            load_config(file, env={})
        assert caught.value.problems == [f"{file} is not UTF-8 text but {codec[:6].upper()}: save it as UTF-8"]

    @pytest.mark.parametrize("line", ["KEY=secret", "export KEY=secret", "KEY='secret'", "KEY = secret  # mine"])
    def test_a_key_file(self, tmp_path: Path, line: str) -> None:
        file = tmp_path / "key.env"
        file.write_text(f"{BOM}{line}\n")
        found = find_key(key_env="KEY", key_file=str(file), env={}).key
        assert found is not None
        assert found.value == "secret"

    def test_a_key_file_in_another_encoding_is_a_warning(self, tmp_path: Path) -> None:
        file = tmp_path / "key.env"
        file.write_text("KEY=secret\n", encoding="utf-16")
        search = find_key(key_env="KEY", key_file=str(file), env={})
        assert search.key is None
        assert search.warning is not None
        assert search.warning.startswith(f"the key file {file} cannot be read: it is not UTF-8 text but UTF-16")

    def test_a_token_file(self, tmp_path: Path) -> None:
        file = tmp_path / "tokens"
        file.write_text(f"{BOM}one\ntwo\n")
        tokens = Tokens.load(AuthTable(token_file=str(file)), {})
        assert tokens.identify(b"Bearer one") is not None
        file.write_text(f"{BOM}# only a comment\ntwo\n")
        assert len(Tokens.load(AuthTable(token_file=str(file)), {})) == 1

    def test_a_token_file_in_another_encoding_stops_the_start(self, tmp_path: Path) -> None:
        file = tmp_path / "tokens"
        file.write_text("one\n", encoding="utf-16")
        with pytest.raises(ConfigError, match=f"{file}: it is not UTF-8 text but UTF-16"):
            Tokens.load(AuthTable(token_file=str(file)), {})

    @pytest.mark.parametrize(("codec", "key"), [("utf-8-sig", None), ("utf-16", "certfile"), ("utf-32", "keyfile")])
    def test_a_certificate_and_its_key(self, tmp_path: Path, codec: str, key: str | None) -> None:
        leaf = trustme.CA().issue_cert("127.0.0.1")
        files = {"certfile": leaf.cert_chain_pems[0].bytes(), "keyfile": leaf.private_key_pem.bytes()}
        for name, content in files.items():
            (tmp_path / name).write_text(content.decode(), encoding=codec if key in (None, name) else "ascii")
        config = make_config(server={name: str(tmp_path / name) for name in files})
        if key is None:
            assert preflight(config, {}).tls is not None
            return
        with pytest.raises(ConfigError) as caught:
            preflight(config, {})
        assert caught.value.problems == [
            f"server.{key} cannot be used: {tmp_path / key} is {codec.upper()} text, and PEM is ASCII"
        ]

    @pytest.mark.parametrize("path", ["/v1/chat", "/v1/chat/completions"])
    async def test_the_body_of_a_chat(self, path: str) -> None:
        body = codecs.BOM_UTF8 + json.dumps({"model": "ollama/m", "messages": HELLO}).encode()
        async with open_upstream(answer_with(respond(ollama()))) as provider:
            async with (
                open_service(make_config(chatd={"ollama_url": provider.url})) as service,
                client_of(service) as client,
            ):
                answer = await client.post(path, content=body)
                only_a_mark = await client.post(path, content=codecs.BOM_UTF8)
                twice = await client.post(path, content=codecs.BOM_UTF8 + body)
                others = [
                    await client.post(path, content=body.decode("utf-8-sig").encode(c)) for c in ("utf-16", "utf-32")
                ]
        assert answer.status_code == 200
        assert len(provider.requests) == 1
        assert (only_a_mark.status_code, twice.status_code) == (400, 400)
        assert "empty" in only_a_mark.text
        assert [answer.status_code for answer in others] == [400, 400]
        assert "the body is not JSON: it is UTF-16, and JSON is sent as UTF-8" in others[0].text
        assert "the body is not JSON: it is UTF-32" in others[1].text


HOME = Path(pwd.getpwuid(getuid()).pw_dir)
USER = pwd.getpwuid(getuid()).pw_name

PATHS = [
    ("auth", "token_file"),
    ("server", "certfile"),
    ("server", "keyfile"),
    ("chatd.local", "model"),
    ("chatd.ollama_cloud", "key_file"),
    ("chatd.openrouter", "key_file"),
    ("chatd.opencode", "key_file"),
    ("chatd.kimi", "key_file"),
]


class TestHomes:
    """`~` is the caller's home directory, `~user` another's."""

    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("HOME", str(tmp_path))
        return tmp_path

    @pytest.mark.parametrize(("table", "key"), PATHS)
    def test_in_every_key_that_is_a_path(self, home: Path, table: str, key: str) -> None:
        document: dict[str, object] = {key: "~/it"}
        for name in reversed(table.split(".")):
            document = {name: document}
        if table == "server":
            document = {"server": {"certfile": "~/it", "keyfile": "~/it"}}
        found: object = parse_config(document).config
        for name in (*table.split("."), key):
            found = getattr(found, name)
        assert found == f"{home}/it"

    @pytest.mark.parametrize(
        ("written", "meant"),
        [("~", "{home}"), ("~/x", "{home}/x"), (f"~{USER}/x", f"{HOME}/x"), ("/~/x", "/~/x"), ("x~", "x~"), ("", "")],
    )
    def test_how_it_is_read(self, home: Path, written: str, meant: str) -> None:
        assert values.path(written) == meant.format(home=home)

    @pytest.mark.parametrize("written", ["~nobody-of-this-name/x", "a\0b", 3])
    def test_what_is_no_path(self, written: object) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_config({"auth": {"token_file": written}})
        assert caught.value.problems[0].startswith("auth.token_file ")

    def test_the_configuration_itself(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (home / "mine.toml").write_text("[gateway]\n")
        assert load_config("~/mine.toml", env={}).path == home / "mine.toml"
        assert load_config(env={"LAKEHOUSE_CONFIG": "~/mine.toml"}).path == home / "mine.toml"
        with pytest.raises(ConfigError, match=f"-c: there is no file {home}/other.toml"):
            load_config("~/other.toml", env={})

    def test_check_shows_it_expanded(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "k.toml").write_text('[chatd.kimi]\nkey_file = "~/kimi.env"\n[chatd.opencode]\nkey_file = "~/o.env"\n')
        (home / "kimi.env").write_text("KIMI_API_KEY=sk-kimi-secret\n")
        assert main(["check", "-c", "~/k.toml"]) == 0
        shown = capsys.readouterr().out
        assert f"configuration  {home}/k.toml" in shown
        assert f"KIMI_API_KEY in {home}/kimi.env" in shown
        assert f"or {home}/o.env" in shown
        assert "~" not in shown

    def test_the_model_of_the_command_line(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["serve", "--model", "~/none.gguf", "--bind", "127.0.0.1:0"]) == 1
        assert f"{home}/none.gguf" in capsys.readouterr().err


def basic(user: bytes) -> str:
    return f"Basic {base64.b64encode(user).decode()}"


CREDENTIALS = {
    "http://user:pa%73s@h:1": ("http://h:1", b"user:pass"),
    "http://user@h": ("http://h", b"user:"),
    "http://user:@h": ("http://h", b"user:"),
    "http://:word@h": ("http://h", b":word"),
    "http://u%40x:p%3Aq%2Fr@h/base/": ("http://h/base", b"u@x:p:q/r"),
    "http://u:a@b@h": ("http://h", b"u:a@b"),
    "https://u:%C3%A9@[::1]:8443": ("https://[::1]:8443", "u:é".encode()),
    "http://u:é@h": ("http://h", "u:é".encode()),
    "http://u:%FF@h": ("http://h", b"u:\xff"),
    "http://u:a+b%20c@h": ("http://h", b"u:a+b c"),
    "http://u:100%@h": ("http://h", b"u:100%"),
}

MISTAKES = [
    "ftp://user:hidden@h",
    "user:hidden@h",
    "http://user:hidden@",
    "http://user:hidden@h:0",
    "http://user:hidden@h:port",
    "http://user:hidden@h/?q",
    "http://user:hidden@h/#f",
    "http://user:hidden@h with space",
    "http://user:hid/den@h",
    "http://us%3Aer:hidden@h",
    "http://user:hidden%0A@h",
    "http://user:hidden@[::1",
]


class TestPasswordsInUrls:
    """They are Basic credentials for that host, and for nobody else's eyes."""

    @pytest.mark.parametrize(("url", "meant"), CREDENTIALS.items())
    def test_how_they_are_read(self, url: str, meant: tuple[str, bytes]) -> None:
        read = values.url(url)
        assert (read, read.authorization) == (meant[0], basic(meant[1]))
        config = parse_config({"gateway": {"storaged_url": url}}).config
        copy = decode_config(encode_config(config)).gateway.storaged_url
        assert isinstance(copy, BaseURL)
        assert (copy, copy.authorization, copy.secrets) == (read, read.authorization, read.secrets)

    @pytest.mark.parametrize("url", ["http://h", "http://@h", "http://:@h"])
    def test_none(self, url: str) -> None:
        assert (values.url(url), values.url(url).authorization) == ("http://h", "")

    @pytest.mark.parametrize("url", MISTAKES)
    @pytest.mark.parametrize(("table", "key"), [("gateway", "storaged_url"), ("chatd", "ollama_url")])
    def test_a_mistake_does_not_show_them(self, url: str, table: str, key: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_config({table: {key: url}})
        problem = caught.value.problems[0]
        assert problem.startswith(f"{table}.{key} ")
        assert not [part for part in ("hid", "den", "user:") if part in problem]

    def test_nothing_that_shows_a_configuration_shows_them(self) -> None:
        config = parse_config({"gateway": {"storaged_url": "http://user:hidden@h"}}).config
        assert "hidden" not in repr(config)
        assert "hidden" not in redact("http://user:hidden@h/x")
        assert repr(separate_credentials("http://user:hidden@h")) == "'http://h'"
        assert isinstance(config.gateway.storaged_url, BaseURL)

    async def test_a_gateway_upstream_is_sent_them(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        async with open_upstream(answer_with(respond({}))) as there:
            named = there.url.replace("http://", "http://user:pa%73sword@")
            config = make_config(
                gateway={"storaged_url": f"{named}/base", "queryd_url": "http://user:password@127.0.0.1:9"}
            )
            async with open_service(config) as service, client_of(service) as client:
                assert (await client.get("/v1/storage/x", headers={"authorization": "Bearer ours"})).status_code == 200
                refused = await client.get("/v1/sql")
                seen = [(await client.get(path)).text for path in ("/metrics", "/v1/requests", "/")]
        assert there.requests[0].headers["authorization"] == basic(b"user:password")
        assert there.requests[0].target == "/base/storage/x"
        assert refused.status_code == 502
        assert not [text for text in (*seen, refused.text, caplog.text) if "password" in text and "user" in text]

    @pytest.mark.parametrize("name", ["ollama", "ollama_cloud", "openrouter", "opencode", "kimi"])
    async def test_a_provider_is_sent_them_unless_it_has_a_key(self, name: str) -> None:
        refusal = respond({"error": "user:password and dXNlcjpwYXNzd29yZA== are unknown"}, 404)
        async with open_upstream(answer_with(refusal)) as there:
            named = there.url.replace("http://", "http://user:pa%73sword@")
            table = {"ollama_url": named} if name == "ollama" else {name: {"base_url": named}}
            env: Mapping[str, str] = {f"{name.removesuffix('_cloud').upper()}_API_KEY": "sk-secret-secret-secret"}
            config = make_config(chatd=table)
            async with open_service(config, env) as service, client_of(service) as client:
                answer = await client.post("/v1/chat", json={"model": MODELS[name], "messages": HELLO})
                await client.get("/v1/models")
        assert len(there.requests) == 2
        for one in there.requests:
            expected = basic(b"user:password") if name == "ollama" else "Bearer sk-secret-secret-secret"
            if name == "kimi" and one.method == "POST":
                assert one.headers["x-api-key"] == "sk-secret-secret-secret"
                expected = basic(b"user:password")
            assert one.headers["authorization"] == expected
        assert "password" not in answer.text
        assert "dXNlcjpw" not in answer.text

    def test_check_and_providers_do_not_show_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-secret")
        file = tmp_path / "it.toml"
        file.write_text(
            '[gateway]\nstoraged_url = "http://us:hidden@127.0.0.1:9"\nchatd_url = "http://us:hidden@127.0.0.1:9"\n'
            '[chatd]\nollama_url = "http://us:hidden@127.0.0.1:9"\n[chatd.kimi]\nbase_url = "http://us:hidden@127.0.0.1:9"\n'
        )
        for command in (["check"], ["check", "--json"], ["providers"], ["providers", "--json"]):
            main([*command, "-c", str(file)])
            captured = capsys.readouterr()
            assert "http://127.0.0.1:9" in captured.out
            assert "hidden" not in captured.out + captured.err
            assert "us:" not in captured.out

    def test_top_does_not_show_them(self, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("rich")
        for url in ("http://us:hidden@127.0.0.1:9", "ftp://us:hidden@h", "http://us:hidden@[::1"):
            assert main(["top", "--once", url]) in (1, 2)
            captured = capsys.readouterr()
            assert captured.err.startswith("lakehouse top: ")
            assert "hidden" not in captured.out + captured.err


def test_the_defaults_have_no_credentials() -> None:
    assert "***" not in repr(Config())
