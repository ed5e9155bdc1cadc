"""A model's name decides who answers: the contract's table, row by row."""

from __future__ import annotations

from time import process_time

import pytest

from lakehouse.chat.providers.model_router import ModelRouter, Target
from lakehouse.core.errors import ErrBadRequest

TABLE = [
    ("ollama/qwen3:8b", Target("ollama", "qwen3:8b")),
    ("ollama_cloud/gpt-oss:120b", Target("ollama_cloud", "gpt-oss:120b")),
    ("kimi-k2.6:cloud", Target("ollama_cloud", "kimi-k2.6")),
    ("gpt-oss:120b:cloud", Target("ollama_cloud", "gpt-oss:120b")),
    ("openrouter/moonshotai/kimi-k2.6", Target("openrouter", "moonshotai/kimi-k2.6")),
    ("openrouter/openrouter/auto", Target("openrouter", "openrouter/auto")),
    ("opencode/claude-opus-5", Target("opencode", "claude-opus-5")),
    ("kimi/kimi-for-coding", Target("kimi", "kimi-for-coding")),
    ("local/demo", Target("local", "demo")),
    ("qwen3:8b", Target("ollama", "qwen3:8b")),
    ("unknown/m", Target("ollama", "unknown/m")),
    ("openrouterx/m", Target("ollama", "openrouterx/m")),
    ("OpenRouter/m", Target("ollama", "OpenRouter/m")),
    ("ollama", Target("ollama", "ollama")),
    ("kimi", Target("ollama", "kimi")),
    ("gpt-oss:120b-cloud", Target("ollama", "gpt-oss:120b-cloud")),
    ("my-cloud", Target("ollama", "my-cloud")),
    ("hf.co/user/repo:Q4_K_M", Target("ollama", "hf.co/user/repo:Q4_K_M")),
    # The tag that Ollama's clients add, where it is no part of the name.
    ("kimi/k3:latest", Target("kimi", "k3")),
    ("openrouter/v/m:latest", Target("openrouter", "v/m")),
    ("openrouter/v/m:free", Target("openrouter", "v/m:free")),
    ("ollama/qwen3:latest", Target("ollama", "qwen3:latest")),
    ("qwen3:latest", Target("ollama", "qwen3:latest")),
    ("kimi/:latest", Target("kimi", ":latest")),
    # The local server may itself be signed in to the cloud: a prefix comes before the suffix.
    ("ollama/kimi-k2.6:cloud", Target("ollama", "kimi-k2.6:cloud")),
    ("unknown/m:cloud", Target("ollama_cloud", "unknown/m")),
]


@pytest.mark.parametrize(("name", "target"), TABLE, ids=[name for name, _ in TABLE])
def test_a_name_goes_where_the_table_says(name: str, target: Target) -> None:
    assert ModelRouter().target(name) == target


def test_bare_names_go_to_the_default_provider() -> None:
    router = ModelRouter(default="local")
    assert router.target("qwen3:8b") == Target("local", "qwen3:8b")
    assert router.target("unknown/m") == Target("local", "unknown/m")
    assert router.target("ollama/m") == Target("ollama", "m")


@pytest.mark.parametrize("name", ["ollama/", "openrouter/", ":cloud", "kimi/  "])
def test_a_provider_without_a_model_is_the_callers_mistake(name: str) -> None:
    with pytest.raises(ErrBadRequest, match="no model"):
        ModelRouter().target(name)


def test_a_tier_stands_for_its_chain_and_fallbacks_follow() -> None:
    router = ModelRouter(tiers={"judge": ("kimi-k2.6:cloud", "openrouter/moonshotai/kimi-k2.6"), "hot": ("qwen3:8b",)})
    assert router.chain(["hot"]) == (Target("ollama", "qwen3:8b"),)
    assert router.chain(["judge", "hot", "kimi/k3"]) == (
        Target("ollama_cloud", "kimi-k2.6"),
        Target("openrouter", "moonshotai/kimi-k2.6"),
        Target("ollama", "qwen3:8b"),
        Target("kimi", "k3"),
    )


def test_a_target_is_tried_once_even_if_two_names_lead_to_it() -> None:
    assert ModelRouter().chain(["qwen3:8b", "ollama/qwen3:8b", "m:cloud", "ollama_cloud/m"]) == (
        Target("ollama", "qwen3:8b"),
        Target("ollama_cloud", "m"),
    )


def test_a_tier_may_have_the_tag_of_ollamas_clients() -> None:
    router = ModelRouter(tiers={"hot": ("kimi/k3",), "odd:latest": ("kimi/k2",)})
    assert router.chain(["hot:latest"]) == router.chain(["hot"])
    assert router.chain(["odd:latest"]) == (Target("kimi", "k2"),)
    names = ("hot", "hot:latest", "odd:latest", "odd", "hot:8b")
    assert [router.find_tier(name) for name in names] == ["hot", "hot", "odd:latest", None, None]


def test_a_tier_shadows_a_model_of_the_same_name() -> None:
    assert ModelRouter(tiers={"qwen3:8b": ("kimi/k3",)}).chain(["qwen3:8b"]) == (Target("kimi", "k3"),)


def test_a_name_is_found_among_a_thousand_providers_without_a_search() -> None:
    """A search of all would take a hundred times as long."""
    few = ModelRouter()
    many = ModelRouter(
        providers=few.providers | {f"provider-{number}" for number in range(1000)},
        aliases={f"alias-{number}": Target(f"provider-{number}", "m") for number in range(1000)},
    )

    def measure(router: ModelRouter) -> float:
        times = []
        for _ in range(7):
            began = process_time()
            for _ in range(2000):
                router.target("openrouter/v/m")
                router.target("kimi-k2.6:cloud")
                router.target("unknown/m")
            times.append(process_time() - began)
        return min(times)

    assert measure(many) < 10 * measure(few)
