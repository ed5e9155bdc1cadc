"""What the gateway has promised of itself, as ratios within one run where a peer is the measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Medians = Mapping[str, Mapping[str, float]]
US = "Lakehouse"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure of ours, in units of a peer's if there is one, and its bound."""

    title: str
    figure: str
    bound: float
    at_least: bool = False
    peer: str = US
    unit: str = ""

    def value(self, medians: Medians) -> float | None:
        """None if it was not measured."""
        ours = medians.get(US, {}).get(self.figure)
        theirs = medians.get(self.peer, {}).get(self.figure)
        if ours is None or theirs is None:
            return None
        return ours if self.peer == US else ours / theirs

    def met(self, value: float) -> bool:
        """Whether the bound is kept."""
        return value >= self.bound if self.at_least else value <= self.bound


GOALS: Sequence[Goal] = (
    Goal(title="relayed GETs, 64 connections", figure="get_64_rate", peer="Caddy", bound=0.5, at_least=True),
    Goal(title="whole chats, 64 connections", figure="chat_64_rate", peer="Portkey", bound=2, at_least=True),
    Goal(title="whole chats, 64 connections", figure="chat_64_rate", peer="LiteLLM", bound=17, at_least=True),
    Goal(title="time added to a chat alone", figure="chat_1_p50_added", peer="Portkey", bound=0.5),
    Goal(title="pieces a second", figure="pieces", peer="Portkey", bound=2, at_least=True),
    Goal(title="2,000 slow streams: late pieces", figure="held_2000_late", bound=1, unit=" %"),
    Goal(title="2,000 slow streams: memory of one", figure="held_2000_memory", bound=40, unit=" KB"),
    Goal(title="100 MB down", figure="down", peer="Caddy", bound=0.6, at_least=True),
    Goal(title="100 MB up", figure="up", peer="Caddy", bound=0.6, at_least=True),
    Goal(title="start to ready", figure="start", bound=500, unit=" ms"),
    Goal(title="idle memory", figure="idle", bound=50, unit=" MB"),
    Goal(title="CPU beside 10,000 idle clients", figure="idle_clients", bound=110, unit=" %"),
    Goal(title="CPU beside 1,000 idle upstream connections", figure="idle_upstreams", bound=110, unit=" %"),
    Goal(title="CPU with 1,000 tiers", figure="tiers", bound=110, unit=" %"),
    Goal(title="CPU with 1,000 providers", figure="providers", bound=110, unit=" %"),
    Goal(title="CPU of a GET that names its session", figure="accounting_get_session", bound=103, unit=" %"),
    Goal(title="CPU of a GET with the system tables", figure="accounting_get_tables", bound=103, unit=" %"),
    Goal(title="CPU of a GET with both", figure="accounting_get_both", bound=103, unit=" %"),
    Goal(title="CPU of a chat that names its session", figure="accounting_chat_session", bound=103, unit=" %"),
    Goal(title="CPU of a chat with the system tables", figure="accounting_chat_tables", bound=103, unit=" %"),
    Goal(title="CPU of a chat with both", figure="accounting_chat_both", bound=103, unit=" %"),
    *(
        Goal(
            title=f"relayed {form}, {kind}: CPU of a rebuilt one", figure=f"{form}_{figure}_ratio", bound=100, unit=" %"
        )
        for form in ("messages", "responses")
        for figure, kind in (("whole_small", "whole"), ("whole_long", "an agent's"), ("stream_small", "streamed"))
    ),
)


def markdown(medians: Medians) -> str:
    """A table of the goals that were measured."""
    rows = []
    for goal in GOALS:
        value = goal.value(medians)
        if value is not None:
            unit = goal.unit if goal.peer == US else f" of {goal.peer}"
            bound = f"{'at least' if goal.at_least else 'at most'} {goal.bound:g}{unit}"
            rows.append(f"| {goal.title} | {value:.3g}{unit} | {bound} | {'yes' if goal.met(value) else '**no**'} |")
    if not rows:
        return ""
    return "### Promises\n\n| | measured | promised | kept |\n|---|---:|---:|---|\n" + "\n".join(rows)
