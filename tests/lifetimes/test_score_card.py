"""The score card: every fault that a provider can have, on real sockets, and what our callers get all the same.

Each row is played whole and streamed, natively over each of the three forms that providers speak, and in OpenAI's form
over one of them; streamed also in the forms of Responses, of Anthropic and of Ollama over one of them. All of it is played
once, many cases at a time, before the first test looks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import httpx
import pytest
import trio

import lakehouse
from lakehouse.config import parse_config
from tools.kit.faults.case_model import PROVIDERS, Case, Row, expand_cases
from tools.kit.faults.cases import ROWS
from tools.kit.faults.formats import TEXT
from tools.kit.faults.gateways import KEYS, lakehouse_tables, litellm, our_services, toml
from tools.kit.faults.harness import Result, open_harness, run_cases, score_document, score_table
from tools.kit.faults.profiles import FAST, Profile
from tools.kit.faults.provider import open_provider

pytestmark = pytest.mark.alone  # plays all cases at once against real timeouts of a fraction of a second

PATIENCE = 120.0

PATIENT = FAST.slowed(4)
"""Times in which also a machine that is busy with other things does what it has to."""


def chosen(rows: Sequence[Row]) -> list[Case]:
    """All cases natively; in OpenAI's form, which shares all but the last step with it, one wire of each; in the forms
    of Responses, Anthropic and Ollama, whose streams end in other ways than all others, one stream of each."""
    places = {row.name: place for place, row in enumerate(ROWS)}
    return [
        case
        for case in expand_cases(rows, ("native", "openai", "responses", "anthropic", "ollama"))
        if case.form in ("native", "openai") or case.mode == "stream"
        if case.form == "native"
        or case.wire == case.row.wires[(places[case.row.name] + (case.mode == "stream")) % len(case.row.wires)]
    ]


async def play(playing: Sequence[Case], profile: Profile = FAST) -> list[Result]:
    """The results. At the end nobody asks our services for anything any more."""
    with trio.fail_after(PATIENCE):
        async with (
            open_provider(profile) as there,
            our_services(profile, there.url, playing) as urls,
            open_harness(profile, urls, there) as stage,
        ):
            results = await run_cases(stage, playing)
            for url in urls.values():
                (mine,) = (await stage.http.get(f"{url}/requests")).json()["requests"]
                assert mine["path"] == "/v1/requests"
    return results


@pytest.fixture(scope="module")
def card(request: pytest.FixtureRequest) -> dict[str, list[Result]]:
    """The card, of the rows that this run of pytest will ask for.

    A machine that is busy with other things makes everybody late. So what fails is played once more by new services, with
    times that are four times as long; what is wrong with us is wrong again.
    """
    wanted: list[Any] = [
        item.callspec.params["row"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_row"
    ]
    results = trio.run(play, chosen(wanted))
    failed = [result.case for result in results if result.problems]
    again = trio.run(play, failed, PATIENT) if failed else []
    found: dict[str, list[Result]] = defaultdict(list)
    for result in [*(result for result in results if not result.problems), *again]:
        found[result.case.row.name].append(result)
    return found


@pytest.mark.parametrize("row", ROWS, ids=[row.slug for row in ROWS])
def test_row(row: Row, card: dict[str, list[Result]]) -> None:
    results = card[row.name]
    assert len(results) == len(row.modes) * (len(row.wires) + 1) + 3 * ("stream" in row.modes)
    assert {result.case.alias: result.problems for result in results if result.problems} == {}


FORGIVEN = {
    "slow first token",
    "no end mark",
    "client leaves while waiting",
    "client leaves the stream",
    "noise between the events",
    "a healthy stream beyond every limit",
    "an answer that is whole and does not end",
    "an answer that the filter stopped",
    "content filter",
    "stream cut, and nobody else to ask",
    "stream stalled, and nobody else to ask",
}
"""What a gateway that has no policy at all gets right: where nothing can be done, or nothing needs to be."""


@pytest.mark.extended
async def test_the_card_tells_a_gateway_without_a_policy_from_one_with() -> None:
    """It must fail everything but what is forgiven."""
    results = await play_without_policy(FAST)
    if passed_rows(results) != FORGIVEN:  # the machine was busy, or something is wrong
        results = await play_without_policy(PATIENT)
    assert passed_rows(results) == FORGIVEN
    table = score_table(results)
    assert "| 429 always | **fail** (1 of 1) | **fail** (1 of 1) |" in table
    assert "| slow first token | pass | pass |" in table


def passed_rows(results: Sequence[Result]) -> set[str]:
    """The names of the rows that pass, but for one: an idle connection that breaks may be tried again."""
    rows = score_document(results, FAST)["rows"]
    assert isinstance(rows, dict)
    return {name for name, row in rows.items() if row["pass"]} - {"reset before the head, once"}


async def play_without_policy(profile: Profile) -> list[Result]:
    """The results of a service that knows of one route only and asks it once."""
    rows = [row for row in ROWS if row.gateway == "plain"]
    playing = expand_cases(rows, ["openai"], [1])
    async with open_provider(profile) as there, trio.open_nursery() as nursery:
        tables = lakehouse_tables(profile, there.url, playing, "plain")
        tables["models"] = {alias: routes[0] for alias, routes in tables["models"].items()}
        tables["chatd"]["policy"] |= {"retries": 0, "breaker_failures": 0}
        config = parse_config({**tables, "gateway": {"bind": "127.0.0.1:0"}, "observe": {"log": "off"}}).config
        service = await nursery.start(partial(lakehouse.serve, config, env=KEYS))
        async with open_harness(profile, {"plain": f"{service.urls[0]}/v1"}, there) as stage:
            results = await run_cases(stage, playing)
        service.stop()
    return results


def test_the_configurations_are_what_the_gateways_read() -> None:
    playing = expand_cases(ROWS)
    for gateway in ("plain", "hedged"):
        tables = lakehouse_tables(FAST, "http://127.0.0.1:9999", playing, gateway)
        assert tomllib.loads(toml(tables)) == tables
        config = parse_config(tables).config
        assert (config.chatd.policy.hedge_after is None) == (gateway == "plain")
        assert {name.partition("/")[0] for routes in config.models.values() for name in routes} == set(PROVIDERS)
    groups = json.loads(litellm(FAST, "http://127.0.0.1:9999", playing))["model_list"]
    assert len({group["model_name"] for group in groups}) == sum(len(case.row.chain) for case in playing)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/chat", lambda answer: answer["message"]["content"]),
        ("/any/v1/chat/completions", lambda answer: answer["choices"][0]["message"]["content"]),
        ("/any/v1/messages", lambda answer: answer["content"][0]["text"]),
    ],
)
async def test_the_provider_speaks_three_forms_and_remembers(path: str, said: object) -> None:
    async with open_provider(FAST) as there, httpx.AsyncClient(base_url=there.url, trust_env=False) as client:
        asked = {"model": "500-once.x", "messages": [{"role": "user", "content": "?"}], "stream": False}
        assert (await client.post(path, json=asked)).status_code == 500
        answer = await client.post(path, json=asked)
        assert said(answer.json()) == TEXT  # type: ignore[operator]
        visits = (await client.get("/visits", params={"model": "500-once.x"})).json()
        assert [(visit["ended"], visit["client_left"]) for visit in visits] == [(True, None)] * 2
        assert (await client.post(path, json={"model": "no-such-fault"})).status_code == 404


def test_it_runs_from_the_command_line() -> None:
    command = [sys.executable, "-m", "tools.faults", "serve", "--port", "0", "--profile", "fast"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().rpartition(" ")[2].strip()
        try:
            listed = httpx.get(f"{url}/v1/models", trust_env=False).json()["data"]
            assert {"ok", "429-once", "64mb-line"} <= {model["id"] for model in listed}
        finally:
            process.terminate()
