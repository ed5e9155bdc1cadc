"""`[providers.<name>]`: the entries that it makes and changes, and every problem with its key."""

from __future__ import annotations

import tomllib

import pytest

from lakehouse.chat.providers.registry import register
from lakehouse.config import Config, ConfigError, ModelTable, PricesTable, list_entries, parse_config
from lakehouse.config.document import decode_config, encode_config
from lakehouse.config.provider_entries import BUILT_IN, find_ollama_url
from lakehouse.config.ready_providers import load_ready_providers

LAB = """
[providers.lab]
wire = "chat_completions"
base_url = "http://user:pa%73s@10.0.0.5:8000/v1/"
key_env = "LAB_KEY"
headers = { "x-team" = "a" }
quirks = ["system_role"]
[providers.lab.models."qwen3-32b"]
alias = ["fast"]
tools = true
prices = { input = 1, output = 2.5 }
"""


def parse(text: str) -> Config:
    return parse_config(tomllib.loads(text)).config


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.problems


def test_a_table_makes_an_entry() -> None:
    lab = list_entries(parse(LAB))["lab"]
    assert lab.wire == {"*": ("chat_completions",)}
    [url] = lab.base_url
    assert (url, url.authorization, url.secrets[1]) == ("http://10.0.0.5:8000/v1", "Basic dXNlcjpwYXNz", "pass")
    assert (lab.key_env, lab.key_file, lab.headers, lab.quirks) == (("LAB_KEY",), (), {"x-team": "a"}, ("system_role",))
    prices = PricesTable(input=1.0, output=2.5)
    assert lab.models == {"qwen3-32b": ModelTable(alias=("fast",), tools=True, prices=prices)}
    assert (lab.only_models, lab.optional, lab.missing) == (False, False, "")


@pytest.mark.parametrize(
    "wire", ['"ollama"', '["responses", "messages"]', '{ "claude-*" = "messages", "*" = "responses" }']
)
def test_it_is_the_same_in_another_process(wire: str) -> None:
    config = parse(f"{LAB}\n[providers.more]\nwire = {wire}\nbase_url = 'http://h'\nkey_env = ''\n")
    handed = decode_config(encode_config(config))
    assert handed == config
    assert list_entries(handed)["lab"].base_url[0].authorization == "Basic dXNlcjpwYXNz"


def test_the_providers_with_code_of_their_own_are_entries_by_default() -> None:
    entries = list_entries(Config())
    assert tuple(entries)[:5] == BUILT_IN
    assert not any(entries[name].optional for name in BUILT_IN)
    assert entries["kimi"].wire == {"*": ("messages",)}
    assert entries["kimi"].key_file == ("/etc/lakehouse/kimi.env",)


def test_both_spellings_lead_to_the_same_entry() -> None:
    older = parse('[chatd.kimi]\nbase_url = "http://h/v1"\nkey_env = "MINE"\nkey_file = ""\nwire = "chat"')
    newer = parse(
        '[providers.kimi]\nbase_url = "http://h/v1"\nkey_env = "MINE"\nkey_file = ""\nwire = "chat_completions"'
    )
    assert list_entries(older)["kimi"] == list_entries(newer)["kimi"]
    older, newer = parse('[chatd]\nollama_url = "http://h:1"'), parse('[providers.ollama]\nbase_url = "http://h:1"')
    assert find_ollama_url(older) == find_ollama_url(newer) == "http://h:1"


def test_a_table_changes_what_it_sets_of_an_entry_and_nothing_else() -> None:
    config = parse(
        '[chatd.openrouter]\nreferer = "https://a"\n[providers.openrouter]\nheaders = { "x-title" = "B", x = "y" }'
    )
    changed, default = list_entries(config)["openrouter"], list_entries(Config())["openrouter"]
    assert changed.headers == {"HTTP-Referer": "https://a", "x-title": "B", "x": "y"}
    assert (changed.base_url, changed.key_env) == (default.base_url, default.key_env)


def test_a_key_file_alone_has_the_key_under_the_providers_name() -> None:
    config = parse('[providers.my-lab]\nwire = "ollama"\nbase_url = "http://h"\nkey_file = ["/a", "/b"]')
    assert list_entries(config)["my-lab"].key_env == ("MY_LAB_API_KEY",)


def test_an_empty_key_env_of_the_older_spelling_switches_a_provider_off() -> None:
    off = parse('[chatd.kimi]\nkey_env = ""\n[providers.kimi]\nonly_models = true')
    assert list_entries(off)["kimi"].missing == "chatd.kimi.key_env is empty"
    registry = register(off, {"KIMI_API_KEY": "k", "": "k"})
    assert list(registry.providers) == ["ollama"]
    assert registry.missing["kimi"] == "chatd.kimi.key_env is empty"


def test_an_empty_key_env_of_the_newer_spelling_means_that_no_key_is_needed() -> None:
    newer = parse('[providers.kimi]\nbase_url = "http://gateway/v1"\nkey_env = ""\nkey_file = ""')
    assert list_entries(newer)["kimi"].key_env == ()
    assert list(register(newer, {}).providers) == ["ollama", "kimi"]


X = '[providers.x]\nwire = "messages"\nbase_url = "http://h"\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[providers]\nx = 3", "providers.x must be a table (got 3)"),
        ('[providers.x]\nbase_url = "http://h"', 'providers.x.wire must be set: "chat_completions", "responses", "messages" or "ollama"'),
        ('[providers.x]\nwire = "ollama"', "providers.x.base_url must be set"),
        ('[providers.x]\nwire = "soap"\nbase_url = "http://h"', 'providers.x.wire must be one of "chat_completions", "responses", "messages", "ollama" (got "soap")'),
        ('[providers.x]\nwire = []\nbase_url = "http://h"', "providers.x.wire must name at least one wire"),
        ('[providers.x]\nwire = "ollama"\nbase_url = "h"', 'providers.x.base_url must include scheme and host (got "h")'),
        (f"{X}base_urls = 3", "providers.x.base_urls is not a known key (did you mean base_url?)"),
        (f'{X}key_env = "sk-secret"', "providers.x.key_env must be the name of an environment variable, or a list of names, and not the key itself"),
        (f'{X}key_env = ["A", "A"]', "providers.x.key_env must not have the same entry twice"),
        (f'{X}headers = {{ "a b" = "x" }}', 'providers.x.headers."a b" is not the name of a header'),
        (f'{X}headers = {{ Authorization = "x" }}', 'providers.x.headers."Authorization" is set by the service itself'),
        (f'{X}headers = {{ x = "a\\nb" }}', 'providers.x.headers."x" must be fit for a header'),
        (f'{X}quirks = ["nonsense"]', "providers.x.quirks must have names of quirks: api_key_header, bearer_key,"),
        (f'{X}quirks = "system_role"', 'providers.x.quirks must be a list of names such as ["system_role"]'),
        (f'{X}headers = {{ User-Agent = "x" }}', 'providers.x.headers."User-Agent" is set by the service itself'),
        (f'{X}key_env = ""\nkey_file = "/run/x.env"', "providers.x.key_env must name the key in key_file, or be left out"),
        ('[providers.x]\nwire = "ollama"\nbase_url = "http://h:99999"', "providers.x.base_url is not a URL"),
        (f"{X}weights = [1, 2]", "providers.x.weights must have one number for each URL of base_url (got 2)"),
        (f'{X}[providers.x.models."a b"]', 'providers.x.models."a b" must be a name without white space'),
        (f'{X}[providers.x.models.\'a"b c\']', r'providers.x.models."a\"b c" must be a name without white space'),
        (f'{X}[providers.x.models."a.b"]\ntools = "yes"', 'providers.x.models."a.b".tools does not fit'),
        (f'{X}[providers.x.models.a]\nprices = {{ input = -1 }}', "providers.x.models.a.prices.input must be a number that is not negative"),
        (f'{X}[providers.x.models.a]\nalias = "hot"\n[models]\nhot = "b"', "providers.x.models.a.alias has the name hot, which is a tier of [models]"),
        (f'{X}[providers.x.models.a]\nalias = "kimi/k"', "providers.x.models.a.alias has the name kimi/k, which begins with the prefix of the provider kimi"),
        (f'{X}[providers.x.models.a]\nalias = "a"', "providers.x.models.a.alias has the name a, which is the model's own"),
        ("[providers.local]", "providers.local is the embedded model, which [chatd.local] configures"),
        ('[providers.OpenRouter]\nwire = "messages"\nbase_url = "http://h"', "providers.OpenRouter must have a name of lower-case letters"),
        ('[providers.openrouter]\nwire = "messages"', "providers.openrouter.wire must be left out or chat_completions: openrouter speaks nothing else"),
        ('[providers.opencode]\nwire = ["messages", "responses"]', "providers.opencode.wire must be a table such as"),
        ('[chatd.kimi]\nbase_url = "http://a"\n[providers.kimi]\nbase_url = "http://b"', "providers.kimi.base_url is set a second time by chatd.kimi.base_url"),
        ('[chatd]\nollama_url = "http://a"\n[providers.ollama]\nbase_url = "http://b"', "providers.ollama.base_url is set a second time by chatd.ollama_url"),
        ('[ollama]\nbind = "h:1"\n[providers.ollama]\nbase_url = "http://h:1"', "providers.ollama.base_url leads to ollama.bind (h:1)"),
    ],
)  # fmt: skip
def test_a_problem_names_its_key(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "text",
    [
        '[providers]\nx = "sk-secret"',
        f'{X}headers = "Authorization: Bearer sk-secret"',
        f'{X}headers = ["Authorization: Bearer sk-secret"]',
        f'{X}headers = {{ x = ["sk-secret"] }}',
        f'{X}api_key = "sk-secret"',
        '[providers.x]\nwire = "ollama"\nbase_url = "http://h?key=sk-secret"',
        '[providers.x]\nwire = "ollama"\nbase_url = { a = "http://u:sk-secret@h" }',
    ],
)
def test_no_problem_repeats_what_may_be_a_secret(text: str) -> None:
    (found,) = problems(text)
    assert "secret" not in found


def test_a_name_for_two_models_is_a_problem_of_both() -> None:
    found = problems(f'{X}[providers.x.models.a]\nalias = "fast"\n[providers.x.models.b]\nalias = ["fast", "slow"]')
    assert found == [
        f"providers.x.models.{model}.alias has the name fast, which stands for several models" for model in "ab"
    ]


def test_the_ready_entries_are_valid_and_say_where_they_are_from() -> None:
    for name, entry in load_ready_providers().items():
        assert entry.about, name
        assert entry.sources, name
        assert all(source.startswith(("https://", "docs/")) for source in entry.sources), name
        assert entry.checked >= "2026-08", name
