"""The data of `lakehouse serve --demo`: three days of requests at an invented gateway, made at the start, always equal.

`requests` has a row for each request, `models` the price of each model, `teams` the budget of each team: enough for
joins, for groups by hour, and for something to find. On the second afternoon the provider `borealis` fails, its
requests are answered by a slower model, and more clients leave before their answer; every night one team runs a batch.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

START = datetime(2026, 11, 2)
DAYS = 3
PER_DAY = 1_350
"""The mean number of requests in one day."""

OUTAGE = (START + timedelta(days=1, hours=13, minutes=40), START + timedelta(days=1, hours=15, minutes=10))
SEED = 3110

Row = Sequence[object]


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its provider, its prices in US dollars for a million tokens, and its speed."""

    name: str
    provider: str
    context: int
    usd_in: float
    usd_out: float
    first_ms: float
    token_ms: float


MODELS = (
    Model("heron-8b", "local", 32_768, 0.0, 0.0, 90.0, 11.0),
    Model("heron-70b", "aurora", 131_072, 0.35, 0.9, 240.0, 9.0),
    Model("plover-mini", "borealis", 131_072, 0.15, 0.6, 180.0, 5.0),
    Model("plover-large", "borealis", 262_144, 1.8, 7.5, 420.0, 14.0),
    Model("tern-coder", "cirrus", 262_144, 0.8, 3.2, 310.0, 8.0),
)
FALLBACK = MODELS[1]


@dataclass(frozen=True, slots=True)
class Team:
    """A team: the model that it asks for, its share of the requests, the usual size of a request, its daily budget."""

    name: str
    model: str
    share: float
    prompt_tokens: int
    answer_tokens: int
    budget_usd: float


TEAMS = (
    Team("search", "plover-mini", 0.38, 650, 90, 0.25),
    Team("support", "plover-large", 0.17, 1_900, 260, 1.8),
    Team("coding", "tern-coder", 0.21, 4_200, 520, 2.4),
    Team("reports", "heron-70b", 0.09, 9_500, 900, 1.1),
    Team("lab", "heron-8b", 0.15, 400, 210, 0.0),
)
BATCH_TEAM, BATCH_HOUR = TEAMS[3], 2


def demo_tables() -> dict[str, bytes]:
    """Every table by its name, as CSV."""
    return {
        "models": _to_csv(
            ("model", "provider", "context_tokens", "usd_per_million_in", "usd_per_million_out"),
            ((m.name, m.provider, m.context, m.usd_in, m.usd_out) for m in MODELS),
        ),
        "teams": _to_csv(
            ("team", "usual_model", "daily_budget_usd"), ((t.name, t.model, f"{t.budget_usd:.2f}") for t in TEAMS)
        ),
        "requests": _to_csv(
            ("time", "team", "model", "fallback", "status", "latency_ms", "tokens_in", "tokens_out"),
            _requests(Random(SEED)),  # noqa: S311 - data for a demonstration, no secret
        ),
    }


def _requests(random: Random) -> Iterator[Row]:
    """The requests in the order of their times."""
    time = START
    while (time := time + timedelta(seconds=_pause(random, time))) < START + timedelta(days=DAYS):
        batch = time.hour == BATCH_HOUR and random.random() < 0.9
        team = BATCH_TEAM if batch else _choose_team(random)
        yield _request(random, time, team)


def _pause(random: Random, time: datetime) -> float:
    """Seconds to the next request: few at night, most at eleven and three."""
    hour = time.hour + time.minute / 60
    rate = 0.15 + math.exp(-(((hour - 11) / 2.6) ** 2)) + 0.9 * math.exp(-(((hour - 15.2) / 2.2) ** 2))
    rate += 0.9 if time.hour == BATCH_HOUR else 0.0
    return -math.log(1.0 - random.random()) * 86_400 / PER_DAY / (rate / 0.55)


def _choose_team(random: Random) -> Team:
    place = random.random()
    for team in TEAMS:
        place -= team.share
        if place < 0:
            return team
    return TEAMS[0]


def _request(random: Random, time: datetime, team: Team) -> Row:
    model = next(model for model in MODELS if model.name == team.model)
    failing = model.provider == "borealis" and OUTAGE[0] <= time < OUTAGE[1]
    fallback = failing and random.random() < 0.8
    answering = FALLBACK if fallback else model
    prompt, answer = _spread(random, team.prompt_tokens, 0.5), _spread(random, team.answer_tokens, 0.6)
    latency = (answering.first_ms + answer * answering.token_ms + prompt * 0.02) * math.exp(_normal(random) * 0.25)
    if fallback:
        latency += 2_000.0 * (1 + random.random())  # the attempts that failed before it
    status = 502 if failing and not fallback else 200
    if status == 200 and random.random() < min(0.5, latency / 60_000):
        status, latency = 499, latency * random.random()
    tokens_out = answer if status == 200 else int(answer * random.random()) if status == 499 else 0
    shown = time.isoformat(sep=" ", timespec="seconds")
    return shown, team.name, answering.name, str(fallback).lower(), status, round(latency, 1), prompt, tokens_out


def _spread(random: Random, mean: int, width: float) -> int:
    """A number of tokens, log-normal around `mean`."""
    return max(1, round(mean * math.exp(_normal(random) * width - width * width / 2)))


def _normal(random: Random) -> float:
    """A normal deviate. Only `random()` itself gives the same numbers in all versions of Python."""
    return math.sqrt(-2.0 * math.log(1.0 - random.random())) * math.cos(2.0 * math.pi * random.random())


def _to_csv(header: Row, rows: Iterator[Row]) -> bytes:
    with io.StringIO() as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        return text.getvalue().encode()
